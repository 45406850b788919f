"""summarize-from-feedback, comparisons: two summaries of a post, and which one a worker chose."""

from collections.abc import Iterator

from app.preferences.foreign.shape import ForeignFormat, Row
from app.preferences.foreign.taking import check_score, details, take_objects, take_text
from app.projects.reading import RowError

TAKEN = ("info", "summaries", "choice", "worker", "note")


def _rankings(row: Row) -> Iterator[Row]:
    summaries = take_objects(row, "summaries", "objects with text and policy")
    chosen = check_score(row.get("choice"), "choice", 0, len(summaries) - 1)
    post = row.get("info")
    if not isinstance(post, dict):
        raise RowError("info must be an object with post and title, or with article")
    about_prompt, rest = details(row, TAKEN)
    if isinstance(post.get("subreddit"), str):
        about_prompt["subreddit"] = post["subreddit"]
    notes = [summary.get("note") for summary in summaries]
    if any(notes):
        rest["notes"] = notes
    # The split is of the comparison, not of the post, which may stand in several.
    if "split" in about_prompt:
        rest["split"] = about_prompt.pop("split")
    yield {
        "prompt": _prompt(post),
        "prompt_external_id": post.get("id"),
        "completions": [
            {"text": take_text(summary, "text"), "model": summary.get("policy")}
            for summary in summaries
        ],
        "ranks": [1 if place == chosen else 2 for place in range(len(summaries))],
        "labeler": row.get("worker"),
        "comment": row.get("note"),
        "metadata": about_prompt,
        "origin": {"format": "summarize-from-feedback", **rest},
    }


def _prompt(post: Row) -> str:
    """The post in the layout of Stiennon et al. 2020 (arXiv:2009.01325), appendix B.1."""
    parts = []
    if isinstance(post.get("subreddit"), str):
        parts.append(f"SUBREDDIT: r/{post['subreddit']}")
    if isinstance(post.get("title"), str) and post["title"].strip():
        parts.append(f"TITLE: {post['title']}")
    if post.get("post") is not None:
        parts.append(f"POST: {take_text(post, 'post')}")
    elif post.get("article") is not None:
        parts.append(f"ARTICLE: {take_text(post, 'article')}")
    else:
        raise RowError("info has neither post nor article")
    return "\n\n".join([*parts, "TL;DR:"])


SUMMARIZE = ForeignFormat(
    name="summarize-from-feedback",
    title="summarize-from-feedback comparisons",
    direction="choice is the place of the better summary, from 0; there are no ties.",
    columns=(("info", "summaries", "choice"),),
    matches=lambda row: {"info", "summaries", "choice"} <= row.keys(),
    rankings=_rankings,
)
