"""Projects: the list, a new one, the loop page, archiving."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session

from app.accounts.audit import record
from app.dependencies import Admin, AppDatabase, ReadSession, Researcher
from app.errors import AppError
from app.models import Project, User
from app.projects.loop import get_loop_state
from app.projects.service import (
    archive_project,
    create_project,
    get_project,
    list_projects,
    restore_project,
)
from app.projects.summaries import summarize_projects
from app.web.next_steps import build_headline, poll_seconds
from app.web.stations import build_stations
from app.web.templating import redirect_with_message, render

router = APIRouter()

Text = Annotated[str, Form()]


@router.get("/projects")
def show_projects(
    request: Request, session: ReadSession, user: Researcher, archived: bool = False
) -> HTMLResponse:
    """Every project, with what it holds."""
    projects = list_projects(session, user, include_archived=archived)
    return render(
        request,
        "projects/list.html",
        {"summaries": summarize_projects(session, projects), "archived": archived},
    )


@router.get("/projects/new")
def show_new_project(request: Request, user: Admin) -> HTMLResponse:
    """The form of a new project."""
    return render(request, "projects/new.html", {"user": user, **_form()})


@router.post("/projects/new/preview")
def preview_new_project(
    request: Request, user: Admin, name: Text = "", guidelines: Text = ""
) -> HTMLResponse:
    """The form again, with the guidelines as labelers will read them; nothing is stored."""
    form = _form(name, guidelines, preview=True)
    return render(request, "projects/new.html", {"user": user, **form})


@router.post("/projects/new")
def create(
    request: Request, database: AppDatabase, user: Admin, name: Text = "", guidelines: Text = ""
) -> Response:
    """Create the project and go to its loop."""
    try:
        with database.write() as session:
            project = create_project(session, user, name=name, guidelines=guidelines)
            record(session, user, "project.create", "project", project.id, name=project.name)
    except AppError as error:
        form = _form(name, guidelines, error=error)
        return render(request, "projects/new.html", form, status_code=error.status)
    return redirect_with_message(
        f"/projects/{project.id}", f"{project.name} is ready. Add prompts to begin."
    )


@router.get("/projects/{project_id}")
def show_project(
    request: Request, session: ReadSession, user: Researcher, project_id: str
) -> HTMLResponse:
    """The loop page."""
    project = get_project(session, project_id, user)
    return render(request, "projects/loop.html", _loop_context(session, project, user))


@router.get("/projects/{project_id}/loop")
def show_loop(
    request: Request, session: ReadSession, user: Researcher, project_id: str
) -> HTMLResponse:
    """The stations alone, for the loop page to look at again."""
    project = get_project(session, project_id, user)
    return render(request, "projects/_loop.html", _loop_context(session, project, user))


@router.post("/projects/{project_id}/archive")
def archive(database: AppDatabase, user: Admin, project_id: str) -> Response:
    """Hide the project from lists and from labelers."""
    with database.write() as session:
        project = get_project(session, project_id, user)
        archive_project(session, project)
        record(session, user, "project.archive", "project", project.id)
    return redirect_with_message("/projects?archived=true", f"{project.name} is archived.")


@router.post("/projects/{project_id}/restore")
def restore(database: AppDatabase, user: Admin, project_id: str) -> Response:
    """Bring an archived project back."""
    with database.write() as session:
        project = get_project(session, project_id, user)
        restore_project(session, project)
        record(session, user, "project.restore", "project", project.id)
    return redirect_with_message(f"/projects/{project.id}", f"{project.name} is back.")


def _form(
    name: str = "",
    guidelines: str = "",
    *,
    preview: bool = False,
    error: AppError | None = None,
) -> dict[str, Any]:
    """What the form of a new project shows: the values as typed, and what is wrong with them."""
    return {
        "name": name,
        "guidelines": guidelines,
        "preview": preview,
        "problem": error.detail if error else None,
        "fields": error.fields if error else {},
    }


def _loop_context(session: Session, project: Project, user: User) -> dict[str, Any]:
    state = get_loop_state(session, project.id)
    return {
        "project": project,
        "active": "loop",
        "state": state,
        "stations": build_stations(state, project.id, user),
        "headline": build_headline(state),
        "poll_seconds": poll_seconds(state),
        "user": user,
    }
