"""Jobs over REST: their kinds, starting, watching, cancelling and resuming them."""

import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

import orjson
from anyio import sleep
from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sse_starlette import EventSourceResponse, ServerSentEvent

from app.accounts.audit import record
from app.api.paging import Cursor, Limit
from app.api.problems import problems
from app.db import Database
from app.dependencies import Admin, AppDatabase, ReadSession, WriteSession
from app.jobs import feed, service
from app.jobs.schema import json_schema
from app.models import Job, JobEvent, JobState

router = APIRouter(tags=["jobs"])

TICK_SECONDS = 0.7
HEARTBEAT_SECONDS = 15
LONGEST_STREAM_SECONDS = 600.0
"""A reader connects again after this long, and shows again that it may."""

JOB_ID = "0198f2c4a1b27c0d9e8f7a6b5c4d3e2f"

EXAMPLE_EVENT = (
    'id: 17-204\nevent: note\ndata: {"at": "2026-11-20T09:30:00Z", "text": "Resumed."}\n\n'
)
EVENTS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "items": {
            "type": "array",
            "description": "What happened, the oldest first; what else an event has depends on its "
            "kind.",
            "items": {
                "type": "object",
                "properties": {
                    "id": {"type": "integer", "description": "Its position.", "examples": [17]},
                    "kind": {
                        "type": "string",
                        "description": "`state`, `samples` or `note`.",
                        "examples": ["note"],
                    },
                    "at": {
                        "type": "string",
                        "format": "date-time",
                        "description": "When it happened, RFC 3339 in UTC.",
                        "examples": ["2026-11-20T09:30:00Z"],
                    },
                },
                "required": ["id", "kind", "at"],
            },
        },
        "next_cursor": {
            "type": ["string", "null"],
            "description": "The `after` of the next page; null at the end.",
            "examples": [None],
        },
    },
    "required": ["items", "next_cursor"],
}


class KindOut(BaseModel):
    """A kind of job."""

    name: str = Field(description="What `kind` of a new job takes.", examples=["reward_model"])
    title: str = Field(description="The name people read.", examples=["Reward model"])
    description: str = Field(
        description="What comes out, in a sentence.",
        examples=["A reward model that scores completions, trained on pairs."],
    )
    config_schema: dict[str, Any] = Field(
        description="JSON Schema of `config`, with every field's default, limits and meaning.",
        examples=[{"type": "object", "properties": {"epochs": {"type": "integer"}}}],
    )


class KindList(BaseModel):
    """Every kind."""

    items: list[KindOut] = Field(description="The kinds.")
    next_cursor: None = Field(default=None, description="Always null: there is one page.")


class JobIn(BaseModel):
    """A job to start."""

    model_config = ConfigDict(extra="forbid")

    kind: str = Field(description="A kind of `GET /job-kinds`.", examples=["reward_model"])
    project_id: str | None = Field(None, description="Project the job belongs to.")
    config: dict[str, Any] = Field(
        default_factory=dict,
        description="Fields of the kind's `config_schema`; what is left out has its default.",
        examples=[{"backbone": "minilm-l6", "epochs": 1}],
    )


class JobOut(BaseModel):
    """A job as it is now."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(description="Id of the job.", examples=[JOB_ID])
    kind: str = Field(description="Its kind.", examples=["ppo"])
    project_id: str | None = Field(description="Project it belongs to.")
    state: JobState = Field(description="The last three are final; the last two can be resumed.")
    attempt: int = Field(description="1, and one more for each resume.", examples=[1])
    progress: float = Field(description="Share done, 0 to 1.", examples=[0.4])
    stage: str = Field(description="What it is doing now.", examples=["Iteration 8: sampling"])
    eta_seconds: float | None = Field(
        description="Seconds left, where that can be told.", examples=[95.0]
    )
    reason: str | None = Field(description="Why it failed, in one line.", examples=[None])
    config: dict[str, Any] = Field(
        description="The whole config, defaults filled in.",
        examples=[{"backbone": "minilm-l6", "epochs": 1}],
    )
    outputs: dict[str, Any] = Field(
        description="What came out, such as `model_id`.", examples=[{"model_id": "reward-model-1"}]
    )
    cancel_requested_at: datetime | None = Field(description="When it was asked to stop.")
    created_at: datetime = Field(description="When it was queued.")
    created_by: str | None = Field(description="Id of the person who started it.")
    started_at: datetime | None = Field(description="When it first began to run.")
    finished_at: datetime | None = Field(description="When it ended.")
    updated_at: datetime = Field(description="When any of this last changed.")


class JobList(BaseModel):
    """Jobs, newest first."""

    items: list[JobOut] = Field(description="The jobs of this page.")
    next_cursor: str | None = Field(description="Give this as `cursor` for the next page.")


class SeriesOut(BaseModel):
    """One metric over the steps of a job."""

    model_config = ConfigDict(from_attributes=True)

    name: str = Field(description="Name of the metric.", examples=["loss"])
    steps: list[int] = Field(description="Steps, ascending.", examples=[[1, 2, 3]])
    values: list[float] = Field(description="A value for each step.", examples=[[0.69, 0.61, 0.5]])


class SeriesList(BaseModel):
    """Every metric of a job, by name."""

    items: list[SeriesOut] = Field(description="The series.")
    next_cursor: None = Field(default=None, description="Always null: there is one page.")


@router.get("/job-kinds", summary="List kinds of jobs")
def list_kinds(_user: Admin) -> KindList:
    """Every kind of job with the JSON Schema of its config."""
    return KindList(
        items=[
            KindOut(
                name=kind.name,
                title=kind.title,
                description=kind.description,
                config_schema=json_schema(kind.config_type),
            )
            for kind in service.job_kinds().values()
        ]
    )


@router.post(
    "/jobs",
    status_code=201,
    summary="Start a job",
    responses=problems(
        "project_not_found",
        "round_closed",
        "round_generating",
        "invalid",
        "invalid_config",
        "no_pairs",
        "no_prompts",
        "model_files_missing",
    ),
)
def create_job(body: JobIn, session: WriteSession, user: Admin, response: Response) -> JobOut:
    """Queue a job. What could not succeed is refused here, with the reason."""
    job = service.create_job(
        session, user, kind=body.kind, project_id=body.project_id, config=body.config
    )
    record(session, user, "job.create", "job", job.id, kind=job.kind)
    response.headers["Location"] = f"/api/v1/jobs/{job.id}"
    return JobOut.model_validate(job)


@router.get("/jobs", summary="List jobs")
def list_jobs(
    session: ReadSession,
    _user: Admin,
    project_id: Annotated[str | None, Query(description="Jobs of this project.")] = None,
    kind: Annotated[
        str | None, Query(description="Jobs of this kind.", examples=["reward_model"])
    ] = None,
    state: Annotated[JobState | None, Query(description="Jobs in this state now.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> JobList:
    """Jobs, newest first."""
    jobs, next_cursor = service.list_jobs(
        session, project_id=project_id, kind=kind, state=state, limit=limit, cursor=cursor
    )
    return JobList(items=[JobOut.model_validate(job) for job in jobs], next_cursor=next_cursor)


@router.get("/jobs/{job_id}", summary="Look at a job")
def get_job(job_id: str, session: ReadSession, _user: Admin) -> JobOut:
    """One job as it is now."""
    return JobOut.model_validate(service.get_job(session, job_id))


@router.get("/jobs/{job_id}/metrics", summary="Read what a job measured")
def get_metrics(
    job_id: str,
    session: ReadSession,
    _user: Admin,
    name: Annotated[str | None, Query(description="Only this series.", examples=["loss"])] = None,
    max_points: Annotated[
        int, Query(ge=2, le=100_000, description="Points of a series at most.", examples=[500])
    ] = 2000,
) -> SeriesList:
    """Everything the job measured, as series. Long ones are thinned evenly to `max_points`."""
    service.get_job(session, job_id)
    series = feed.list_series(session, job_id, name=name, max_points=max_points)
    return SeriesList(items=[SeriesOut.model_validate(one) for one in series])


@router.get(
    "/jobs/{job_id}/events",
    summary="Follow a job",
    responses={
        200: {
            "description": (
                "Server-sent events when asked for with `Accept: text/event-stream`: `job` (the "
                "row, at every change), `log` (the end of the log), `metrics` (new points), "
                "`state`, `samples`, `note`, and `end` when the job is over. Otherwise a list of "
                "events."
            ),
            "content": {
                "text/event-stream": {"schema": {"type": "string"}, "example": EXAMPLE_EVENT},
                "application/json": {"schema": EVENTS_SCHEMA},
            },
        },
    },
    response_class=Response,
)
def stream_events(
    job_id: str,
    request: Request,
    session: ReadSession,
    database: AppDatabase,
    _user: Admin,
    after: Annotated[
        str | None, Query(description="Only what came after this position.", examples=["17"])
    ] = None,
    last_event_id: Annotated[
        str | None,
        Header(
            description="The position of a stream that broke off, which browsers send themselves.",
            examples=["17-204"],
        ),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="How many events at most.")] = 200,
) -> Response:
    """What happens in a job, as it happens, or as a list of what happened so far."""
    service.get_job(session, job_id)
    if "text/event-stream" in request.headers.get("accept", ""):
        return EventSourceResponse(
            follow(database, job_id, feed.Position.parse(last_event_id or after)),
            ping=HEARTBEAT_SECONDS,
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )
    first = int(after) if after and after.isdecimal() else feed.Position.parse(after).event_id
    events = feed.list_events(session, job_id, after=first, limit=limit + 1)
    items = [{"id": event.id, "kind": event.kind, **describe_event(event)} for event in events]
    body = {
        "items": items[:limit],
        "next_cursor": str(events[limit - 1].id) if len(events) > limit else None,
    }
    return Response(orjson.dumps(body), media_type="application/json")


async def follow(
    database: Database, job_id: str, position: feed.Position
) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events from a position to the job's end.

    Each look is one short read in a thread of its own: a page that stays open all night holds no
    connection to the database.
    """

    def look(after: feed.Position) -> feed.FeedSlice:
        with database.read() as session:
            return feed.read_slice(session, job_id, after)

    shown_job: dict[str, Any] | None = None
    shown_log: str | None = None
    started = time.monotonic()
    while time.monotonic() - started < LONGEST_STREAM_SECONDS:
        now = await run_sync(look, position)
        if now.metrics:
            points = [[metric.name, metric.step, metric.value] for metric in now.metrics]
            position = feed.Position(position.event_id, now.position.metric_id)
            yield message("metrics", {"points": points}, position)
        for event in now.events:
            position = feed.Position(event.id, position.metric_id)
            yield message(event.kind, describe_event(event), position)
        if now.job.log_tail != shown_log:
            shown_log = now.job.log_tail
            yield message("log", {"tail": shown_log}, position)
        job = describe_job(now.job)
        if job != shown_job:
            shown_job = job
            yield message("job", job, position)
        if now.ended:
            yield message("end", {"state": now.job.state}, position)
            return
        if len(now.events) < feed.SLICE_ROWS and len(now.metrics) < feed.SLICE_ROWS:
            await sleep(TICK_SECONDS)


def message(name: str, payload: dict[str, Any], position: feed.Position) -> ServerSentEvent:
    """One server-sent event; its id is the position after it."""
    return ServerSentEvent(orjson.dumps(payload).decode(), event=name, id=str(position))


def describe_event(event: JobEvent) -> dict[str, Any]:
    """An event as clients read it."""
    return {"at": event.at, **event.payload}


def describe_job(job: Job) -> dict[str, Any]:
    """What changes in a job while it runs."""
    return {
        "state": job.state,
        "attempt": job.attempt,
        "progress": job.progress,
        "stage": job.stage,
        "eta_seconds": job.eta_seconds,
        "reason": job.reason,
        "outputs": job.outputs,
        "cancel_requested_at": job.cancel_requested_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
    }


@router.post("/jobs/{job_id}/cancel", summary="Ask a job to stop", responses=problems("job_ended"))
def cancel_job(job_id: str, session: WriteSession, user: Admin) -> JobOut:
    """Ask a job to stop. A waiting one is cancelled at once, a running one within seconds; it
    keeps its checkpoint."""
    job = service.cancel_job(session, job_id)
    record(session, user, "job.cancel", "job", job.id)
    return JobOut.model_validate(job)


@router.post(
    "/jobs/{job_id}/resume", summary="Resume a job", responses=problems("job_not_resumable")
)
def resume_job(job_id: str, session: WriteSession, user: Admin) -> JobOut:
    """Queue a failed or cancelled job again; it goes on from its last checkpoint."""
    job = service.resume_job(session, job_id)
    record(session, user, "job.resume", "job", job.id)
    return JobOut.model_validate(job)
