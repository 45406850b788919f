"""Create, find, cancel and resume jobs.

Nothing here starts work: a queued row is its own outbox entry and a worker picks it up.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import Conflict, Invalid, NotFound
from app.jobs.kind import JobKind
from app.jobs.schema import config_dict, parse_config
from app.models import Job, JobEvent, JobState, Project, User, Worker, utc_now

RESUMABLE = (JobState.FAILED, JobState.CANCELLED)
WORKER_SEEN = timedelta(seconds=60)


def job_kinds() -> dict[str, JobKind]:
    """Every kind by name.

    Imported here and not above: kinds reach services that create jobs themselves (a round creates
    its generation job).
    """
    from app.jobs.kinds.registry import JOB_KINDS

    return {kind.name: kind for kind in JOB_KINDS}


def get_kind(name: str) -> JobKind:
    """The kind called `name`; `Invalid` when there is none."""
    kinds = job_kinds()
    if name not in kinds:
        known = ", ".join(kinds)
        raise Invalid(f"There is no job kind {name!r}.", fields={"kind": f"One of: {known}."})
    return kinds[name]


def create_job(
    session: Session,
    user: User | None,
    *,
    kind: str,
    project_id: str | None,
    config: Mapping[str, Any],
) -> Job:
    """Queue a job. Afterwards its row holds the full config, defaults filled in.

    Raises:
        Invalid: the kind is unknown, or the config is not acceptable; `fields` names what.
        NotFound: there is no such project.
        AppError: whatever the kind's own check says.
    """
    job_kind = get_kind(kind)
    if project_id is not None and session.get(Project, project_id) is None:
        raise NotFound("There is no such project.", code="project_not_found")
    parsed = parse_config(job_kind.config_type, config)
    job_kind.check(session, project_id, parsed)
    job = Job(
        kind=kind,
        project_id=project_id,
        config=config_dict(parsed),
        state=JobState.QUEUED,
        stage="Waiting for a worker",
        created_by=user.id if user else None,
    )
    session.add(job)
    session.flush()
    record_state(session, job)
    return job


def record_state(session: Session, job: Job) -> None:
    """Add the job's present state to its events."""
    payload: dict[str, Any] = {"state": job.state, "attempt": job.attempt}
    if job.reason:
        payload["reason"] = job.reason
    session.add(JobEvent(job_id=job.id, kind="state", payload=payload))
    session.flush()


def find_job(session: Session, job_id: str) -> Job | None:
    """The job, or None."""
    return session.get(Job, job_id)


def get_job(session: Session, job_id: str) -> Job:
    """The job; `NotFound` when there is none."""
    job = session.get(Job, job_id)
    if job is None:
        raise NotFound("There is no such job.")
    return job


def list_jobs(
    session: Session,
    *,
    project_id: str | None = None,
    kind: str | None = None,
    state: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> tuple[list[Job], str | None]:
    """Jobs, newest first, and the cursor of the next page (None after the last)."""
    query = select(Job).order_by(Job.id.desc()).limit(limit + 1)
    if project_id is not None:
        query = query.where(Job.project_id == project_id)
    if kind is not None:
        query = query.where(Job.kind == kind)
    if state is not None:
        query = query.where(Job.state == state)
    if cursor is not None:
        query = query.where(Job.id < cursor)
    jobs = list(session.scalars(query))
    if len(jobs) <= limit:
        return jobs, None
    return jobs[:limit], jobs[limit - 1].id


def is_worker_alive(session: Session) -> bool:
    """Whether any worker was seen lately, for pages to say why nothing happens."""
    return (
        session.scalar(select(Worker.id).where(Worker.seen_at > utc_now() - WORKER_SEEN))
        is not None
    )


def lock_job(session: Session, job_id: str) -> Job:
    """The job's present row, locked until the transaction ends (SQLite has one writer anyway)."""
    job = session.scalar(
        select(Job)
        .where(Job.id == job_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if job is None:
        raise NotFound("There is no such job.")
    return job


def cancel_job(session: Session, job_id: str) -> Job:
    """Ask a job to stop.

    One that has not started yet is cancelled at once; a running one stops within seconds,
    keeps its checkpoint and can be resumed. Asking twice is the same as once.

    Raises:
        Conflict: it ended already.
    """
    job = lock_job(session, job_id)
    if JobState(job.state).final:
        raise Conflict(f"This job has already {_ended_words(job)}.", code="job_ended")
    if job.cancel_requested_at is None:
        job.cancel_requested_at = utc_now()
        session.add(JobEvent(job_id=job.id, kind="note", payload={"text": "Cancel requested."}))
        if job.state == JobState.QUEUED:
            finish_job(session, job, JobState.CANCELLED, kind=job_kinds().get(job.kind))
        else:
            job.stage = "Stopping"
    session.flush()
    return job


def resume_job(session: Session, job_id: str) -> Job:
    """Queue a failed or cancelled job again; it goes on from its last checkpoint.

    Raises:
        Conflict: it is not in one of these states.
    """
    job = lock_job(session, job_id)
    if job.state not in RESUMABLE:
        raise Conflict(
            f"Only a failed or cancelled job can be resumed; this one is {job.state}.",
            code="job_not_resumable",
        )
    job.state = JobState.QUEUED
    job.attempt += 1
    job.dispatched_at = None
    job.cancel_requested_at = None
    job.finished_at = None
    job.reason = None
    job.eta_seconds = None
    job.worker_id = None
    job.stage = "Waiting for a worker"
    record_state(session, job)
    return job


def finish_job(
    session: Session,
    job: Job,
    state: JobState,
    *,
    kind: JobKind | None,
    reason: str | None = None,
    outputs: dict[str, Any] | None = None,
) -> None:
    """Write a job's end into its row and its events, and tell its kind."""
    job.state = state
    job.reason = reason
    job.finished_at = utc_now()
    job.eta_seconds = None
    job.stage = ""
    if state == JobState.SUCCEEDED:
        job.progress = 1.0
    if outputs is not None:
        job.outputs = outputs
    record_state(session, job)
    if kind is not None and kind.ended is not None:
        kind.ended(session, job)


def _ended_words(job: Job) -> str:
    return "been cancelled" if job.state == JobState.CANCELLED else str(job.state)
