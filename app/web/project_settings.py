"""The settings of a project: name, guidelines, flags, hidden checks, and who may rank."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from starlette.datastructures import FormData

from app.accounts.audit import record
from app.dependencies import Admin, AppDatabase, ReadSession
from app.errors import AppError
from app.labeling.flags import MOST_FLAGS_EVER, list_flags
from app.models import Membership, Project, Role, Task, TaskPurpose, User
from app.projects.service import (
    add_member,
    get_project,
    list_members,
    remove_member,
    update_project,
)
from app.web.forms import FormFields, read_percent, text_of, texts_of
from app.web.templating import redirect_with_message, render

router = APIRouter()

EMPTY_FLAGS = 2
"""Rows at the end of the list of flags for new ones."""


@dataclass(frozen=True, kw_only=True)
class FlagRow:
    """A row of the list of flags: the words as typed, and where the flag stands in the list."""

    name: str = ""
    """Empty for a new flag."""
    label: str = ""
    order: int = 0
    retired: bool = False


@dataclass(frozen=True, kw_only=True)
class SettingsForm:
    """The form as it is shown: every value as typed."""

    name: str
    guidelines: str
    restricted: bool
    members: Sequence[str]
    flags: Sequence[FlagRow]
    gold_percent: str
    repeat_percent: str
    uncertain_first: bool
    error: AppError | None = field(default=None)

    @classmethod
    def of_project(cls, session: Session, project: Project) -> Self:
        """What is stored."""
        return cls(
            name=project.name,
            guidelines=project.guidelines,
            restricted=project.restricted,
            members=[member.id for member in list_members(session, project)],
            flags=[
                FlagRow(order=place, **flag)
                for place, flag in enumerate(list_flags(project), start=1)
            ],
            gold_percent=f"{100 * project.gold_share:g}",
            repeat_percent=f"{100 * project.repeat_share:g}",
            uncertain_first=project.uncertain_first,
        )

    @classmethod
    def of_form(cls, form: FormData, error: AppError | None = None) -> Self:
        """What was typed."""
        return cls(
            name=text_of(form, "name"),
            guidelines=text_of(form, "guidelines"),
            restricted=text_of(form, "restricted") == "true",
            members=texts_of(form, "members"),
            flags=_read_flags(form),
            gold_percent=text_of(form, "gold_percent"),
            repeat_percent=text_of(form, "repeat_percent"),
            uncertain_first=text_of(form, "uncertain_first") == "true",
            error=error,
        )


@router.get("/projects/{project_id}/settings")
def show_settings(
    request: Request, session: ReadSession, user: Admin, project_id: str
) -> HTMLResponse:
    """Everything that an admin may set."""
    project = get_project(session, project_id, user)
    return _render(request, session, project, SettingsForm.of_project(session, project))


@router.post("/projects/{project_id}/settings/preview")
def preview_settings(
    request: Request, session: ReadSession, user: Admin, project_id: str, form: FormFields
) -> HTMLResponse:
    """The settings again, with the guidelines as labelers will read them; nothing is stored."""
    project = get_project(session, project_id, user)
    return _render(request, session, project, SettingsForm.of_form(form), preview=True)


@router.post("/projects/{project_id}/settings")
def save_settings(
    request: Request, database: AppDatabase, user: Admin, project_id: str, form: FormFields
) -> Response:
    """Store all of it, or nothing."""
    typed = SettingsForm.of_form(form)
    try:
        with database.write() as session:
            project = get_project(session, project_id, user)
            _store(session, user, project, typed)
    except AppError as error:
        if not error.fields:
            raise
        with database.read() as session:
            project = get_project(session, project_id, user)
            again = SettingsForm.of_form(form, error)
            return _render(request, session, project, again, status_code=error.status)
    return redirect_with_message(f"/projects/{project_id}/settings", "Saved.")


def _store(session: Session, user: User, project: Project, typed: SettingsForm) -> None:
    update_project(
        session,
        user,
        project,
        name=typed.name,
        guidelines=typed.guidelines,
        restricted=typed.restricted,
        flags=_given_flags(typed.flags) if typed.flags else None,
        gold_share=read_percent("gold_percent", typed.gold_percent, most=50),
        repeat_share=read_percent("repeat_percent", typed.repeat_percent, most=50),
        uncertain_first=typed.uncertain_first,
    )
    _set_members(session, project, typed.members)
    record(
        session,
        user,
        "project.update",
        "project",
        project.id,
        guidelines_version=project.guidelines_version,
        restricted=project.restricted,
        members=len(typed.members),
        flags=[flag["name"] for flag in list_flags(project) if not flag["retired"]],
        gold_share=project.gold_share,
        repeat_share=project.repeat_share,
        uncertain_first=project.uncertain_first,
    )


def _read_flags(form: FormData) -> list[FlagRow]:
    """The rows with something in them, in the order they were given."""
    rows = []
    for place in range(MOST_FLAGS_EVER + EMPTY_FLAGS):
        prefix = f"flag_{place}_"
        name, label = text_of(form, f"{prefix}name"), text_of(form, f"{prefix}label")
        if not name and not label.strip():
            continue
        order = text_of(form, f"{prefix}order").strip()
        rows.append(
            FlagRow(
                name=name,
                label=label,
                order=int(order) if order.isascii() and order.isdigit() and len(order) < 5 else 999,
                retired=text_of(form, f"{prefix}retired") == "true",
            )
        )
    return sorted(rows, key=lambda row: row.order)


def _given_flags(rows: Sequence[FlagRow]) -> list[dict[str, Any]]:
    return [{"name": row.name or None, "label": row.label, "retired": row.retired} for row in rows]


def _render(
    request: Request,
    session: Session,
    project: Project,
    form: SettingsForm,
    *,
    preview: bool = False,
    status_code: int = 200,
) -> HTMLResponse:
    people = session.scalars(
        select(User)
        .where(User.role == Role.LABELER, User.disabled_at.is_(None))
        .order_by(User.simulation_rule.is_not(None), User.email)
    ).all()
    rows = [*form.flags, *[FlagRow(order=len(form.flags) + 1 + n) for n in range(EMPTY_FLAGS)]]
    context = {
        "project": project,
        "active": "settings",
        "people": people,
        "form": form,
        "name": form.name,
        "guidelines": form.guidelines,
        "flag_rows": rows,
        "purposes": _count_purposes(session, project),
        "preview": preview,
        "problem": form.error.detail if form.error else None,
        "fields": form.error.fields if form.error else {},
    }
    return render(request, "projects/settings.html", context, status_code=status_code)


def _count_purposes(session: Session, project: Project) -> dict[str, int]:
    """How many gold and calibration tasks there are."""
    counts = session.execute(
        select(Task.purpose, func.count())
        .where(Task.project_id == project.id, Task.purpose != TaskPurpose.ORDINARY)
        .group_by(Task.purpose)
    )
    return {TaskPurpose.GOLD: 0, TaskPurpose.CALIBRATION: 0} | dict(counts.all())


def _set_members(session: Session, project: Project, members: Sequence[str]) -> None:
    """Make exactly these labelers the members; ids of nobody are ignored."""
    wanted = {
        person.id: person for person in session.scalars(select(User).where(User.id.in_(members)))
    }
    present = set(
        session.scalars(select(Membership.user_id).where(Membership.project_id == project.id))
    )
    for person in list_members(session, project):
        if person.id not in wanted and person.role == Role.LABELER and person.disabled_at is None:
            remove_member(session, project, person)
    for user_id, person in wanted.items():
        if user_id not in present:
            add_member(session, project, person)
