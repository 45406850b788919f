"""Open the database a command works on, migrated."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.db import Database
from app.errors import NotFound, Unavailable
from app.models import Project, User
from app.settings import Settings


@contextmanager
def open_database(settings: Settings) -> Iterator[Database]:
    """The database of these settings, brought to the newest schema first.

    Raises:
        Unavailable: the database cannot be reached; the message says which one.
    """
    from app.schema import find_current_revision, newest_revision, upgrade

    settings.data_dir.mkdir(parents=True, exist_ok=True)
    database = Database(settings.resolved_database_url)
    try:
        if find_current_revision(database) != newest_revision():
            upgrade(database)
        yield database
    except OperationalError as error:
        where = database.writer.url.render_as_string(hide_password=True)
        raise Unavailable(f"cannot use the database {where}: {error.orig}") from error
    finally:
        database.dispose()


def get_user_by_email(session: Session, email: str) -> User:
    """The person with this address.

    Raises:
        NotFound: nobody has it.
    """
    user = session.scalar(select(User).where(User.email == email.strip().lower()))
    if user is None:
        raise NotFound(f"nobody has the address {email}; see 'podium users list'")
    return user


def get_project_by_name_or_id(session: Session, project: str) -> Project:
    """The project with this id or exact name.

    Raises:
        NotFound: there is none; the message lists those there are.
    """
    found = session.scalar(
        select(Project).where((Project.id == project) | (Project.name == project))
    )
    if found is None:
        names = ", ".join(session.scalars(select(Project.name).limit(20))) or "none yet"
        raise NotFound(f"no project {project!r}; projects: {names}")
    return found
