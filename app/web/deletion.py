"""Taking data away on pages: erasing what a labeler said, deleting what no snapshot holds."""

from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy.orm import Session

from app.db import Database
from app.dependencies import Admin, AppDatabase, AppSettings, ReadSession
from app.errors import AppError, Conflict, Invalid
from app.models import User
from app.preferences.deletion import delete_prompt, delete_ranking, delete_round
from app.preferences.erased_files import remove_erased_files
from app.preferences.erasure import (
    ErasureReport,
    check_confirmation,
    erase_labeler,
    foresee_erasure,
    refuse_stranger,
)
from app.preferences.revisions import get_ranking
from app.projects.prompts import get_prompt
from app.projects.rounds import get_round
from app.projects.service import get_project
from app.web.filters import plural
from app.web.templating import redirect_with_message, render

router = APIRouter()

Text = Annotated[str, Form()]


@router.get("/projects/{project_id}/people/labeler/erase")
def ask_to_erase(
    request: Request, session: ReadSession, admin: Admin, project_id: str, name: str
) -> HTMLResponse:
    """What erasing would do, and the form that does it."""
    context = _erase_context(session, admin, project_id, name)
    return render(request, "labelers/erase.html", context)


def _erase_context(
    session: Session,
    admin: User,
    project_id: str,
    name: str,
    typed: str = "",
    error: AppError | None = None,
) -> dict[str, Any]:
    project = get_project(session, project_id, admin)
    refuse_stranger(session, project.id, name)
    return {
        "project": project,
        "active": "people",
        "name": name,
        "foreseen": foresee_erasure(session, project.id, name),
        "typed": typed,
        "error": error,
    }


@router.post("/projects/{project_id}/people/labeler/erase")
def erase(
    request: Request,
    database: AppDatabase,
    settings: AppSettings,
    admin: Admin,
    project_id: str,
    name: Text,
    confirm: Text = "",
) -> Response:
    """Erase all that the labeler said in the project, or say why not yet."""
    try:
        check_confirmation(name, confirm)
        with database.write() as session:
            project = get_project(session, project_id, admin)
            refuse_stranger(session, project.id, name)
            report = erase_labeler(session, admin, project, name)
    except (Invalid, Conflict) as error:
        with database.read() as session:
            context = _erase_context(session, admin, project_id, name, confirm, error)
        return render(request, "labelers/erase.html", context, error.status)
    remove_erased_files(report, settings.data_dir.absolute() / "exports", settings.runs_dir)
    return redirect_with_message(f"/projects/{project_id}/people", _describe(report))


def _describe(report: ErasureReport) -> str:
    parts = [f"{plural(report.rankings, 'ranking')} erased"]
    if report.tombstones:
        held = f"{report.tombstones:,} of them" if report.deleted else "all"
        noun = "a tombstone" if report.tombstones == 1 else "tombstones"
        where = plural(len(report.snapshot_ids), "snapshot")
        parts.append(f"{held} left as {noun} in {where}")
    if report.reopened_tasks:
        parts.append(f"{plural(report.reopened_tasks, 'task')} opened again")
    return f"{'; '.join(parts)}."


@router.post("/rankings/{ranking_id}/delete")
def delete_one_ranking(database: AppDatabase, admin: Admin, ranking_id: str) -> Response:
    """Delete the ranking with its revisions, or say on its page why it stays."""

    def act(session: Session) -> str:
        ranking = get_ranking(session, ranking_id)
        project = get_project(session, ranking.project_id, admin)
        delete_ranking(session, admin, ranking)
        return f"/projects/{project.id}/pairs?view=rankings"

    return _delete(database, act, f"/rankings/{ranking_id}", "The ranking is deleted.")


@router.post("/prompts/{prompt_id}/delete")
def delete_one_prompt(
    database: AppDatabase,
    admin: Admin,
    prompt_id: str,
    query: Text = "",
    tag: Text = "",
    metadata: Text = "",
    page: Annotated[int, Form()] = 1,
) -> Response:
    """Delete the prompt with its tasks, or say why it stays; the list is shown as it was."""
    with database.read() as session:
        project_id = get_prompt(session, prompt_id, admin).project_id
    shown = {"query": query, "tag": tag, "metadata": metadata, "page": page if page > 1 else ""}
    asked = urlencode({key: value for key, value in shown.items() if value})
    address = f"/projects/{project_id}/prompts{'?' if asked else ''}{asked}"

    def act(session: Session) -> str:
        delete_prompt(session, admin, get_prompt(session, prompt_id, admin))
        return address

    return _delete(database, act, address, "The prompt is deleted.")


@router.post("/rounds/{round_id}/delete")
def delete_one_round(database: AppDatabase, admin: Admin, round_id: str) -> Response:
    """Delete the round with its tasks, or say on its page why it stays."""

    def act(session: Session) -> str:
        round_ = get_round(session, round_id, admin)
        project_id = round_.project_id
        delete_round(session, admin, round_)
        return f"/projects/{project_id}/rounds"

    return _delete(database, act, f"/rounds/{round_id}", "The round is deleted.")


def _delete(
    database: Database, act: Callable[[Session], str], stays_at: str, done: str
) -> Response:
    try:
        with database.write() as session:
            address = act(session)
    except Conflict as error:
        return redirect_with_message(stays_at, error.detail, kind="danger")
    return redirect_with_message(address, done)
