"""One-time links: `setup` creates the first admin, `invite` lets a person choose a password."""

from datetime import timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.accounts.secrets import hash_secret, new_secret
from app.errors import NotFound
from app.models import AccountLink, User, utc_now

SETUP_HOURS = 24
INVITE_DAYS = 7
GONE = "This link was used already, or is too old. Ask an admin for a new one."


def create_setup_link(session: Session) -> str | None:
    """The token of a link that creates the first admin, or None when a person has an account.

    Simulated labelers do not count. A new link ends the one before it.
    """
    if person_exists(session):
        return None
    session.execute(delete(AccountLink).where(AccountLink.purpose == "setup"))
    return add_link(session, "setup", None, timedelta(hours=SETUP_HOURS))


def person_exists(session: Session) -> bool:
    """Whether anybody real has an account."""
    query = select(User.id).where(User.simulation_rule.is_(None)).limit(1)
    return session.scalar(query) is not None


def create_invite_link(session: Session, user: User) -> str:
    """The token of a link by which the person chooses a password; it ends earlier ones."""
    session.execute(delete(AccountLink).where(AccountLink.user_id == user.id))
    return add_link(session, "invite", user.id, timedelta(days=INVITE_DAYS))


def add_link(session: Session, purpose: str, user_id: str | None, life: timedelta) -> str:
    """Store a link's hash and give back its token."""
    token = new_secret()
    session.add(
        AccountLink(
            token_hash=hash_secret(token),
            purpose=purpose,
            user_id=user_id,
            expires_at=utc_now() + life,
        )
    )
    session.flush()
    return token


def get_link(session: Session, token: str, purpose: str) -> AccountLink:
    """The link, if it is live and for this purpose; NotFound otherwise.

    A setup link dies as soon as a person has an account, and an invitation with its person's.
    """
    link = session.get(AccountLink, hash_secret(token))
    if (
        link is None
        or link.purpose != purpose
        or link.used_at is not None
        or link.expires_at <= utc_now()
    ):
        raise NotFound(GONE, code="link_gone")
    if purpose == "setup" and person_exists(session):
        raise NotFound(GONE, code="link_gone")
    if link.user_id is not None:
        user = session.get(User, link.user_id)
        if user is None or user.disabled_at is not None:
            raise NotFound(GONE, code="link_gone")
    return link


def use_link(session: Session, token: str, purpose: str) -> AccountLink:
    """Take the link, once: of two at the same time one gets it and the other NotFound."""
    link = get_link(session, token, purpose)
    taken = session.execute(
        update(AccountLink)
        .where(AccountLink.token_hash == link.token_hash, AccountLink.used_at.is_(None))
        .values(used_at=utc_now())
        .execution_options(synchronize_session=False)
    )
    if taken.rowcount != 1:  # type: ignore[attr-defined]  # an UPDATE gives a CursorResult
        raise NotFound(GONE, code="link_gone")
    return link
