"""Statements straight on a session's connection, for the two requests that every ranking makes.

The session's own way of executing and flushing costs two to six times what the statement itself
does. What is written here is made known to the session, so that its objects stay true.
"""

from functools import cache
from typing import TypeVar

from sqlalchemy import Connection, Insert, insert
from sqlalchemy.orm import Session, make_transient_to_detached
from sqlalchemy.orm.util import identity_key

from app.models import Base

Row = TypeVar("Row", bound=Base)


def connect(session: Session) -> Connection:
    """The connection of the session's transaction, after what the session has to write."""
    session.flush()
    return session.connection()


def insert_row(session: Session, instance: Row) -> Row:
    """Insert a new object, all of whose columns are set, and let the session know it as stored."""
    values = {name: value for name, value in vars(instance).items() if name[0] != "_"}
    session.connection().execute(_insert(type(instance)), values)
    make_transient_to_detached(instance)
    session.add(instance)
    return instance


def forget(session: Session, entity: type[Base], key: str) -> None:
    """Have the session read an object again that a statement has changed under it."""
    known = session.identity_map.get(identity_key(entity, key))
    if known is not None:
        session.expire(known)


@cache
def _insert(entity: type[Base]) -> Insert:
    return insert(entity)
