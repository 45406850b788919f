"""Migrations: bring a database to the newest schema, on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from app.db import Database
from app.settings import ROOT

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = ROOT / "migrations"
MIGRATION_LOCK = 7_063_821_944
"""Key of the PostgreSQL advisory lock that lets one process migrate at a time."""


def alembic_config(connection: Connection) -> "Config":
    """Alembic's configuration for one open connection; there is no alembic.ini."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def upgrade(database: Database, revision: str = "head") -> None:
    """Migrate to `revision` in one transaction; two processes that try at once take turns."""
    from alembic import command

    with (
        database.writer.connect() as connection,
        _foreign_keys_off(connection, database),
        connection.begin(),
    ):
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        command.upgrade(alembic_config(connection), revision)
        if database.is_sqlite:
            _check_foreign_keys(connection)


@contextmanager
def _foreign_keys_off(connection: Connection, database: Database) -> Iterator[None]:
    """SQLite changes a table by making it anew, and dropping the old one deletes what cascades.

    The switch has no effect within a transaction, so it is thrown before and after.
    """
    if not database.is_sqlite:
        yield
        return
    raw = connection.connection.cursor()
    raw.execute("PRAGMA foreign_keys=OFF")
    try:
        yield
    finally:
        raw.execute("PRAGMA foreign_keys=ON")


def _check_foreign_keys(connection: Connection) -> None:
    """Raise when a migration left a row that points nowhere; the transaction is undone."""
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
    if broken:
        raise RuntimeError(f"the migration left {len(broken)} broken references: {broken[:5]}")


@cache
def newest_revision() -> str:
    """The revision a migrated database is at."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(MIGRATIONS)))
    head = ScriptDirectory.from_config(config).get_current_head()
    if head is None:
        raise RuntimeError(f"no migration found in {MIGRATIONS}")
    return head


def find_current_revision(database: Database) -> str | None:
    """The revision the database is at; None when it was never migrated."""
    with database.reader.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
        return revision
