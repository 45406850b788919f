"""People as the admin's page lists them."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.models import AccountLink, Ranking, User, utc_now


@dataclass(frozen=True)
class Person:
    """One row of the page."""

    user: User
    rankings: int
    invited_until: datetime | None
    """Until when their unused invitation works."""

    @property
    def state(self) -> str:
        """`disabled`, `invited` (has no password yet) or `active`."""
        if self.user.disabled_at is not None:
            return "disabled"
        if self.user.password_hash is None and not self.user.simulated:
            return "invited"
        return "active"


def list_people(session: Session) -> list[Person]:
    """Everybody, people before simulated labelers, in the order they joined."""
    ranking_counts = session.execute(
        select(Ranking.user_id, func.count())
        .where(Ranking.current, Ranking.user_id.is_not(None))
        .group_by(Ranking.user_id)
    )
    rankings = dict(ranking_counts.all())
    open_links = session.execute(
        select(AccountLink.user_id, AccountLink.expires_at).where(
            AccountLink.user_id.is_not(None),
            AccountLink.used_at.is_(None),
            AccountLink.expires_at > utc_now(),
        )
    )
    invitations = dict(open_links.all())
    query = select(User).order_by(User.simulation_rule.is_not(None), User.created_at, User.id)
    return [
        Person(user, rankings.get(user.id, 0), invitations.get(user.id))
        for user in session.scalars(query)
    ]
