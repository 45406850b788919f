"""The people of a project: how each labeler works, one of them in depth, pausing and revoking."""

from collections import Counter
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.dependencies import Admin, AppDatabase, ReadSession, WriteSession
from app.errors import Invalid
from app.labeling.pauses import find_pause, pause_labeler, resume_labeler
from app.labeling.people import (
    agreement_of_all,
    find_account,
    find_revoked_note,
    foresee_revocation,
    get_account,
    get_project_labeler,
    list_project_labelers,
    measure_with_others,
    pick_labeler,
)
from app.labeling.quality import LabelerQuality
from app.labeling.revocation import find_touched, restore_rankings, revoke_rankings
from app.models import User, utc_now
from app.preferences.filters import PairFilters
from app.preferences.queries import list_rankings
from app.projects.service import get_project
from app.web.figures import labeler_href
from app.web.filters import plural
from app.web.labeler_figures import labeler_figures, plot_labeler_weeks, plot_others
from app.web.people_table import build_row, columns_on, headings, plot_speed, sort_labelers
from app.web.plots import plot_days, plot_histogram
from app.web.templating import redirect_with_message, render

router = APIRouter()

LATEST_RANKINGS = 8
Text = Annotated[str, Form()]


@router.get("/projects/{project_id}/people")
def show_people(
    request: Request,
    session: ReadSession,
    admin: Admin,
    project_id: str,
    sort: str = "rankings",
    order: str = "",
) -> HTMLResponse:
    """Every labeler of the project with what is known of their work, sorted by a column."""
    project = get_project(session, project_id, admin)
    labelers = list_project_labelers(session, project.id)
    overall = agreement_of_all(labelers)
    today = utc_now().date()
    columns = columns_on(today)
    column = next((one for one in columns if one.name == sort), columns[1])
    descending = order == "desc" if order in ("asc", "desc") else column.descending
    accounts = _accounts(session, labelers)
    days: Counter[date] = Counter()
    for one in labelers:
        days.update(one.days)
    return render(
        request,
        "labelers/list.html",
        {
            "project": project,
            "active": "people",
            "rows": [
                build_row(project.id, one, accounts.get(one.user_id or ""), overall, today)
                for one in sort_labelers(labelers, column, descending=descending)
            ],
            "headings": headings(columns, column.name, descending),
            "overall": overall,
            "throughput": plot_days("project-days", "Rankings per day", days, today),
            "speed": plot_speed(project.id, labelers, overall),
        },
    )


def _accounts(session: Session, labelers: list[LabelerQuality]) -> dict[str, User]:
    ids = [one.user_id for one in labelers if one.user_id]
    return {user.id: user for user in session.scalars(select(User).where(User.id.in_(ids)))}


@router.get("/projects/{project_id}/people/labeler")
def show_labeler(
    request: Request, session: ReadSession, admin: Admin, project_id: str, name: str
) -> HTMLResponse:
    """One labeler in depth, and what can be done about their work."""
    return render(request, "labelers/show.html", _labeler_context(session, admin, project_id, name))


def _labeler_context(
    session: Session, admin: User, project_id: str, name: str, problem: str = ""
) -> dict[str, Any]:
    project = get_project(session, project_id, admin)
    labelers = list_project_labelers(session, project.id)
    labeler = pick_labeler(labelers, name)
    overall = agreement_of_all(labelers)
    account = find_account(session, labeler)
    return {
        "project": project,
        "active": "people",
        "labeler": labeler,
        "account": account,
        "pause": find_pause(session, account, project.id) if account else None,
        "revoked": find_revoked_note(session, project.id, name) if labeler.revoked else None,
        "touched": find_touched(session, project.id, name) if labeler.revoked else None,
        "figures": labeler_figures(labeler, overall),
        "throughput": plot_days("days", "Rankings per day", labeler.days, utc_now().date()),
        "times": plot_histogram("times", "Active time", labeler.active_ms, noun="ranking"),
        "weeks": plot_labeler_weeks(labeler),
        "others": plot_others(
            project.id,
            name,
            measure_with_others(session, project.id, name),
            overall,
        ),
        "latest": list_rankings(
            session, project.id, PairFilters(labeler=name), limit=LATEST_RANKINGS
        ),
        "problem": problem,
    }


@router.post("/projects/{project_id}/people/labeler/pause")
def pause(
    request: Request,
    database: AppDatabase,
    admin: Admin,
    project_id: str,
    name: Text,
    reason: Text = "",
) -> Response:
    """Give the labeler no more tasks of the project; the reason is shown to them."""
    try:
        with database.write() as session:
            project = get_project(session, project_id, admin)
            account = get_account(session, project.id, name)
            pause_labeler(session, admin, project.id, account, reason=_reason_of(reason))
    except Invalid as error:
        with database.read() as session:
            context = _labeler_context(session, admin, project_id, name, error.detail)
        return render(request, "labelers/show.html", context, error.status)
    return redirect_with_message(labeler_href(project_id, name), f"{name} is paused.")


@router.post("/projects/{project_id}/people/labeler/resume")
def resume(session: WriteSession, admin: Admin, project_id: str, name: Text) -> Response:
    """Let the labeler go on."""
    project = get_project(session, project_id, admin)
    resume_labeler(session, admin, project.id, get_account(session, project.id, name))
    return redirect_with_message(labeler_href(project.id, name), f"{name} can go on.")


@router.get("/projects/{project_id}/people/labeler/revoke")
def ask_to_revoke(
    request: Request, session: ReadSession, admin: Admin, project_id: str, name: str
) -> HTMLResponse:
    """What revoking would do, and the form that does it."""
    context = _revoke_context(session, admin, project_id, name)
    return render(request, "labelers/revoke.html", context)


def _revoke_context(
    session: Session, admin: User, project_id: str, name: str, problem: str = ""
) -> dict[str, Any]:
    project = get_project(session, project_id, admin)
    labeler = get_project_labeler(session, project.id, name)
    account = find_account(session, labeler)
    return {
        "project": project,
        "active": "people",
        "labeler": labeler,
        "can_pause": account is not None and not labeler.simulated and not labeler.paused,
        "foreseen": foresee_revocation(session, project.id, name),
        "problem": problem,
    }


@router.post("/projects/{project_id}/people/labeler/revoke")
def revoke(
    request: Request,
    database: AppDatabase,
    admin: Admin,
    project_id: str,
    name: Text,
    reason: Text = "",
    also_pause: Annotated[bool, Form()] = False,
) -> Response:
    """Take every ranking of the labeler out of pairs and figures; nothing is deleted."""
    try:
        with database.write() as session:
            project = get_project(session, project_id, admin)
            get_project_labeler(session, project.id, name)
            done = revoke_rankings(session, admin, project.id, name, reason=_reason_of(reason))
            if also_pause:
                account = get_account(session, project.id, name)
                pause_labeler(session, admin, project.id, account, reason=_reason_of(reason))
    except Invalid as error:
        with database.read() as session:
            context = _revoke_context(session, admin, project_id, name, error.detail)
        return render(request, "labelers/revoke.html", context, error.status)
    opened = f"; {plural(done.reopened_tasks, 'task')} opened again" if done.reopened_tasks else ""
    return redirect_with_message(
        labeler_href(project_id, name), f"{plural(done.rankings, 'ranking')} revoked{opened}."
    )


@router.post("/projects/{project_id}/people/labeler/restore")
def restore(session: WriteSession, admin: Admin, project_id: str, name: Text) -> Response:
    """Let revoked rankings count again."""
    project = get_project(session, project_id, admin)
    get_project_labeler(session, project.id, name)
    count = restore_rankings(session, admin, project.id, name)
    return redirect_with_message(
        labeler_href(project.id, name),
        f"{plural(count, 'ranking')} {'counts' if count == 1 else 'count'} again.",
    )


def _reason_of(reason: str) -> str:
    if not reason.strip():
        raise Invalid("Say in a few words why.", fields={"reason": "a few words"})
    return reason.strip()
