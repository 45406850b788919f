"""Gold tasks: the page that says the right order of a task, and the list of a project's checks."""

from collections.abc import Mapping

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy.orm import Session

from app.dependencies import Admin, AppDatabase, ReadSession, WriteSession
from app.errors import AppError
from app.labeling.gold import (
    TaskOpinions,
    clear_gold,
    list_check_tasks,
    load_opinions,
    set_gold,
)
from app.models import TaskPurpose, User
from app.projects.service import get_project
from app.web.forms import FormFields
from app.web.templating import redirect_with_message, render

router = APIRouter()

TASKS_PER_PAGE = 50
CONSENSUS = "consensus"


@router.get("/tasks/{task_id}/gold")
def show_gold(
    request: Request, task_id: str, session: ReadSession, user: Admin, fill: str = ""
) -> HTMLResponse:
    """The task with the rankings so far; `fill` fills in one of them, or their consensus."""
    opinions = load_opinions(session, task_id)
    return _render(request, session, user, opinions, _fill_in(opinions, fill), fill=fill)


@router.post("/tasks/{task_id}/gold")
def save_gold(
    request: Request, task_id: str, database: AppDatabase, user: Admin, form: FormFields
) -> Response:
    """Make it a gold task with this order, or show the form again with what is wrong."""
    typed = {
        name.removeprefix("rank_"): value
        for name, value in form.items()
        if name.startswith("rank_") and isinstance(value, str)
    }
    ranks = {name: int(value) if value.isdecimal() else None for name, value in typed.items()}
    try:
        with database.write() as session:
            set_gold(session, user, task_id, {key: rank for key, rank in ranks.items() if rank})
    except AppError as error:
        if not error.fields:
            raise
        with database.read() as session:
            opinions = load_opinions(session, task_id)
            return _render(request, session, user, opinions, ranks, error=error)
    return redirect_with_message(
        f"/tasks/{task_id}/gold", "Saved. Every labeler will be given this task."
    )


@router.post("/tasks/{task_id}/gold/clear")
def remove_gold(task_id: str, session: WriteSession, user: Admin) -> Response:
    """Make it an ordinary task again."""
    clear_gold(session, user, task_id)
    return redirect_with_message(
        f"/tasks/{task_id}/gold", "This is an ordinary task again. Its rankings stay."
    )


@router.get("/projects/{project_id}/gold")
def show_checks(
    request: Request,
    project_id: str,
    session: ReadSession,
    user: Admin,
    purpose: TaskPurpose | None = None,
    after: str = "",
) -> HTMLResponse:
    """The project's gold and calibration tasks, with how many people ranked each."""
    project = get_project(session, project_id, user)
    if purpose == TaskPurpose.ORDINARY:
        purpose = None
    found = list_check_tasks(
        session, project.id, purpose=purpose, after_id=after, limit=TASKS_PER_PAGE + 1
    )
    return render(
        request,
        "gold/list.html",
        {
            "project": project,
            "active": "settings",
            "tasks": found[:TASKS_PER_PAGE],
            "purpose": purpose,
            "after": after,
            "next_after": found[TASKS_PER_PAGE - 1].task.id if len(found) > TASKS_PER_PAGE else "",
        },
    )


def _fill_in(opinions: TaskOpinions, fill: str) -> Mapping[str, int | None]:
    """The ranks to begin with: those asked for, or the gold order as it is, or none."""
    ids = [completion.id for completion in opinions.completions]
    ranks: list[int | None] = []
    if fill == CONSENSUS:
        ranks = opinions.consensus or []
    elif fill:
        ranks = next((item.ranks for item in opinions.rankings if item.id == fill), [])
    if not ranks:
        return opinions.task.gold_ranks or {}
    return dict(zip(ids, ranks, strict=True))


def _render(
    request: Request,
    session: Session,
    user: User,
    opinions: TaskOpinions,
    ranks: Mapping[str, int | None],
    *,
    fill: str = "",
    error: AppError | None = None,
) -> HTMLResponse:
    project = get_project(session, opinions.task.project_id, user)
    problems = {
        name.removeprefix("ranks."): text
        for name, text in (error.fields if error else {}).items()
        if name != "ranks"
    }
    return render(
        request,
        "gold/page.html",
        {
            "project": project,
            "task": opinions.task,
            "round": opinions.round,
            "prompt": opinions.prompt,
            "completions": opinions.completions,
            "rankings": opinions.rankings,
            "consensus": opinions.consensus,
            "ranks": ranks,
            "fill": fill,
            "error": error,
            "problems": problems,
        },
        status_code=error.status if error else 200,
    )
