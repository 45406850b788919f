"""What reward models say of completions, and which policy a project goes on with."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Id, JsonColumn, new_id, utc_now


class CompletionReward(Base):
    """What a reward model gave a stored completion, to be held against what people said of it."""

    __tablename__ = "completion_reward"

    completion_id: Mapped[str] = mapped_column(
        ForeignKey("completion.id", ondelete="CASCADE"), primary_key=True
    )
    model_id: Mapped[str] = mapped_column(ForeignKey("model.id"), primary_key=True)
    reward: Mapped[float]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Promotion(Base):
    """A policy was made the one that a project goes on with; the newest row is the one in force.

    Never changed: going back is a promotion of the earlier policy.
    """

    __tablename__ = "promotion"
    __table_args__ = (Index(None, "project_id", "id"),)

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    project_id: Mapped[str] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    model_id: Mapped[str] = mapped_column(ForeignKey("model.id"), index=True)
    previous_model_id: Mapped[str | None] = mapped_column(ForeignKey("model.id"))
    """The policy in force before; null for the first promotion of a project."""
    round_id: Mapped[str | None] = mapped_column(ForeignKey("round.id", ondelete="SET NULL"))
    """The A/B round whose rankings were looked at; null where no people were asked."""
    evidence: Mapped[dict[str, Any]] = mapped_column(JsonColumn, default=dict)
    """What was known when it was promoted: see `app.evaluation.promotion`."""
    note: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    created_by: Mapped[str | None] = mapped_column(ForeignKey("user.id"))
