"""Models and the frozen pairs they were made from."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Id, JsonColumn, new_id, utc_now


class Snapshot(Base):
    """A frozen set of rankings, and so of the pairs they expand to.

    Never changed, but where a person's rankings had to be erased: `erased_rankings` counts them,
    and the hash and the counts stay those of the day it was made.
    """

    __tablename__ = "snapshot"
    __table_args__ = (Index(None, "project_id", "id"),)

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    project_id: Mapped[str] = mapped_column(ForeignKey("project.id"))
    name: Mapped[str] = mapped_column(String(200), default="")
    filters: Mapped[dict[str, Any]] = mapped_column(JsonColumn, default=dict)
    sha256: Mapped[str] = mapped_column(String(64))
    """Of the pairs as JSONL in the `plain` schema, in their frozen order."""
    rankings: Mapped[int]
    pairs: Mapped[int]
    prompts: Mapped[int]
    identical_pairs: Mapped[int] = mapped_column(default=0)
    """Pairs of two identical texts, counted and left out."""
    simulated_rankings: Mapped[int] = mapped_column(default=0)
    labelers: Mapped[int] = mapped_column(default=0)
    guidelines_versions: Mapped[dict[str, int]] = mapped_column(JsonColumn, default=dict)
    """How many of its rankings were made under each version of the guidelines."""
    splits: Mapped[dict[str, Any] | None] = mapped_column(JsonColumn)
    """How it is parted for training and testing: see `app.preferences.splits`."""
    licence: Mapped[str] = mapped_column(String(100), default="")
    """An SPDX identifier or what the dataset card should say; empty where nobody said."""
    erased_rankings: Mapped[int] = mapped_column(default=0)
    """Rankings of it that are tombstones now."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    created_by: Mapped[str | None] = mapped_column(ForeignKey("user.id"))


class SnapshotRanking(Base):
    """A ranking a snapshot holds: revisions are never changed, so this freezes the pairs."""

    __tablename__ = "snapshot_ranking"

    snapshot_id: Mapped[str] = mapped_column(
        ForeignKey("snapshot.id", ondelete="CASCADE"), primary_key=True
    )
    ranking_id: Mapped[str] = mapped_column(ForeignKey("ranking.id"), primary_key=True, index=True)


class ModelKind(StrEnum):
    """What a model is used as."""

    POLICY = "policy"
    REWARD_MODEL = "reward_model"
    ENCODER = "encoder"


class ModelSource(StrEnum):
    """Where a model's weights are."""

    STARTER = "starter"
    JOB = "job"
    FOLDER = "folder"
    HUB = "hub"
    ENDPOINT = "endpoint"


class Model(Base):
    """An entry of the registry. Its id is a readable slug, chosen once and never changed.

    `location` is a folder (job, folder; relative to the data directory where inside it), a hub id,
    or the base URL of an OpenAI-compatible endpoint; empty for starters.
    """

    __tablename__ = "model"
    __table_args__ = (
        CheckConstraint("kind IN ('policy', 'reward_model', 'encoder')", name="kind"),
        CheckConstraint("source IN ('starter', 'job', 'folder', 'hub', 'endpoint')", name="source"),
        CheckConstraint("positive_class IN (0, 1)", name="positive_class"),
    )

    id: Mapped[str] = mapped_column(String(100), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    kind: Mapped[str] = mapped_column(String(20))
    source: Mapped[str] = mapped_column(String(20))
    location: Mapped[str] = mapped_column(Text, default="")
    served_name: Mapped[str | None] = mapped_column(String(300))
    """The model's name at its endpoint, where that differs from the id."""
    positive_class: Mapped[int | None]
    """Of a two-class reward model the index of the class that means "preferred"."""
    description: Mapped[str] = mapped_column(Text, default="")
    project_id: Mapped[str | None] = mapped_column(ForeignKey("project.id"), index=True)
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("model.id"), index=True)
    reward_model_id: Mapped[str | None] = mapped_column(ForeignKey("model.id"), index=True)
    snapshot_id: Mapped[str | None] = mapped_column(ForeignKey("snapshot.id"), index=True)
    job_id: Mapped[str | None] = mapped_column(ForeignKey("job.id"), unique=True)
    simulated_labels: Mapped[bool] = mapped_column(default=False)
    """Whether any ranking behind it, at any depth, came from a simulated labeler."""
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    parameters: Mapped[int | None] = mapped_column(BigInteger)
    sha256: Mapped[str | None] = mapped_column(String(64))
    """Of the weights file."""
    metrics: Mapped[dict[str, Any]] = mapped_column(JsonColumn, default=dict)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    created_by: Mapped[str | None] = mapped_column(ForeignKey("user.id"))
    archived_at: Mapped[datetime | None]
