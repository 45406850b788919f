"""What the form of the ranking page holds, and how it is shown again when it was refused."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.datastructures import FormData

from app.errors import AppError
from app.labeling.flags import flags_on
from app.labeling.submissions import CheckedSubmission, Submission
from app.models import Project

COMPLETION_FIELDS = ("rank_", "rating_", "flag_")


async def read_form(request: Request) -> FormData:
    """The fields of a form whose names hold completion ids."""
    return await request.form()


RankingForm = Annotated[FormData, Depends(read_form)]


@dataclass(frozen=True, kw_only=True)
class CompletionFields:
    """What the labeler has said of one completion, as its form fields show it."""

    rank: int | None
    rating: int | None
    flags: list[str]
    offered: dict[str, str]
    """The flags with a box: the project's, and those set here that it no longer offers."""
    problem: str | None


def read_fields(
    completion_id: str,
    project: Project,
    work: CheckedSubmission,
    form: FormData | None,
    error: AppError | None,
) -> CompletionFields:
    """A completion's fields: from the form that was refused, else from the work so far."""
    if form is None or f"rank_{completion_id}" not in form:
        rank = work.ranks.get(completion_id)
        rating = work.ratings.get(completion_id)
        flags = work.flags.get(completion_id, [])
    else:
        rank = read_number(form, f"rank_{completion_id}")
        rating = read_number(form, f"rating_{completion_id}")
        flags = [str(flag) for flag in form.getlist(f"flag_{completion_id}")]
    return CompletionFields(
        rank=rank,
        rating=rating,
        flags=flags,
        offered=flags_on(project, work.flags.get(completion_id, [])),
        problem=_find_problem(completion_id, error),
    )


def read_submission(form: FormData) -> Submission:
    """The ranking a form holds; an empty field says nothing."""
    ranks: dict[str, Any] = {}
    ratings: dict[str, Any] = {}
    flags: dict[str, Any] = {}
    for name in form:
        kind = next((prefix for prefix in COMPLETION_FIELDS if name.startswith(prefix)), None)
        if kind is None:
            continue
        completion_id = name.removeprefix(kind)
        if kind == "flag_":
            flags[completion_id] = [str(flag) for flag in form.getlist(name)]
        elif form[name] != "":
            (ranks if kind == "rank_" else ratings)[completion_id] = as_number(form[name])
    return Submission(
        ranks=ranks,
        ratings=ratings,
        flags=flags,
        comment=str(form.get("comment", "")),
        active_ms=read_number(form, "active_ms"),
        guidelines_version=read_number(form, "guidelines_version"),
    )


def read_number(form: FormData, name: str) -> int | None:
    """A field's whole number; None where it holds none."""
    value = as_number(form.get(name, ""))
    return value if isinstance(value, int) else None


def as_number(value: object) -> object:
    """Digits as a number; anything else as it is, for the check to refuse."""
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else value


def _find_problem(completion_id: str, error: AppError | None) -> str | None:
    problems = error.fields if error else {}
    for part, words in (("ranks", "Rank"), ("ratings", "Rating"), ("flags", "Flags")):
        if f"{part}.{completion_id}" in problems:
            return f"{words} {problems[f'{part}.{completion_id}']}"
    return None
