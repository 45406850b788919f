"""The audit log: who did what to what. Rows are only ever added."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import AuditEvent, User


def record(
    session: Session,
    user: User | None,
    action: str,
    subject_type: str,
    subject_id: str,
    **details: Any,
) -> AuditEvent:
    """Add one event; `action` is a verb like `user.disable`, `user` None means the command line.

    The details must hold nothing secret: admins read them.
    """
    event = AuditEvent(
        user_id=user.id if user else None,
        action=action,
        subject_type=subject_type,
        subject_id=subject_id,
        details=details,
    )
    session.add(event)
    session.flush()
    return event


def list_events(
    session: Session, *, before: str | None = None, limit: int = 50
) -> list[tuple[AuditEvent, User | None]]:
    """Events from the newest, each with the person who did it; `before` is an event's id."""
    query = (
        select(AuditEvent, User)
        .outerjoin(User, User.id == AuditEvent.user_id)
        .order_by(AuditEvent.id.desc())
        .limit(limit)
    )
    if before:
        query = query.where(AuditEvent.id < before)
    return [(event, user) for event, user in session.execute(query)]
