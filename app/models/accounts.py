"""People and how they prove who they are."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Id, JsonColumn, new_id, utc_now


class Role(StrEnum):
    """What a person may do."""

    ADMIN = "admin"
    LABELER = "labeler"
    RESEARCHER = "researcher"


class User(Base):
    """A person, or a simulated labeler (`simulation_rule` names the rule it ranks by)."""

    __tablename__ = "user"
    __table_args__ = (CheckConstraint("role IN ('admin', 'labeler', 'researcher')", name="role"),)

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    email: Mapped[str] = mapped_column(String(320), unique=True)
    """Lower case."""
    name: Mapped[str] = mapped_column(String(200), default="")
    handle: Mapped[str] = mapped_column(String(100), unique=True)
    """What exports call the person: never the address."""
    role: Mapped[str] = mapped_column(String(20))
    password_hash: Mapped[str | None] = mapped_column(String(200))
    simulation_rule: Mapped[str | None] = mapped_column(String(100))
    preferences: Mapped[dict[str, Any]] = mapped_column(JsonColumn, default=dict)
    """What the person chose for their own pages, such as the layout of completions."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    last_seen_at: Mapped[datetime | None]
    disabled_at: Mapped[datetime | None]

    @property
    def simulated(self) -> bool:
        """Whether this is a rule and not a person."""
        return self.simulation_rule is not None


class BrowserSession(Base):
    """A signed-in browser; the cookie holds the token, the table only its SHA-256."""

    __tablename__ = "session"

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
    user_agent: Mapped[str] = mapped_column(String(300), default="")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    last_seen_at: Mapped[datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[datetime]


class ApiToken(Base):
    """A bearer token of the REST API, stored as SHA-256; `prefix` lets people tell theirs apart."""

    __tablename__ = "api_token"

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(100), default="")
    prefix: Mapped[str] = mapped_column(String(16))
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    last_used_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class AccountLink(Base):
    """A one-time link: to create the first admin (`setup`), or to choose a password (`invite`)."""

    __tablename__ = "account_link"
    __table_args__ = (CheckConstraint("purpose IN ('setup', 'invite')", name="purpose"),)

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    purpose: Mapped[str] = mapped_column(String(10))
    user_id: Mapped[str | None] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class AuditEvent(Base):
    """Who did what to what; never changed, but where it named a labeler who was erased."""

    __tablename__ = "audit_event"
    __table_args__ = (Index(None, "subject_type", "subject_id"),)

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    at: Mapped[datetime] = mapped_column(default=utc_now)
    user_id: Mapped[str | None] = mapped_column(ForeignKey("user.id"))
    action: Mapped[str] = mapped_column(String(60))
    subject_type: Mapped[str] = mapped_column(String(40))
    subject_id: Mapped[str] = mapped_column(String(100))
    details: Mapped[dict[str, Any]] = mapped_column(JsonColumn, default=dict)
    note: Mapped[str] = mapped_column(Text, default="")
