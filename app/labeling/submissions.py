"""What a labeler hands in, and whether it is well formed. Nothing here touches the database."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.errors import Invalid
from app.labeling.flags import RATINGS

COMMENT_LIMIT = 10_000
FLAG_LIMIT = 100
ACTIVE_MS_LIMIT = 24 * 60 * 60 * 1000


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A ranking as it came in, not yet checked: ranks, ratings and flags by completion id."""

    ranks: Mapping[str, Any]
    ratings: Mapping[str, Any] = field(default_factory=dict)
    flags: Mapping[str, Any] = field(default_factory=dict)
    comment: str = ""
    active_ms: int | None = None
    guidelines_version: int | None = None
    """The version of the guidelines that the labeler read; None takes the present one."""


@dataclass(frozen=True, kw_only=True)
class CheckedSubmission:
    """A submission that fits its task; ranks are as given, not yet dense.

    A draft may lack ranks; in a finished ranking only an import's may be null.
    """

    ranks: dict[str, int | None]
    ratings: dict[str, int]
    flags: dict[str, list[str]]
    comment: str
    active_ms: int | None


def dense_ranks(ranks: Mapping[str, int | None]) -> dict[str, int | None]:
    """The same order without gaps: 1, 1, 3 becomes 1, 1, 2; unranked stays unranked."""
    places = sorted({rank for rank in ranks.values() if rank is not None})
    dense = {rank: place for place, rank in enumerate(places, start=1)}
    return {completion: None if rank is None else dense[rank] for completion, rank in ranks.items()}


def check_submission(
    submission: Submission,
    completion_ids: Collection[str],
    *,
    accepted_flags: Collection[str] | None,
    allow_unranked: bool = False,
    allow_missing: bool = False,
) -> CheckedSubmission:
    """Raise `Invalid` naming every field that does not fit the task's completions.

    `accepted_flags` are those that the project knows; None takes any name, for rankings made
    elsewhere and for those whose flags were checked before.
    """
    known = set(completion_ids)
    problems: dict[str, str] = {}
    ranks = _check_ranks(submission.ranks, known, allow_unranked or allow_missing, problems)
    if not allow_missing:
        for completion in completion_ids:
            if completion not in submission.ranks:
                problems[f"ranks.{completion}"] = "missing: every completion needs a rank"
    ratings = _check_ratings(submission.ratings, known, problems)
    flags = _check_flags(submission.flags, known, accepted_flags, problems)
    _check_text("comment", submission.comment, problems)
    active_ms = submission.active_ms
    if active_ms is not None and (
        not _is_integer(active_ms) or not 0 <= active_ms <= ACTIVE_MS_LIMIT
    ):
        problems["active_ms"] = "must be whole milliseconds, from 0 to those of one day"
    if problems:
        raise Invalid(
            "The ranking does not fit its task: " + _first_problem(problems),
            code="invalid_ranking",
            fields=problems,
        )
    return CheckedSubmission(
        ranks=ranks,
        ratings=ratings,
        flags=flags,
        comment=submission.comment.strip(),
        active_ms=active_ms,
    )


def check_reason(reason: object) -> str:
    """The reason of a skip, stripped; `Invalid` when it is empty, too long or not text."""
    problems: dict[str, str] = {}
    _check_text("reason", reason, problems)
    if not problems and not str(reason).strip():
        problems["reason"] = "say in a few words why"
    if problems:
        raise Invalid("The reason cannot be taken: " + _first_problem(problems), fields=problems)
    return str(reason).strip()


def _check_ranks(
    ranks: Mapping[str, Any], known: set[str], allow_null: bool, problems: dict[str, str]
) -> dict[str, int | None]:
    checked: dict[str, int | None] = {}
    for completion, rank in ranks.items():
        if completion not in known:
            problems[_name("ranks", completion)] = "is not a completion of this task"
        elif rank is None and allow_null:
            checked[completion] = None
        elif not _is_integer(rank) or rank < 1:
            problems[f"ranks.{completion}"] = "must be a whole number from 1, 1 being the best"
        else:
            checked[completion] = rank
    return checked


def _check_ratings(
    ratings: Mapping[str, Any], known: set[str], problems: dict[str, str]
) -> dict[str, int]:
    checked: dict[str, int] = {}
    for completion, rating in ratings.items():
        if completion not in known:
            problems[_name("ratings", completion)] = "is not a completion of this task"
        elif rating is None:
            continue
        elif not _is_integer(rating) or rating not in RATINGS:
            problems[f"ratings.{completion}"] = "must be a whole number from 1 to 7"
        else:
            checked[completion] = rating
    return checked


def _check_flags(
    flags: Mapping[str, Any],
    known: set[str],
    accepted: Collection[str] | None,
    problems: dict[str, str],
) -> dict[str, list[str]]:
    checked: dict[str, list[str]] = {}
    for completion, names in flags.items():
        if completion not in known:
            problems[_name("flags", completion)] = "is not a completion of this task"
        elif not isinstance(names, list | tuple) or not all(
            _is_flag(name, accepted) for name in names
        ):
            some = "names of flags" if accepted is None else ", ".join(accepted) or "no flags"
            problems[f"flags.{completion}"] = f"must be a list of {some}"
        elif names:
            order = dict.fromkeys(names) if accepted is None else accepted
            checked[completion] = [name for name in order if name in names]
    return checked


def _is_flag(name: object, accepted: Collection[str] | None) -> bool:
    if accepted is not None:
        return isinstance(name, str) and name in accepted
    problems: dict[str, str] = {}
    _check_text("flag", name, problems)
    return not problems and 0 < len(str(name)) <= FLAG_LIMIT


def _check_text(name: str, value: object, problems: dict[str, str]) -> None:
    """PostgreSQL stores neither NUL nor half of a surrogate pair, so we take neither."""
    if not isinstance(value, str):
        problems[name] = "must be text"
    elif len(value) > COMMENT_LIMIT:
        problems[name] = f"must be at most {COMMENT_LIMIT} characters"
    elif "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        problems[name] = "holds a character that is not text"


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _name(field_name: str, key: str) -> str:
    """The name of an unknown key in an error: short, and text even where the key is not."""
    return f"{field_name}.{key[:80].encode('utf-8', 'replace').decode()}"


def _first_problem(problems: dict[str, str]) -> str:
    name, problem = next(iter(problems.items()))
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{name} {problem}{more}."
