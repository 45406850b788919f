"""One ranking of Podium's own shape: `{prompt, completions: [{text, model?}], ranks, …}`.

Checked here wherever it came from, under the names of `app.preferences.formats.ranking_row`; what
else stands beside them is passed over.
"""

from typing import Any

from app.errors import Invalid
from app.labeling.submissions import Submission, check_submission, dense_ranks
from app.preferences.storing import ParsedRanking
from app.projects.messages import check_text
from app.projects.reading import RowError, contains_nul
from app.projects.task_import import parse_task

MAX_NAME_LENGTH = 200
MAX_EXTERNAL_ID_LENGTH = 300


def parse_ranking(values: dict[str, Any]) -> ParsedRanking:
    """Understand one line; RowError names the field that cannot be taken."""
    for name in ("prompt", "completions", "ranks"):
        if values.get(name) is None:
            raise RowError(f"{name} is missing")
    completions = values["completions"]
    if isinstance(completions, list):
        completions = [
            {key: item[key] for key in ("text", "model") if key in item}
            if isinstance(item, dict)
            else item
            for item in completions
        ]
    task = parse_task({"prompt": values["prompt"], "completions": completions})
    count = len(task.completions)
    ranks = _check_ranks(values["ranks"], count)
    # The labeling service checks by completion id; here a completion's place stands for it.
    places = [str(place) for place in range(count)]
    try:
        checked = check_submission(
            Submission(
                ranks=dict(zip(places, ranks, strict=True)),
                ratings=_by_place(values.get("ratings"), places, "ratings"),
                flags=_by_place(values.get("flags"), places, "flags"),
                comment=values.get("comment") or "",
                active_ms=values.get("active_ms"),
            ),
            places,
            accepted_flags=None,
            allow_unranked=True,
        )
    except Invalid as error:
        name, reason = next(iter(error.fields.items()))
        raise RowError(f"{name} {reason}") from error
    if contains_nul(checked.comment):
        raise RowError("comment holds a NUL character")
    dense = dense_ranks(checked.ranks)
    return ParsedRanking(
        messages=task.messages,
        is_chat=task.is_chat,
        completions=task.completions,
        ranks=[dense[place] for place in places],
        ratings=[checked.ratings.get(place) for place in places],
        flags=[checked.flags.get(place, []) for place in places],
        labeler=_name(values.get("labeler"), "labeler", MAX_NAME_LENGTH),
        external_id=_name(values.get("external_id"), "external_id", MAX_EXTERNAL_ID_LENGTH),
        ranking_id=_name(values.get("ranking_id"), "ranking_id", MAX_NAME_LENGTH),
        simulated=values.get("simulated") is True,
        comment=checked.comment,
        active_ms=checked.active_ms,
    )


def _check_ranks(ranks: Any, count: int) -> list[Any]:
    if not isinstance(ranks, list) or len(ranks) != count:
        raise RowError(f"ranks must be a list of {count}, one for each completion")
    for place, rank in enumerate(ranks):
        if rank is not None and (type(rank) is not int or rank < 1):
            raise RowError(
                f"ranks[{place}] is {rank!r}; accepted: a whole number from 1 (the best), or null"
            )
    if all(rank is None for rank in ranks):
        raise RowError("ranks: every completion is unranked")
    return ranks


def _by_place(values: Any, places: list[str], name: str) -> dict[str, Any]:
    if values is None:
        return {}
    if not isinstance(values, list) or len(values) != len(places):
        raise RowError(f"{name} must be a list of {len(places)}, one for each completion")
    return {
        place: value
        for place, value in zip(places, values, strict=True)
        if value is not None and value != []
    }


def _name(value: Any, field: str, limit: int) -> str | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    text = check_text(value, field).strip()
    if len(text) > limit:
        raise RowError(f"{field} is longer than {limit} characters")
    return text
