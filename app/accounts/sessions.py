"""Signed-in browsers. The cookie holds a random token, the table only its SHA-256."""

from datetime import timedelta

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.orm import Session

from app.accounts.secrets import hash_secret, new_secret
from app.errors import NotFound
from app.models import BrowserSession, User, utc_now

SESSION_COOKIE = "podium_session"


def create_session(session: Session, user: User, *, user_agent: str = "", days: int = 30) -> str:
    """Sign a browser in; the token for its cookie is given back and kept nowhere.

    Sessions of anybody that ended by themselves are cleared away here.
    """
    now = utc_now()
    session.execute(delete(BrowserSession).where(BrowserSession.expires_at <= now))
    token = new_secret()
    session.add(
        BrowserSession(
            token_hash=hash_secret(token),
            user_id=user.id,
            user_agent=user_agent[:300],
            created_at=now,
            last_seen_at=now,
            expires_at=now + timedelta(days=days),
        )
    )
    session.execute(update(User).where(User.id == user.id).values(last_seen_at=now))
    session.flush()
    return token


def find_session(session: Session, token: str) -> tuple[BrowserSession, User] | None:
    """The live session and its enabled person."""
    row = session.execute(_live_session, {"token_hash": hash_secret(token)}).one_or_none()
    if row is None or row[0].expires_at <= utc_now():
        return None
    return row[0], row[1]


# Made once: every page asks this.
_live_session = (
    select(BrowserSession, User)
    .join(User, User.id == BrowserSession.user_id)
    .where(BrowserSession.token_hash == bindparam("token_hash"), User.disabled_at.is_(None))
)


def list_sessions(session: Session, user_id: str) -> list[BrowserSession]:
    """The person's live sessions, the one seen last first."""
    query = (
        select(BrowserSession)
        .where(BrowserSession.user_id == user_id, BrowserSession.expires_at > utc_now())
        .order_by(BrowserSession.last_seen_at.desc())
    )
    return list(session.scalars(query))


def end_session(session: Session, token: str) -> None:
    """Sign a browser out by its cookie's token; nothing happens when it is out already."""
    session.execute(delete(BrowserSession).where(BrowserSession.token_hash == hash_secret(token)))


def end_session_of(session: Session, user: User, token_hash: str) -> None:
    """Sign out one of the person's own browsers; NotFound for anybody else's."""
    row = session.get(BrowserSession, token_hash)
    if row is None or row.user_id != user.id:
        raise NotFound("There is no such session.")
    session.delete(row)
    session.flush()


def end_other_sessions(session: Session, user_id: str, keep_token: str | None = None) -> None:
    """Sign the person out everywhere, but for the browser whose token is kept."""
    query = delete(BrowserSession).where(BrowserSession.user_id == user_id)
    if keep_token is not None:
        query = query.where(BrowserSession.token_hash != hash_secret(keep_token))
    session.execute(query)
