"""Who is asking."""

from datetime import timedelta

from fastapi import Request
from sqlalchemy import update
from sqlalchemy.orm import Session

from app.accounts.sessions import SESSION_COOKIE, find_session
from app.accounts.tokens import find_token
from app.models import ApiToken, BrowserSession, User, utc_now

SEEN_EVERY = timedelta(minutes=2)
"""How exact "last seen" is; each sign of life would otherwise be a write."""


def find_user_of_request(session: Session, request: Request) -> User | None:
    """The person whose bearer token or session cookie the request carries.

    A request with a bearer token stands by that token alone: a wrong one is never made good by a
    cookie, and the same-origin guard counts on it.
    """
    token = find_bearer_token(request)
    if token is not None:
        return find_user_of_token(session, request, token)
    cookie = request.cookies.get(SESSION_COOKIE)
    found = find_session(session, cookie) if cookie else None
    if found is None:
        return None
    browser_session, user = found
    if utc_now() - browser_session.last_seen_at > SEEN_EVERY:
        request.state.seen = ("session", browser_session.token_hash, user.id)
    return user


def find_user_of_token(session: Session, request: Request, token: str) -> User | None:
    """The person of a live API token."""
    found = find_token(session, token)
    if found is None:
        return None
    api_token, user = found
    if api_token.last_used_at is None or utc_now() - api_token.last_used_at > SEEN_EVERY:
        request.state.seen = ("token", api_token.id, user.id)
    return user


def find_bearer_token(request: Request) -> str | None:
    """The token of the Authorization header; None without such a header."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def record_seen(session: Session, seen: tuple[str, str, str]) -> None:
    """Note that a session or token, and with it a person, was active now.

    Runs after the response (see `app.web.last_seen`): on SQLite the request itself may hold the
    one writer.
    """
    kind, key, user_id = seen
    now = utc_now()
    if kind == "token":
        session.execute(update(ApiToken).where(ApiToken.id == key).values(last_used_at=now))
    else:
        session.execute(
            update(BrowserSession).where(BrowserSession.token_hash == key).values(last_seen_at=now)
        )
    session.execute(update(User).where(User.id == user_id).values(last_seen_at=now))
