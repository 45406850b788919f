"""API tokens: shown once, stored as SHA-256, revoked rather than deleted."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from app.accounts.secrets import hash_secret, new_secret
from app.errors import Invalid, NotFound
from app.models import ApiToken, User, utc_now

TOKEN_START = "podium_"  # noqa: S105  # what every token begins with, so that scanners know leaks
PREFIX_LENGTH = len(TOKEN_START) + 6
MOST_TOKENS = 50


def create_token(
    session: Session, user: User, name: str = "", expires_at: datetime | None = None
) -> str:
    """Give the person a token with their own rights; only its hash is kept.

    Raises Invalid for a name over 100 characters or when 50 tokens are live already.
    """
    if len(name) > 100:
        raise Invalid("The name is too long.", fields={"name": "Use at most 100 characters."})
    if len(list_tokens(session, user.id)) >= MOST_TOKENS:
        raise Invalid(f"Revoke a token first: {MOST_TOKENS} are the most.", code="too_many_tokens")
    token = TOKEN_START + new_secret()
    session.add(
        ApiToken(
            user_id=user.id,
            name=name.strip(),
            prefix=token[:PREFIX_LENGTH],
            token_hash=hash_secret(token),
            expires_at=expires_at,
        )
    )
    session.flush()
    return token


@dataclass(frozen=True)
class LiveToken:
    """What a request needs to know of its token."""

    id: str
    last_used_at: datetime | None


def find_token(session: Session, token: str) -> tuple[LiveToken, User] | None:
    """The live token and its enabled person."""
    row = session.execute(_live_token, {"token_hash": hash_secret(token)}).one_or_none()
    if row is None or (row.expires_at is not None and row.expires_at <= utc_now()):
        return None
    return LiveToken(row.id, row.last_used_at), row.User


# Made once: every request over REST asks this.
_live_token = (
    select(User, ApiToken.id, ApiToken.last_used_at, ApiToken.expires_at)
    .join(ApiToken, ApiToken.user_id == User.id)
    .where(
        ApiToken.token_hash == bindparam("token_hash"),
        ApiToken.revoked_at.is_(None),
        User.disabled_at.is_(None),
    )
)


def list_tokens(session: Session, user_id: str) -> list[ApiToken]:
    """The person's tokens that are not revoked, newest first."""
    query = (
        select(ApiToken)
        .where(ApiToken.user_id == user_id, ApiToken.revoked_at.is_(None))
        .order_by(ApiToken.id.desc())
    )
    return list(session.scalars(query))


def revoke_token(session: Session, user: User, token_id: str) -> ApiToken:
    """End one of the person's own tokens at once; NotFound for anybody else's."""
    token = session.get(ApiToken, token_id)
    if token is None or token.user_id != user.id or token.revoked_at is not None:
        raise NotFound("There is no such token.")
    token.revoked_at = utc_now()
    session.flush()
    return token
