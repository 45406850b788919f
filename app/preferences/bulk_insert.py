"""Many rows into one table, with little between them and the driver."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import orjson
from sqlalchemy import JSON, Column, Dialect, Table
from sqlalchemy.orm import Session

from app.models import Base

Convert = Callable[[Any], Any]


def insert_rows(session: Session, model: type[Base], rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows of column names and values; what a row does not name has its column's default.

    SQLAlchemy looks at every row and column anew, which takes longer than SQLite needs to store
    them: here the statement is made once for the columns that rows name, and only what needs it is
    converted.
    """
    table = model.__table__
    assert isinstance(table, Table)
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[tuple(row)].append(row)
    connection = session.connection()
    for names, group in groups.items():
        defaults = _defaults(table, names)
        filled = (
            [row | {name: make(None) for name, make in defaults.items()} for row in group]
            if defaults
            else group
        )
        columns = (*names, *defaults)
        statement, order, converts = _prepare(connection.dialect, table, columns)
        for row in filled:
            for name, convert in converts.items():
                row[name] = convert(row[name])
        if order is None:
            connection.exec_driver_sql(statement, filled)
        else:
            connection.exec_driver_sql(
                statement, [tuple([row[name] for name in order]) for row in filled]
            )


def _defaults(table: Table, names: tuple[str, ...]) -> dict[str, Convert]:
    """Of the columns not named, those that have a value of their own for a new row."""
    defaults: dict[str, Convert] = {}
    for column in table.c:
        if column.name not in names and column.default is not None:
            value = column.default.arg  # type: ignore[attr-defined]  # of every kind that the models use
            defaults[column.name] = value if callable(value) else _constant(value)
    return defaults


def _constant(value: Any) -> Convert:
    return lambda _context: value


@lru_cache(maxsize=64)
def _prepare(
    dialect: Dialect, table: Table, names: tuple[str, ...]
) -> tuple[str, tuple[str, ...] | None, dict[str, Convert]]:
    """The statement, the order of its values where it names none, and what is to be converted."""
    compiled = table.insert().compile(dialect=dialect, column_keys=list(names))
    order = tuple(compiled.positiontup) if compiled.positiontup else None
    converts = {
        name: convert for name in names if (convert := _convert(dialect, table.c[name])) is not None
    }
    return str(compiled), order, converts


def _convert(dialect: Dialect, column: Column[Any]) -> Convert | None:
    if isinstance(column.type, JSON) and dialect.name == "sqlite":
        return lambda value: orjson.dumps(value).decode()
    implementation = column.type.dialect_impl(dialect)
    return implementation.bind_processor(dialect)
