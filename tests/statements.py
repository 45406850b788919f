"""The statements that a piece of work sends to the database."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, event


@contextmanager
def recorded_statements(where: Connection | Engine) -> Iterator[list[str]]:
    """Every statement that goes through the connection, or the engine, within the block."""
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    event.listen(where, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(where, "before_cursor_execute", note)
