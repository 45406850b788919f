"""What routes ask for in their signatures: sessions of the database and the person asking.

Session dependencies have function scope: the transaction commits before the response is sent, or
the next page may not see the ranking just saved.
"""

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from app.accounts.identity import find_user_of_request
from app.db import Database
from app.errors import Forbidden, Unauthenticated
from app.models import Role, User
from app.settings import Settings


def get_database(request: Request) -> Database:
    """The app's database."""
    database: Database = request.app.state.database
    return database


def get_settings(request: Request) -> Settings:
    """The app's settings."""
    settings: Settings = request.app.state.settings
    return settings


def read_session(request: Request) -> Iterator[Session]:
    """One read-only transaction for the length of the route function."""
    with get_database(request).read() as session:
        yield session


def write_session(request: Request) -> Iterator[Session]:
    """One read-write transaction, committed before the response is sent."""
    with get_database(request).write() as session:
        yield session


ReadSession = Annotated[Session, Depends(read_session, scope="function")]
WriteSession = Annotated[Session, Depends(write_session, scope="function")]
AppSettings = Annotated[Settings, Depends(get_settings)]
AppDatabase = Annotated[Database, Depends(get_database)]


def find_current_user(request: Request) -> User | None:
    """The person asking, by bearer token or session cookie; None when nobody is signed in."""
    with get_database(request).read() as session:
        user = find_user_of_request(session, request)
    request.state.user = user
    return user


def current_user(user: Annotated[User | None, Depends(find_current_user)]) -> User:
    """The person asking, whatever the role."""
    if user is None:
        raise Unauthenticated("Sign in first, or send a valid API token.")
    return user


def admin_user(user: Annotated[User, Depends(current_user)]) -> User:
    """An admin."""
    if user.role != Role.ADMIN:
        raise Forbidden("Only an admin may do this.")
    return user


def researcher_user(user: Annotated[User, Depends(current_user)]) -> User:
    """A researcher or an admin: reads and exports."""
    if user.role not in (Role.ADMIN, Role.RESEARCHER):
        raise Forbidden("Only a researcher or an admin may do this.")
    return user


OptionalUser = Annotated[User | None, Depends(find_current_user)]
CurrentUser = Annotated[User, Depends(current_user)]
Admin = Annotated[User, Depends(admin_user)]
Researcher = Annotated[User, Depends(researcher_user)]
Labeler = CurrentUser
"""Who ranks: labelers, and admins and researchers who lend a hand; projects check membership."""
