"""Pages of rounds: the list, a new one, and one round live."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.dependencies import Admin, AppDatabase, ReadSession, Researcher, WriteSession
from app.errors import AppError
from app.generation.estimate import SECONDS_PER_TOKEN, measured_seconds_per_token
from app.jobs.service import find_job, is_worker_alive
from app.models import (
    Job,
    JobState,
    Model,
    ModelKind,
    Project,
    Prompt,
    Round,
    RoundState,
    TaskState,
    User,
)
from app.projects.round_counts import RoundCounts, round_counts
from app.projects.round_tasks import list_latest_tasks, list_round_tasks
from app.projects.rounds import (
    MOST_COMPLETIONS,
    MOST_LABELERS,
    accept_round,
    close_round,
    create_round,
    get_round,
    list_rounds,
    reopen_round,
    retry_round,
)
from app.projects.service import get_project
from app.registry.service import list_models
from app.web.forms import FormFields, texts_of
from app.web.sampling import read_sampling, sampling_defaults, sampling_fields
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
NUMBERS = ("completions_per_prompt", "labelers_per_task", "prompt_limit")
DEFAULTS = {"completions_per_prompt": "4", "labelers_per_task": "1", "prompt_limit": ""}


@dataclass(frozen=True)
class RoundRow:
    """A round as the list shows it."""

    round: Round
    counts: RoundCounts
    job: Job | None


@dataclass(frozen=True)
class PolicyChoice:
    """A policy that a round may ask."""

    model: Model
    chosen: bool


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a round of the values in the form would make, and how long that would take."""

    prompts: int
    completions: int
    rankings: int
    seconds: float
    measured: bool
    """By earlier rounds here, and not by the starter policy elsewhere."""


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


@router.get("/projects/{project_id}/rounds/new")
def show_new_round(
    request: Request, project_id: str, session: ReadSession, user: Admin
) -> HTMLResponse:
    """The form of a new round; `policies` in the address are ticked already."""
    project = get_project(session, project_id, user)
    values = {name: value for name, value in request.query_params.items() if name != "policies"}
    named = request.query_params.getlist("policies")
    chosen = [policy for value in named for policy in value.split(",") if policy]
    return _render_form(request, session, project, values, chosen)


@router.post("/projects/{project_id}/rounds")
def start_round(
    request: Request, project_id: str, database: AppDatabase, user: Admin, form: FormFields
) -> Response:
    """Start the round, or show the form again with what is wrong."""
    values = {name: value for name, value in form.items() if isinstance(value, str)}
    chosen = texts_of(form, "policies")
    try:
        with database.write() as session:
            project = get_project(session, project_id, user)
            round_ = create_round(
                session,
                user,
                project,
                policies=chosen,
                sampling=read_sampling(values),
                **_read_numbers(values),
            )
    except AppError as error:
        if not error.fields and error.status != 409:
            raise
        with database.read() as session:
            project = get_project(session, project_id, user)
            return _render_form(request, session, project, values, chosen, error)
    return redirect_with_message(f"/rounds/{round_.id}", f"Round {round_.number} has started.")


@router.get("/projects/{project_id}/rounds/estimate")
def show_estimate(
    request: Request, project_id: str, session: ReadSession, user: Admin
) -> HTMLResponse:
    """The estimate for the values in the form."""
    project = get_project(session, project_id, user)
    estimate = _estimate(session, project, {**_default_values(), **request.query_params})
    return render(request, "rounds/_estimate.html", {"estimate": estimate, "project": project})


@router.get("/rounds/{round_id}")
def show_round(
    request: Request,
    round_id: str,
    session: ReadSession,
    user: Researcher,
    state: TaskState | None = None,
    after: str = "",
) -> HTMLResponse:
    """One round: what it is doing, its problems, and its tasks with their completions."""
    round_ = get_round(session, round_id, user)
    project = get_project(session, round_.project_id, user)
    job = _job_of(session, round_)
    active = _is_active(job)
    counts = round_counts(session, round_.id)
    newest_first = active and state is None and not after
    if newest_first:
        tasks = list_latest_tasks(session, round_)
    else:
        tasks = list_round_tasks(
            session, round_, state=state, after_id=after, limit=TASKS_PER_PAGE + 1
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
            "after": after,
            "task_state": state,
            "state_counts": [(one, getattr(counts, one)) for one in TaskState],
            "colors": STATE_COLORS,
            "task_colors": TASK_COLORS,
            "poll_seconds": LIVE_SECONDS if active else RANKING_SECONDS if ranking else None,
            "no_worker": active and not is_worker_alive(session),
            "author": _author(session, round_),
        },
    )


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


def _render_form(
    request: Request,
    session: Session,
    project: Project,
    given: Mapping[str, str],
    chosen: Sequence[str],
    error: AppError | None = None,
) -> HTMLResponse:
    models = list_models(session, ModelKind.POLICY, project.id)
    if not chosen and error is None and models:
        # The policy tuned last is the one to look at next; without one, the first there is.
        chosen = [models[0].id]
    values = {**_default_values(), **given}
    return render(
        request,
        "rounds/new.html",
        {
            "project": project,
            "policies": [PolicyChoice(model, model.id in chosen) for model in models],
            "values": values,
            "sampling_fields": sampling_fields(),
            "error": error,
            "most_completions": MOST_COMPLETIONS,
            "most_labelers": MOST_LABELERS,
            "prompts": _count_prompts(session, project),
            "estimate": _estimate(session, project, values),
        },
        status_code=error.status if error else 200,
    )


def _default_values() -> dict[str, str]:
    return {**DEFAULTS, **sampling_defaults()}


def _read_numbers(values: Mapping[str, str]) -> dict[str, Any]:
    """The whole numbers of the form; what is none is 0, which the service refuses by name."""
    numbers: dict[str, Any] = {}
    for name in NUMBERS:
        text = values.get(name, "").strip()
        if not text and name == "prompt_limit":
            numbers[name] = None
        else:
            numbers[name] = int(text) if text.isdecimal() and len(text) < 10 else 0
    return numbers


def _estimate(session: Session, project: Project, values: Mapping[str, str]) -> Estimate:
    numbers = _read_numbers(values)
    prompts = _count_prompts(session, project)
    if numbers["prompt_limit"]:
        prompts = min(prompts, numbers["prompt_limit"])
    completions = prompts * min(numbers["completions_per_prompt"], MOST_COMPLETIONS)
    tokens = read_sampling(values).get("max_new_tokens", 0)
    tokens = tokens if isinstance(tokens, int) else 0
    measured = measured_seconds_per_token(session)
    return Estimate(
        prompts=prompts,
        completions=completions,
        rankings=prompts * min(numbers["labelers_per_task"], MOST_LABELERS),
        seconds=completions * tokens * (measured or SECONDS_PER_TOKEN),
        measured=measured is not None,
    )


def _count_prompts(session: Session, project: Project) -> int:
    return session.scalar(select(func.count()).where(Prompt.project_id == project.id)) or 0


def _job_of(session: Session, round_: Round) -> Job | None:
    return find_job(session, round_.job_id) if round_.job_id else None


def _is_active(job: Job | None) -> bool:
    return job is not None and not JobState(job.state).final


def _author(session: Session, round_: Round) -> str | None:
    user = session.get(User, round_.created_by) if round_.created_by else None
    return (user.name or user.email) if user else None
