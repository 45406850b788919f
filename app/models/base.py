"""The declarative base, identifiers and the column types every table shares."""

import secrets
import time
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, MetaData, String, TypeDecorator
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}

Id = String(32)
JsonColumn = JSON().with_variant(JSONB(), "postgresql")


class UtcDateTime(TypeDecorator[datetime]):
    """A time that is always aware and in UTC, on SQLite too."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times; store UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("naive datetime: use app.models.base.utc_now()")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Give back an aware time."""
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


class Base(DeclarativeBase):
    """Base of every table."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = {datetime: UtcDateTime()}  # noqa: RUF012  # SQLAlchemy's own declaration


def utc_now() -> datetime:
    """The present moment, aware, in UTC."""
    return datetime.now(UTC)


def new_id() -> str:
    """A new identifier of 32 hex digits that sorts by the time it was made.

    As UUID version 7 with the fraction of the millisecond in front of the random part (RFC 9562,
    section 6.2, method 3): 12 digits of milliseconds, 5 of nanoseconds, 15 random ones.
    """
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    return f"{milliseconds:012x}{rest:05x}{secrets.token_hex(8)[1:]}"


def new_ids(count: int) -> list[str]:
    """New identifiers that sort in the order of the list, though made at one moment."""
    moment = new_id()[:17]
    return [f"{moment}{number:06x}{secrets.token_hex(5)[1:]}" for number in range(count)]


def opaque_id() -> str:
    """A new identifier that tells nothing, not even the order of making.

    Completions have these: what a labeler's browser receives must not reveal which policy came
    first.
    """
    return secrets.token_hex(16)
