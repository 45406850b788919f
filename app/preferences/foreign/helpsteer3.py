"""HelpSteer3 preference: two answers, and how much better the second is, from −3 to 3."""

import hashlib
from collections.abc import Iterator
from typing import Any

from app.preferences.foreign.shape import ForeignFormat, Row
from app.preferences.foreign.taking import (
    check_any_prompt,
    check_score,
    details,
    stable_id,
    take_text,
)
from app.projects.reading import RowError

TAKEN = ("context", "response1", "response2", "individual_preference", "id")
STRONGEST = 3


def _rankings(row: Row) -> Iterator[Row]:
    """One for each labeler of `individual_preference`; without them the overall one."""
    if row.get("context") is None:
        raise RowError("context is missing")
    prompt = check_any_prompt(row["context"], "context")
    texts = [take_text(row, name) for name in ("response1", "response2")]
    about_prompt, rest = details(row, TAKEN)
    shared = {
        "prompt": prompt,
        "completions": [{"text": text} for text in texts],
        "metadata": about_prompt,
    }
    single = row.get("individual_preference")
    if not single:
        score = check_score(
            row.get("overall_preference"), "overall_preference", -STRONGEST, STRONGEST
        )
        yield {
            **shared,
            "ranks": _ranks(score),
            "external_id": stable_id(row.get("id")),
            "origin": {"format": "helpsteer3", **rest},
        }
        return
    if not isinstance(single, list):
        raise RowError("individual_preference must be a list of objects with score")
    content = _content_id(row.get("id"), prompt, texts)
    for place, item in enumerate(single):
        yield {
            **shared,
            **_opinion(item, f"individual_preference[{place}]", rest),
            # The source names no labeler: the place tells two of the same opinion apart.
            "external_id": f"helpsteer3:{content}:{place}",
        }


def _opinion(item: Any, where: str, rest: Row) -> Row:
    if not isinstance(item, dict):
        raise RowError(f"{where} must be an object with score")
    score = check_score(item.get("score"), f"{where}.score", -STRONGEST, STRONGEST)
    told = {key: value for key, value in item.items() if value is not None and key != "reasoning"}
    return {
        "ranks": _ranks(score),
        "comment": item.get("reasoning"),
        "labeler": item.get("labeler"),
        "origin": {"format": "helpsteer3", **rest, **told},
    }


def _ranks(score: int) -> list[int]:
    if score == 0:
        return [1, 1]
    return [1, 2] if score < 0 else [2, 1]


def _content_id(given: Any, prompt: Any, texts: list[str]) -> str:
    stable = stable_id(given)
    if stable is not None:
        return stable
    return hashlib.sha256(repr((prompt, texts)).encode(errors="replace")).hexdigest()[:24]


HELPSTEER3 = ForeignFormat(
    name="helpsteer3",
    title="HelpSteer3 preference",
    direction="A negative preference (to −3) means response1 is better, a positive one (to 3) "
    "response2; 0 is a tie. Every individual preference is a ranking of its own.",
    columns=(("context", "response1", "response2"),),
    matches=lambda row: (
        {"context", "response1", "response2"} <= row.keys()
        and ("overall_preference" in row or "individual_preference" in row)
    ),
    rankings=_rankings,
)
