"""Leases and rankings."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Id, JsonColumn, new_id, utc_now


class AssignmentState(StrEnum):
    """What became of a lease."""

    LEASED = "leased"
    SUBMITTED = "submitted"
    SKIPPED = "skipped"
    EXPIRED = "expired"
    RETURNED = "returned"
    REVOKED = "revoked"


class Assignment(Base):
    """One labeler's lease on a task.

    A live or submitted assignment holds one of the task's `rankings_wanted` slots, numbered from
    0 (a task that everybody ranks has as many as it needs); the partial unique index makes it
    impossible to give one slot twice, whatever happens. A labeler has at most one assignment of a
    task: an expired or returned one may be taken up again (its draft is still there), a skipped,
    submitted or revoked one never. A repeat, which measures self-consistency, stands beside it and
    holds no slot.
    """

    __tablename__ = "assignment"
    __table_args__ = (
        UniqueConstraint("task_id", "user_id", "is_repeat"),
        Index(
            "uq_assignment_task_id_slot",
            "task_id",
            "slot",
            unique=True,
            sqlite_where=text("slot IS NOT NULL"),
            postgresql_where=text("slot IS NOT NULL"),
        ),
        Index(None, "user_id", "project_id", "state"),
        Index(None, "state", "lease_expires_at"),
        CheckConstraint(
            "state IN ('leased', 'submitted', 'skipped', 'expired', 'returned', 'revoked')",
            name="state",
        ),
        CheckConstraint(
            "(slot IS NOT NULL) = (state IN ('leased', 'submitted') AND NOT is_repeat)",
            name="slot_held",
        ),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    project_id: Mapped[str] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    task_id: Mapped[str] = mapped_column(ForeignKey("task.id", ondelete="CASCADE"))
    user_id: Mapped[str] = mapped_column(ForeignKey("user.id"))
    is_repeat: Mapped[bool] = mapped_column(default=False)
    state: Mapped[str] = mapped_column(String(20), default=AssignmentState.LEASED)
    slot: Mapped[int | None]
    shown_order: Mapped[list[str]] = mapped_column(JsonColumn)
    """Completion ids in the order this labeler sees them."""
    draft: Mapped[dict[str, Any] | None] = mapped_column(JsonColumn)
    leased_at: Mapped[datetime] = mapped_column(default=utc_now)
    lease_expires_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    skip_reason: Mapped[str | None] = mapped_column(Text)


class RankingSource(StrEnum):
    """How a ranking came to be."""

    APP = "app"
    IMPORT = "import"
    SIMULATED = "simulated"


class Ranking(Base):
    """One labeler's order of a task's completions. Never changed: an edit is a new revision.

    `current` is false for superseded revisions. Of one labeler and task there is at most one
    current ranking that is not a repeat.
    """

    __tablename__ = "ranking"
    __table_args__ = (
        Index(
            "uq_ranking_project_id_external_id",
            "project_id",
            "external_id",
            unique=True,
            sqlite_where=text("external_id IS NOT NULL AND current"),
            postgresql_where=text("external_id IS NOT NULL AND current"),
        ),
        Index(
            "uq_ranking_task_id_labeler_current",
            "task_id",
            "labeler",
            unique=True,
            sqlite_where=text("current AND NOT is_repeat"),
            postgresql_where=text("current AND NOT is_repeat"),
        ),
        Index(
            "uq_ranking_assignment_id_current",
            "assignment_id",
            unique=True,
            sqlite_where=text("assignment_id IS NOT NULL AND current"),
            postgresql_where=text("assignment_id IS NOT NULL AND current"),
        ),
        # SQLite does not see that a condition on booleans is the one of a partial index.
        Index(None, "task_id", "labeler"),
        Index(None, "project_id", "id"),
        Index(None, "user_id", "id"),
        CheckConstraint("source IN ('app', 'import', 'simulated')", name="source"),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    project_id: Mapped[str] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    task_id: Mapped[str] = mapped_column(ForeignKey("task.id", ondelete="CASCADE"))
    assignment_id: Mapped[str | None] = mapped_column(ForeignKey("assignment.id"), index=True)
    user_id: Mapped[str | None] = mapped_column(ForeignKey("user.id"))
    labeler: Mapped[str] = mapped_column(String(200))
    """The person's handle, or the labeler's name as an import gave it."""
    source: Mapped[str] = mapped_column(String(20), default=RankingSource.APP)
    external_id: Mapped[str | None] = mapped_column(String(300))
    is_repeat: Mapped[bool] = mapped_column(default=False)
    revision: Mapped[int] = mapped_column(default=1)
    current: Mapped[bool] = mapped_column(default=True)
    shown_order: Mapped[list[str]] = mapped_column(JsonColumn, default=list)
    comment: Mapped[str] = mapped_column(Text, default="")
    active_ms: Mapped[int | None]
    guidelines_version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    revoked_at: Mapped[datetime | None]
    """A revoked ranking is kept, shown as such, and gives no pairs."""
    revoked_by: Mapped[str | None] = mapped_column(ForeignKey("user.id"))
    revoke_reason: Mapped[str] = mapped_column(Text, default="")
    origin: Mapped[dict[str, Any] | None] = mapped_column(JsonColumn)
    """Of an imported ranking what its source said that has no place of its own here: `format`,
    and such things as the source's ids, scores and version of guidelines."""
    erased_at: Mapped[datetime | None]
    """A tombstone: whose ranking it was and what it said are gone for good. It is kept, never
    `current`, so that snapshots which froze it can say so."""


class RankingEntry(Base):
    """The rank of one completion in a ranking: 1 is best, equal is a tie, null is unranked."""

    __tablename__ = "ranking_entry"
    __table_args__ = (
        CheckConstraint("rank IS NULL OR rank >= 1", name="rank"),
        CheckConstraint("rating IS NULL OR rating BETWEEN 1 AND 7", name="rating"),
    )

    ranking_id: Mapped[str] = mapped_column(
        ForeignKey("ranking.id", ondelete="CASCADE"), primary_key=True
    )
    completion_id: Mapped[str] = mapped_column(
        ForeignKey("completion.id"), primary_key=True, index=True
    )
    rank: Mapped[int | None]
    rating: Mapped[int | None]
    flags: Mapped[list[str]] = mapped_column(JsonColumn, default=list)
