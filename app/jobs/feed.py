"""What a job has reported so far, and what is new since a reader last looked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.jobs.service import get_job
from app.models import Job, JobEvent, JobMetric, JobState

SLICE_ROWS = 500


@dataclass(frozen=True, kw_only=True)
class Series:
    """One metric over the steps of a job."""

    name: str
    steps: list[int]
    values: list[float]


@dataclass(frozen=True, order=True)
class Position:
    """How far a reader is: the last event and the last metric row it has seen."""

    event_id: int = 0
    metric_id: int = 0

    def __str__(self) -> str:
        return f"{self.event_id}.{self.metric_id}"

    @classmethod
    def parse(cls, text: str | None) -> "Position":
        """The position a reader sent back; the beginning for anything else."""
        event_id, _, metric_id = (text or "").partition(".")
        if event_id.isdecimal() and metric_id.isdecimal() and len(text or "") < 40:
            return cls(int(event_id), int(metric_id))
        return cls()


@dataclass(frozen=True, kw_only=True)
class FeedSlice:
    """The job's row now, and the rows a reader has not seen."""

    job: Job
    events: Sequence[JobEvent]
    metrics: Sequence[JobMetric]
    position: Position

    @property
    def ended(self) -> bool:
        """Whether the job is over and this slice reaches the end of what it reported."""
        full = len(self.events) == SLICE_ROWS or len(self.metrics) == SLICE_ROWS
        return JobState(self.job.state).final and not full


def read_slice(session: Session, job_id: str, after: Position) -> FeedSlice:
    """What came after a position; `NotFound` when there is no such job."""
    job = get_job(session, job_id)
    events = list_events(session, job_id, after=after.event_id)
    metrics = session.scalars(
        select(JobMetric)
        .where(JobMetric.job_id == job_id, JobMetric.id > after.metric_id)
        .order_by(JobMetric.id)
        .limit(SLICE_ROWS)
    ).all()
    position = Position(
        events[-1].id if events else after.event_id,
        metrics[-1].id if metrics else after.metric_id,
    )
    return FeedSlice(job=job, events=events, metrics=metrics, position=position)


def read_position(session: Session, job_id: str) -> Position:
    """The end of what a job has reported so far."""
    event_id = session.scalar(select(func.max(JobEvent.id)).where(JobEvent.job_id == job_id))
    metric_id = session.scalar(select(func.max(JobMetric.id)).where(JobMetric.job_id == job_id))
    return Position(event_id or 0, metric_id or 0)


def list_events(
    session: Session, job_id: str, *, after: int = 0, limit: int = SLICE_ROWS
) -> Sequence[JobEvent]:
    """Events after an id, oldest first."""
    return session.scalars(
        select(JobEvent)
        .where(JobEvent.job_id == job_id, JobEvent.id > after)
        .order_by(JobEvent.id)
        .limit(limit)
    ).all()


def list_series(
    session: Session, job_id: str, *, name: str | None = None, max_points: int = 2000
) -> list[Series]:
    """Every series of a job by name; a long one is thinned evenly and keeps its last point."""
    query = (
        select(JobMetric.name, JobMetric.step, JobMetric.value)
        .where(JobMetric.job_id == job_id)
        .order_by(JobMetric.name, JobMetric.step)
    )
    if name is not None:
        query = query.where(JobMetric.name == name)
    found: dict[str, Series] = {}
    for series_name, step, value in session.execute(query):
        series = found.setdefault(series_name, Series(name=series_name, steps=[], values=[]))
        series.steps.append(step)
        series.values.append(value)
    return [thin(series, max_points) for series in found.values()]


def thin(series: Series, max_points: int) -> Series:
    """At most `max_points` of a series, evenly chosen, the first and the last among them."""
    count = len(series.steps)
    if count <= max_points:
        return series
    chosen = [round(index * (count - 1) / (max_points - 1)) for index in range(max_points)]
    return Series(
        name=series.name,
        steps=[series.steps[index] for index in chosen],
        values=[series.values[index] for index in chosen],
    )


def sample_steps(session: Session, job_id: str) -> dict[int, int]:
    """The steps that have sample completions, each with the id of its newest event."""
    rows = session.execute(
        select(JobEvent.id, JobEvent.payload["step"].as_integer())
        .where(JobEvent.job_id == job_id, JobEvent.kind == "samples")
        .order_by(JobEvent.id)
    )
    return dict(sorted((step, event_id) for event_id, step in rows))


def read_samples(session: Session, event_id: int) -> list[dict[str, Any]]:
    """The rows of one event of sample completions."""
    event = session.get_one(JobEvent, event_id)
    rows: list[dict[str, Any]] = event.payload["rows"]
    return rows
