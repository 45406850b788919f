"""Projects, their prompts, rounds, tasks and completions."""

import secrets
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    ForeignKey,
    Index,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Id, JsonColumn, new_id, opaque_id, utc_now

SHUFFLE_KEYS = 2**31
"""Shuffle keys of tasks are drawn from 0 to this, exclusive."""
NORMAL_PRIORITY = 5


def _random_key() -> int:
    return secrets.randbelow(SHUFFLE_KEYS)


class Project(Base):
    """A body of work: guidelines, prompts and people."""

    __tablename__ = "project"
    __table_args__ = (
        CheckConstraint("gold_share BETWEEN 0 AND 0.5", name="gold_share"),
        CheckConstraint("repeat_share BETWEEN 0 AND 0.5", name="repeat_share"),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    guidelines: Mapped[str] = mapped_column(Text, default="")
    """Markdown."""
    guidelines_version: Mapped[int] = mapped_column(default=1)
    flags: Mapped[list[dict[str, Any]] | None] = mapped_column(JsonColumn)
    """The flags labelers may set, as `{"name", "label", "retired"}`; null for the usual ones."""
    gold_share: Mapped[float] = mapped_column(default=0.05)
    """Share of a labeler's tasks that are gold, while there are some they have not ranked."""
    repeat_share: Mapped[float] = mapped_column(default=0.0)
    """Share of a labeler's tasks that they have ranked before, to measure self-consistency."""
    uncertain_first: Mapped[bool] = mapped_column(default=False)
    """Hand out first the tasks whose `uncertainty` is largest."""
    restricted: Mapped[bool] = mapped_column(default=False)
    """Open to its members only, rather than to every labeler."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    created_by: Mapped[str | None] = mapped_column(ForeignKey("user.id"))
    archived_at: Mapped[datetime | None]


class Guidelines(Base):
    """Every version of a project's guidelines: a ranking names the one it was made under."""

    __tablename__ = "guidelines"

    project_id: Mapped[str] = mapped_column(
        ForeignKey("project.id", ondelete="CASCADE"), primary_key=True
    )
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    text: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    created_by: Mapped[str | None] = mapped_column(ForeignKey("user.id"))


class Membership(Base):
    """A person of a restricted project."""

    __tablename__ = "membership"

    project_id: Mapped[str] = mapped_column(
        ForeignKey("project.id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[str] = mapped_column(
        ForeignKey("user.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class LabelerPause(Base):
    """A person who is given no tasks of a project until an admin lets them go on."""

    __tablename__ = "labeler_pause"

    project_id: Mapped[str] = mapped_column(
        ForeignKey("project.id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[str] = mapped_column(
        ForeignKey("user.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    reason: Mapped[str] = mapped_column(Text, default="")
    """Shown to the person."""
    paused_at: Mapped[datetime] = mapped_column(default=utc_now)
    paused_by: Mapped[str | None] = mapped_column(ForeignKey("user.id"))


class Prompt(Base):
    """What a model is asked. Never changed once stored; unique in its project by content.

    `messages` is a list of `{"role", "content"}`; a plain prompt is one user message and has
    `is_chat` false, so that an export can give back the plain text.
    """

    __tablename__ = "prompt"
    __table_args__ = (
        UniqueConstraint("project_id", "content_hash"),
        Index(None, "project_id", "external_id"),
        Index(None, "project_id", "id"),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    project_id: Mapped[str] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    messages: Mapped[list[dict[str, str]]] = mapped_column(JsonColumn)
    is_chat: Mapped[bool] = mapped_column(default=False)
    content_hash: Mapped[str] = mapped_column(String(64))
    external_id: Mapped[str | None] = mapped_column(String(300))
    tags: Mapped[list[str]] = mapped_column(JsonColumn, default=list)
    """What people filter by; each once, in the order given."""
    details: Mapped[dict[str, Any]] = mapped_column("metadata", JsonColumn, default=dict)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class RoundKind(StrEnum):
    """Where the completions of a round come from."""

    GENERATED = "generated"
    IMPORTED = "imported"


class RoundState(StrEnum):
    """`generating` until its generation job ended; `open` to labelers; `closed` by an admin."""

    GENERATING = "generating"
    OPEN = "open"
    CLOSED = "closed"


class Round(Base):
    """One pass of collecting: prompts × one or more policies × N completions."""

    __tablename__ = "round"
    __table_args__ = (
        UniqueConstraint("project_id", "number"),
        CheckConstraint("completions_per_prompt BETWEEN 1 AND 9", name="completions_per_prompt"),
        CheckConstraint("labelers_per_task >= 0", name="labelers_per_task"),
        CheckConstraint("state IN ('generating', 'open', 'closed')", name="state"),
        CheckConstraint("calibration_share BETWEEN 0 AND 1", name="calibration_share"),
        CheckConstraint("priority BETWEEN 1 AND 9", name="priority"),
        CheckConstraint(
            "(candidate_id IS NULL) = (baseline_id IS NULL) AND "
            "(candidate_id IS NULL OR candidate_id <> baseline_id)",
            name="candidate",
        ),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    project_id: Mapped[str] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    number: Mapped[int]
    kind: Mapped[str] = mapped_column(String(20), default=RoundKind.GENERATED)
    state: Mapped[str] = mapped_column(String(20), default=RoundState.GENERATING)
    policies: Mapped[list[str]] = mapped_column(JsonColumn, default=list)
    completions_per_prompt: Mapped[int] = mapped_column(default=4)
    """All completions of a prompt, dealt to the policies in turn (the most of any task, where
    imported)."""
    sampling: Mapped[dict[str, Any]] = mapped_column(JsonColumn, default=dict)
    """`{temperature, top_p, max_new_tokens, seed}`."""
    labelers_per_task: Mapped[int] = mapped_column(default=1)
    calibration_share: Mapped[float] = mapped_column(default=0.0)
    """Share of its tasks that every labeler is asked to rank."""
    priority: Mapped[int] = mapped_column(default=NORMAL_PRIORITY)
    """That of its tasks: 1 comes first, 9 last."""
    prompt_limit: Mapped[int | None]
    candidate_id: Mapped[str | None] = mapped_column(ForeignKey("model.id"), index=True)
    """Of an A/B round the policy on trial; null for a round that collects rankings to learn
    from."""
    baseline_id: Mapped[str | None] = mapped_column(ForeignKey("model.id"))
    """Of an A/B round the policy that the candidate must beat."""
    job_id: Mapped[str | None] = mapped_column(String(32))
    """Its latest generation job."""
    completions_offset: Mapped[int] = mapped_column(BigInteger, default=0)
    """Bytes of that job's completions file that are in the tables already."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    created_by: Mapped[str | None] = mapped_column(ForeignKey("user.id"))
    closed_at: Mapped[datetime | None]


class TaskState(StrEnum):
    """`pending` while completions are made; `open` to labelers; `complete` when all ranked it.

    `short` tasks could not be given at least two completions and are never shown.
    """

    PENDING = "pending"
    OPEN = "open"
    COMPLETE = "complete"
    SHORT = "short"


class TaskPurpose(StrEnum):
    """What a task is for, besides its rankings; labelers are never told.

    `calibration` and `gold` tasks are given to every labeler of the project; of a `gold` one the
    right order is known.
    """

    ORDINARY = "ordinary"
    CALIBRATION = "calibration"
    GOLD = "gold"


class Task(Base):
    """One prompt with its completions in one round, to be ranked."""

    __tablename__ = "task"
    __table_args__ = (
        UniqueConstraint("round_id", "content_hash"),
        Index(None, "project_id", "state", "priority", "slots_free", "shuffle_key"),
        Index(None, "project_id", "purpose"),
        Index(None, "round_id", "state"),
        CheckConstraint("state IN ('pending', 'open', 'complete', 'short')", name="state"),
        CheckConstraint("purpose IN ('ordinary', 'calibration', 'gold')", name="purpose"),
        CheckConstraint("priority BETWEEN 1 AND 9", name="priority"),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    project_id: Mapped[str] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    round_id: Mapped[str] = mapped_column(ForeignKey("round.id", ondelete="CASCADE"))
    prompt_id: Mapped[str] = mapped_column(ForeignKey("prompt.id"), index=True)
    state: Mapped[str] = mapped_column(String(20), default=TaskState.PENDING)
    purpose: Mapped[str] = mapped_column(String(20), default=TaskPurpose.ORDINARY)
    priority: Mapped[int] = mapped_column(default=NORMAL_PRIORITY)
    """1 comes first, 9 last."""
    gold_ranks: Mapped[dict[str, int] | None] = mapped_column(JsonColumn)
    """Of a gold task the known order: rank by completion id, dense."""
    rankings_wanted: Mapped[int] = mapped_column(default=1)
    rankings_got: Mapped[int] = mapped_column(default=0)
    """Current rankings that count towards `rankings_wanted`; kept by the labeling service."""
    slots_taken: Mapped[int] = mapped_column(default=0)
    """Rankings got plus live leases; kept by the labeling service."""
    slots_free: Mapped[int] = mapped_column(
        Computed("rankings_wanted - slots_taken", persisted=True)
    )
    """How many more labelers may take the task now; the queue is an index over this. Below 0 for
    a task that everybody ranks."""
    shuffle_key: Mapped[int] = mapped_column(default=_random_key)
    """Where the task lies on the circle that each labeler walks from a place of their own."""
    uncertainty: Mapped[float | None]
    """Standard deviation over the heads of an ensemble of the margin between the two best
    completions, at the last scoring; null where nobody scored it."""
    content_hash: Mapped[str | None] = mapped_column(String(64))
    """Of prompt and completions, for imported tasks: the same content is one task of a round."""
    problem: Mapped[str | None] = mapped_column(Text)
    """What could not be had from the inference server, in a sentence."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Completion(Base):
    """One model output for a prompt. Its id is opaque: it reveals no order of making."""

    __tablename__ = "completion"
    __table_args__ = (UniqueConstraint("task_id", "position"),)

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=opaque_id)
    task_id: Mapped[str] = mapped_column(ForeignKey("task.id", ondelete="CASCADE"))
    position: Mapped[int]
    """Order of making or of import; never the order shown."""
    text: Mapped[str] = mapped_column(Text)
    model_id: Mapped[str | None] = mapped_column(ForeignKey("model.id"), index=True)
    model_label: Mapped[str | None] = mapped_column(String(200))
    """The model's name as an import gave it, when it is not in the registry."""
    finish_reason: Mapped[str | None] = mapped_column(String(20))
    token_count: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
