"""Jobs, what they report, and the workers that run them."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Id, JsonColumn, new_id, utc_now

AutoId = BigInteger().with_variant(Integer(), "sqlite")


class JobState(StrEnum):
    """The life of a job; the last three are final, and the last two can be resumed."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class Job(Base):
    """Background work started by an admin. A queued row is its own outbox entry: a worker takes
    every queued row that was not dispatched yet to the queue, keyed on the job's id and attempt.
    """

    __tablename__ = "job"
    __table_args__ = (
        Index(None, "state", "id"),
        Index(None, "project_id", "id"),
        CheckConstraint(
            "state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name="state"
        ),
        CheckConstraint("progress BETWEEN 0 AND 1", name="progress"),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    kind: Mapped[str] = mapped_column(String(40))
    project_id: Mapped[str | None] = mapped_column(ForeignKey("project.id"))
    config: Mapped[dict[str, Any]] = mapped_column(JsonColumn, default=dict)
    state: Mapped[str] = mapped_column(String(20), default=JobState.QUEUED)
    attempt: Mapped[int] = mapped_column(default=1)
    """Raised by each resume; a crash of the worker does not raise it."""
    dispatched_at: Mapped[datetime | None]
    progress: Mapped[float] = mapped_column(default=0.0)
    stage: Mapped[str] = mapped_column(String(300), default="")
    """What it is doing now, in a few words."""
    eta_seconds: Mapped[float | None]
    reason: Mapped[str | None] = mapped_column(Text)
    """Why it failed, in one line."""
    outputs: Mapped[dict[str, Any]] = mapped_column(JsonColumn, default=dict)
    log_tail: Mapped[str] = mapped_column(Text, default="")
    events_offset: Mapped[int] = mapped_column(BigInteger, default=0)
    """Bytes of the run directory's event file that are in the tables already."""
    worker_id: Mapped[str | None] = mapped_column(String(100))
    cancel_requested_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    created_by: Mapped[str | None] = mapped_column(ForeignKey("user.id"))
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now)


class JobMetric(Base):
    """One point of a series; a step that is repeated after a crash replaces its value."""

    __tablename__ = "job_metric"
    __table_args__ = (UniqueConstraint("job_id", "name", "step"),)

    id: Mapped[int] = mapped_column(AutoId, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(60))
    step: Mapped[int]
    value: Mapped[float]
    at: Mapped[datetime] = mapped_column(default=utc_now)


class JobEvent(Base):
    """Something that happened: a state change, a log line, sample completions.

    Ids only grow, so that a page that lost its connection asks for what came after the last one.
    """

    __tablename__ = "job_event"
    __table_args__ = (Index(None, "job_id", "id"),)

    id: Mapped[int] = mapped_column(AutoId, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    at: Mapped[datetime] = mapped_column(default=utc_now)
    kind: Mapped[str] = mapped_column(String(30))
    """`state`, `log`, `samples` or `note`."""
    payload: Mapped[dict[str, Any]] = mapped_column(JsonColumn, default=dict)


class Worker(Base):
    """A worker process that was seen; what proves it alive is its lock, not this row."""

    __tablename__ = "worker"

    id: Mapped[str] = mapped_column(String(100), primary_key=True)
    host: Mapped[str] = mapped_column(String(200))
    pid: Mapped[int]
    started_at: Mapped[datetime] = mapped_column(default=utc_now)
    seen_at: Mapped[datetime] = mapped_column(default=utc_now)
