"""Pages of rounds: the list, and one round live."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy.orm import Session

from app.dependencies import Admin, AppDatabase, ReadSession, Researcher, WriteSession
from app.errors import AppError
from app.jobs.service import find_job, is_worker_alive
from app.models import (
    Job,
    JobState,
    Role,
    Round,
    RoundState,
    TaskPurpose,
    TaskState,
    User,
)
from app.preferences.deletion import list_holding_round
from app.projects.round_changes import MOST_LABELERS, update_round
from app.projects.round_counts import RoundCounts, round_counts
from app.projects.round_tasks import list_latest_tasks, list_round_tasks
from app.projects.rounds import (
    accept_round,
    close_round,
    get_round,
    list_rounds,
    reopen_round,
    retry_round,
)
from app.projects.service import get_project
from app.web.forms import FormFields, read_percent, read_whole, text_of
from app.web.new_round import PRIORITIES
from app.web.templating import redirect_with_message, render

router = APIRouter()

TASKS_PER_PAGE = 20
LIVE_SECONDS = 2
RANKING_SECONDS = 10
STATE_COLORS = {
    RoundState.GENERATING: "blue",
    RoundState.OPEN: "green",
    RoundState.CLOSED: "secondary",
}
TASK_COLORS = {
    TaskState.PENDING: "secondary",
    TaskState.OPEN: "green",
    TaskState.COMPLETE: "teal",
    TaskState.SHORT: "red",
}
PURPOSE_COLORS = {TaskPurpose.GOLD: "yellow", TaskPurpose.CALIBRATION: "azure"}
CHANGEABLE = ("priority", "labelers_per_task", "calibration_percent")


@dataclass(frozen=True, kw_only=True)
class TaskChoice:
    """Which tasks of a round its page shows."""

    state: TaskState | None = None
    purpose: TaskPurpose | None = None
    after: str = ""

    @property
    def filtered(self) -> bool:
        """Whether these are not simply the first of all tasks."""
        return bool(self.state or self.purpose or self.after)

    def query(self, **change: str) -> str:
        """The choice in an address, with its question mark."""
        values = {"state": self.state or "", "purpose": self.purpose or "", "after": self.after}
        given = {name: value for name, value in {**values, **change}.items() if value}
        return f"?{urlencode(given)}" if given else ""


@dataclass(frozen=True)
class RoundRow:
    """A round as the list shows it."""

    round: Round
    counts: RoundCounts
    job: Job | None


@router.get("/projects/{project_id}/rounds")
def show_rounds(
    request: Request, project_id: str, session: ReadSession, user: Researcher
) -> HTMLResponse:
    """The rounds of a project, the newest first."""
    project = get_project(session, project_id, user)
    rows = [
        RoundRow(round_, round_counts(session, round_.id), _job_of(session, round_))
        for round_ in list_rounds(session, project.id)
    ]
    return render(
        request,
        "rounds/list.html",
        {
            "project": project,
            "rows": rows,
            "colors": STATE_COLORS,
            "live": any(_is_active(row.job) for row in rows),
        },
    )


@router.get("/rounds/{round_id}")
def show_round(
    request: Request,
    round_id: str,
    session: ReadSession,
    user: Researcher,
    state: TaskState | None = None,
    purpose: TaskPurpose | None = None,
    after: str = "",
) -> HTMLResponse:
    """One round: what it is doing, its problems, and its tasks with their completions."""
    round_ = get_round(session, round_id, user)
    shown = TaskChoice(state=state, purpose=purpose, after=after)
    return _render_round(request, session, user, round_, shown)


@router.post("/rounds/{round_id}")
def change_round(
    request: Request, round_id: str, database: AppDatabase, user: Admin, form: FormFields
) -> Response:
    """Change its priority, labelers per task or share of calibration tasks."""
    values = {name: text_of(form, name) for name in CHANGEABLE}
    try:
        with database.write() as session:
            round_ = get_round(session, round_id, user)
            update_round(
                session,
                user,
                round_,
                priority=read_whole(values["priority"]),
                labelers_per_task=read_whole(values["labelers_per_task"]),
                calibration_share=read_percent(
                    "calibration_percent", values["calibration_percent"], most=100
                ),
            )
    except AppError as error:
        if not error.fields:
            raise
        with database.read() as session:
            round_ = get_round(session, round_id, user)
            return _render_round(
                request, session, user, round_, TaskChoice(), values=values, error=error
            )
    return redirect_with_message(f"/rounds/{round_id}", "Saved.")


@router.post("/rounds/{round_id}/retry")
def retry(round_id: str, session: WriteSession, user: Admin) -> Response:
    """Make the completions that are missing."""
    retry_round(session, user, get_round(session, round_id, user))
    return redirect_with_message(f"/rounds/{round_id}", "Missing completions are being made.")


@router.post("/rounds/{round_id}/accept")
def accept(round_id: str, session: WriteSession, user: Admin) -> Response:
    """Go on with what there is."""
    accept_round(session, user, get_round(session, round_id, user))
    return redirect_with_message(f"/rounds/{round_id}", "Tasks with two completions are open.")


@router.post("/rounds/{round_id}/close")
def close(round_id: str, session: WriteSession, user: Admin) -> Response:
    """Ask for no more rankings."""
    close_round(session, user, get_round(session, round_id, user))
    return redirect_with_message(f"/rounds/{round_id}", "The round is closed.")


@router.post("/rounds/{round_id}/reopen")
def reopen(round_id: str, session: WriteSession, user: Admin) -> Response:
    """Ask for the missing rankings again."""
    reopen_round(session, user, get_round(session, round_id, user))
    return redirect_with_message(f"/rounds/{round_id}", "The round is open again.")


def _render_round(
    request: Request,
    session: Session,
    user: User,
    round_: Round,
    shown: TaskChoice,
    *,
    values: Mapping[str, str] | None = None,
    error: AppError | None = None,
) -> HTMLResponse:
    """The page of a round; with `error` the form that changes it is open, as it was filled in."""
    project = get_project(session, round_.project_id, user)
    job = _job_of(session, round_)
    active = _is_active(job)
    counts = round_counts(session, round_.id)
    newest_first = active and not shown.filtered
    if newest_first:
        tasks = list_latest_tasks(session, round_)
    else:
        tasks = list_round_tasks(
            session,
            round_,
            state=shown.state,
            purpose=shown.purpose,
            after_id=shown.after,
            limit=TASKS_PER_PAGE + 1,
        )
    more = tasks[TASKS_PER_PAGE - 1].task.id if len(tasks) > TASKS_PER_PAGE else None
    ranking = round_.state == RoundState.OPEN and counts.rankings_got < counts.rankings_wanted
    return render(
        request,
        "rounds/page.html",
        {
            "project": project,
            "round": round_,
            "job": job,
            "active": active,
            "counts": counts,
            "tasks": tasks[:TASKS_PER_PAGE],
            "newest_first": newest_first,
            "next_after": more,
            "shown": shown,
            "state_counts": [(one, getattr(counts, one)) for one in TaskState],
            "colors": STATE_COLORS,
            "task_colors": TASK_COLORS,
            "purpose_colors": PURPOSE_COLORS,
            "poll_seconds": None
            if error
            else LIVE_SECONDS
            if active
            else RANKING_SECONDS
            if ranking
            else None,
            "no_worker": active and not is_worker_alive(session),
            "author": _author(session, round_),
            "holding": list_holding_round(session, round_.id) if user.role == Role.ADMIN else [],
            "values": values or _present_values(round_),
            "error": error,
            "most_labelers": MOST_LABELERS,
            "priorities": PRIORITIES,
        },
        status_code=error.status if error else 200,
    )


def _present_values(round_: Round) -> dict[str, str]:
    return {
        "priority": str(round_.priority),
        "labelers_per_task": str(round_.labelers_per_task),
        "calibration_percent": f"{100 * round_.calibration_share:g}",
    }


def _job_of(session: Session, round_: Round) -> Job | None:
    return find_job(session, round_.job_id) if round_.job_id else None


def _is_active(job: Job | None) -> bool:
    return job is not None and not JobState(job.state).final


def _author(session: Session, round_: Round) -> str | None:
    user = session.get(User, round_.created_by) if round_.created_by else None
    return (user.name or user.email) if user else None
