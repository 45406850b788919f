"""Jobs: the list, a new one, and one job live."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts.audit import record
from app.dependencies import Admin, AppDatabase, ReadSession
from app.errors import AppError, Conflict, NotFound
from app.jobs import feed, service
from app.jobs.kind import JobKind
from app.jobs.schema import config_fields, read_form
from app.models import Job, JobEvent, JobState, Project, User
from app.projects.service import get_project
from app.web.charts import build_charts
from app.web.exploitation import TITLE, exploitation_sentence
from app.web.job_forms import MODELS_FOR, JobForm, build_form, has_form
from app.web.job_results import describe_config, describe_result
from app.web.templating import redirect, redirect_with_message, render
from app.web.tuning_figures import (
    count_iterations,
    ending_sentence,
    list_stage_times,
    plot_trails,
)

router = APIRouter()

PAGE_ROWS = 30
HISTORY_ROWS = 40
STATE_COLORS = {
    JobState.QUEUED: "secondary",
    JobState.RUNNING: "blue",
    JobState.SUCCEEDED: "green",
    JobState.FAILED: "red",
    JobState.CANCELLED: "yellow",
}


async def read_text_form(request: Request) -> dict[str, str]:
    """The fields of a submitted form; uploads are passed over."""
    form = await request.form()
    return {name: value for name, value in form.items() if isinstance(value, str)}


SubmittedForm = Annotated[dict[str, str], Depends(read_text_form)]


@dataclass(frozen=True, kw_only=True)
class JobRow:
    """A job as the list shows it."""

    job: Job
    title: str
    subject: str
    """The models it works on."""
    project_name: str | None
    author: str | None


@router.get("/jobs")
def show_jobs(
    request: Request,
    session: ReadSession,
    user: Admin,
    project: str | None = None,
    kind: str | None = None,
    state: str | None = None,
    cursor: str | None = None,
) -> HTMLResponse:
    """Jobs, newest first, of one project or of all."""
    chosen = get_project(session, project, user) if project else None
    jobs, next_cursor = service.list_jobs(
        session,
        project_id=project or None,
        kind=kind or None,
        state=state or None,
        limit=PAGE_ROWS,
        cursor=cursor or None,
    )
    waiting = any(job.state == JobState.QUEUED for job in jobs)
    return render(
        request,
        "jobs/list.html",
        {
            "project": chosen,
            "rows": _describe_rows(session, jobs),
            "kinds": service.job_kinds(),
            "states": list(JobState),
            "kind": kind or "",
            "state": state or "",
            "cursor": cursor,
            "next_cursor": next_cursor,
            "colors": STATE_COLORS,
            "active": any(not JobState(job.state).final for job in jobs),
            "no_worker": waiting and not service.is_worker_alive(session),
        },
    )


def _describe_rows(session: Session, jobs: list[Job]) -> list[JobRow]:
    project_ids = {job.project_id for job in jobs if job.project_id}
    user_ids = {job.created_by for job in jobs if job.created_by}
    projects = select(Project.id, Project.name).where(Project.id.in_(project_ids))
    users = select(User.id, User.name, User.email).where(User.id.in_(user_ids))
    project_names = {row.id: row.name for row in session.execute(projects)}
    authors = {row.id: row.name or row.email for row in session.execute(users)}
    kinds = service.job_kinds()
    return [
        JobRow(
            job=job,
            title=_title(kinds.get(job.kind), job),
            subject=_subject(kinds.get(job.kind), job),
            project_name=project_names.get(job.project_id or ""),
            author=authors.get(job.created_by or ""),
        )
        for job in jobs
    ]


def _title(kind: JobKind | None, job: Job) -> str:
    return kind.title if kind else job.kind


def _subject(kind: JobKind | None, job: Job) -> str:
    if kind is None:
        return ""
    names = [item.name for item in config_fields(kind.config_type) if item.reference in MODELS_FOR]
    return " · ".join(str(job.config[name]) for name in names if job.config.get(name))


@router.get("/projects/{project_id}/jobs/new")
def show_new_job(
    request: Request, session: ReadSession, user: Admin, project_id: str, kind: str = ""
) -> Response:
    """The form of a new job; without a kind, the kinds to choose from.

    Fields can be filled in from the address, as links of other pages do.
    """
    project = get_project(session, project_id, user)
    if not kind:
        kinds = [one for one in service.job_kinds().values() if has_form(one)]
        return render(request, "jobs/choose.html", {"project": project, "kinds": kinds})
    job_kind = _get_kind(kind)
    if not has_form(job_kind):
        return redirect(f"/projects/{project.id}/rounds/new")
    form = build_form(session, project, job_kind, values=request.query_params)
    return _render_form(request, project, form)


def _get_kind(name: str) -> JobKind:
    kind = service.job_kinds().get(name)
    if kind is None:
        raise NotFound(f"There is no job kind {name!r}.")
    return kind


def _render_form(
    request: Request, project: Project, form: JobForm, status_code: int = 200
) -> HTMLResponse:
    return render(request, "jobs/new.html", {"project": project, "form": form}, status_code)


@router.post("/projects/{project_id}/jobs/new")
def create(
    request: Request, database: AppDatabase, user: Admin, project_id: str, submitted: SubmittedForm
) -> Response:
    """Queue the job and go to its page; what is wrong is said beside its field."""
    kind = _get_kind(submitted.get("kind", ""))
    try:
        with database.write() as session:
            project = get_project(session, project_id, user)
            job = service.create_job(
                session,
                user,
                kind=kind.name,
                project_id=project.id,
                config=read_form(kind.config_type, submitted),
            )
            record(session, user, "job.create", "job", job.id, kind=job.kind)
    except AppError as error:
        if isinstance(error, NotFound):
            raise
        with database.read() as session:
            project = get_project(session, project_id, user)
            form = build_form(
                session,
                project,
                kind,
                values=submitted,
                entered=True,
                problems=error.fields,
                problem=error.detail,
            )
        return _render_form(request, project, form, error.status)
    return redirect(f"/jobs/{job.id}")


@router.get("/jobs/{job_id}")
def show_job(
    request: Request, session: ReadSession, _user: Admin, job_id: str, step: int | None = None
) -> HTMLResponse:
    """One job: progress, charts, samples, log, config and outputs."""
    position = feed.read_position(session, job_id)
    job = service.get_job(session, job_id)
    kind = service.job_kinds().get(job.kind)
    steps = feed.sample_steps(session, job_id)
    shown_step = step if step in steps else next(reversed(steps), None)
    samples = feed.read_samples(session, steps[shown_step]) if shown_step is not None else []
    series = feed.list_series(session, job_id)
    waiting = job.state == JobState.QUEUED
    return render(
        request,
        "jobs/show.html",
        {
            "job": job,
            "row": _describe_rows(session, [job])[0],
            "project": session.get(Project, job.project_id) if job.project_id else None,
            "state": JobState(job.state),
            "colors": STATE_COLORS,
            "position": str(position),
            "charts": build_charts(kind, series),
            "exploitation_title": TITLE,
            "exploitation": exploitation_sentence(series),
            "trails": plot_trails(series, job.outputs),
            "stages": list_stage_times(series),
            "ending": ending_sentence(job, count_iterations(series)),
            "steps": list(steps),
            "step": shown_step,
            "followed": step is None,
            "samples": samples,
            "settings_shown": describe_config(session, kind, job),
            "result": describe_result(session, job),
            "history": _read_history(session, job_id),
            "resumable": job.state in service.RESUMABLE,
            "no_worker": waiting and not service.is_worker_alive(session),
        },
    )


def _read_history(session: Session, job_id: str) -> list[JobEvent]:
    query = (
        select(JobEvent)
        .where(JobEvent.job_id == job_id, JobEvent.kind.in_(("state", "note")))
        .order_by(JobEvent.id.desc())
        .limit(HISTORY_ROWS)
    )
    return list(session.scalars(query))


@router.post("/jobs/{job_id}/cancel")
def cancel(database: AppDatabase, user: Admin, job_id: str) -> Response:
    """Ask the job to stop."""
    return _act(database, user, job_id, "cancel")


@router.post("/jobs/{job_id}/resume")
def resume(database: AppDatabase, user: Admin, job_id: str) -> Response:
    """Queue the job again from its checkpoint."""
    return _act(database, user, job_id, "resume")


def _act(database: AppDatabase, user: User, job_id: str, action: str) -> Response:
    act = service.cancel_job if action == "cancel" else service.resume_job
    page = f"/jobs/{job_id}"
    try:
        with database.write() as session:
            job = act(session, job_id)
            record(session, user, f"job.{action}", "job", job.id)
    except Conflict as error:
        return redirect_with_message(page, error.detail, kind="warning")
    if action == "resume":
        return redirect_with_message(page, "Queued again; it goes on from its last checkpoint.")
    ended = JobState(job.state).final
    return redirect_with_message(page, "Cancelled." if ended else "Stopping…", kind="info")
