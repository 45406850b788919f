"""One ranking of Podium's own shape: `{prompt, completions: [{text, model?}], ranks, …}`.

Checked here wherever it came from, under the names of `app.preferences.formats.ranking_row`; what
else stands beside them is passed over.
"""

from datetime import UTC, datetime
from typing import Any

from app.errors import Invalid
from app.labeling.submissions import Submission, check_submission, dense_ranks
from app.preferences.storing import ParsedRanking
from app.projects.messages import check_text
from app.projects.reading import RowError, contains_nul
from app.projects.rounds import FEWEST_COMPLETIONS, MOST_COMPLETIONS
from app.projects.task_import import parse_task

MAX_NAME_LENGTH = 200
MAX_EXTERNAL_ID_LENGTH = 300
MAX_FINISH_REASON_LENGTH = 20
MOST_TOKENS = 2**31 - 1
MOST_VERSIONS = 2**31 - 1


def parse_ranking(values: dict[str, Any]) -> ParsedRanking:
    """Understand one ranking; RowError names the field that cannot be taken."""
    for name in ("prompt", "completions", "ranks"):
        if values.get(name) is None:
            raise RowError(f"{name} is missing")
    given = values["completions"]
    completions = given
    if isinstance(given, list):
        if len(given) > MOST_COMPLETIONS:
            raise RowError(
                f"completions: {len(given)} of them; accepted: {FEWEST_COMPLETIONS} to "
                f"{MOST_COMPLETIONS}"
            )
        completions = [
            {key: item[key] for key in ("text", "model") if key in item}
            if isinstance(item, dict)
            else item
            for item in given
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
        prompt_external_id=_name(
            values.get("prompt_external_id"), "prompt_external_id", MAX_EXTERNAL_ID_LENGTH
        ),
        tags=_tags(values.get("tags")),
        metadata=_object(values.get("metadata"), "metadata") or {},
        finish_reasons=_finish_reasons(given),
        token_counts=_token_counts(given),
        created_at=_time(values.get("created_at")),
        shown=_shown(values.get("shown_order"), given),
        guidelines_version=_version(values.get("guidelines_version")),
        is_repeat=values.get("is_repeat") is True,
        purpose=_name(values.get("purpose"), "purpose", MAX_NAME_LENGTH),
        gold=_gold(values.get("gold"), count),
        origin=_object(values.get("origin"), "origin"),
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


def _object(value: Any, name: str) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise RowError(f"{name} must be an object")
    if contains_nul(value):
        raise RowError(f"{name} holds a NUL character")
    return value


def _tags(value: Any) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise RowError("tags must be a list of texts")
    return [check_text(tag, f"tags[{place}]") for place, tag in enumerate(value)]


def _finish_reasons(completions: list[dict[str, Any]]) -> list[str | None]:
    reasons = [item.get("finish_reason") for item in completions]
    for place, reason in enumerate(reasons):
        if reason is not None:
            name = f"completions[{place}].finish_reason"
            if len(check_text(reason, name)) > MAX_FINISH_REASON_LENGTH:
                raise RowError(f"{name} is longer than {MAX_FINISH_REASON_LENGTH} characters")
    return [] if all(reason is None for reason in reasons) else reasons


def _token_counts(completions: list[dict[str, Any]]) -> list[int | None]:
    counts = [item.get("token_count") for item in completions]
    for place, count in enumerate(counts):
        if count is not None and (type(count) is not int or not 0 <= count <= MOST_TOKENS):
            raise RowError(f"completions[{place}].token_count is {count!r}; accepted: from 0")
    return [] if all(count is None for count in counts) else counts


def _time(value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError) as error:
        raise RowError(
            f"created_at is {str(value)[:40]!r}; accepted: a time such as 2026-01-31T09:30:00Z"
        ) from error


def _shown(value: Any, completions: list[dict[str, Any]]) -> list[int]:
    """The places of the completions whose ids were shown, in that order."""
    if value is None or value == []:
        return []
    places = {
        item["id"]: n for n, item in enumerate(completions) if isinstance(item.get("id"), str)
    }
    if (
        not isinstance(value, list)
        or not all(isinstance(item, str) and item in places for item in value)
        or not len(set(value)) == len(value) == len(completions)
    ):
        raise RowError("shown_order must list the id of every completion once")
    return [places[item] for item in value]


def _version(value: Any) -> int | None:
    if value is not None and (type(value) is not int or not 1 <= value <= MOST_VERSIONS):
        raise RowError(f"guidelines_version is {value!r}; accepted: a whole number from 1")
    return value


def _gold(value: Any, count: int) -> list[int] | None:
    if value is None:
        return None
    if (
        not isinstance(value, list)
        or len(value) != count
        or not all(type(rank) is int and rank >= 1 for rank in value)
    ):
        raise RowError(f"gold must be a list of {count} ranks from 1, one for each completion")
    return value
