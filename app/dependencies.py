"""What routes ask for in their signatures: sessions of the database and the person asking.

A write transaction commits before the response is sent, or the next page may not see the ranking
just saved; and in the thread that worked in it. FastAPI takes another thread of its pool to shape
the answer and only then leaves the dependencies: with as many requests waiting for SQLite's one
writer as there are threads, the one that holds it would wait for a thread for ever.

What neither waits nor computes is `async`: a plain function costs a trip to another thread.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from functools import wraps
from inspect import signature
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Request
from fastapi.routing import APIRoute
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.accounts.identity import find_user_of_request
from app.db import Database
from app.errors import Forbidden, Unauthenticated
from app.models import Role, User
from app.settings import Settings

T = TypeVar("T")
SIGN_IN = "Sign in first, or send a valid API token."


async def get_database(request: Request) -> Database:
    """The app's database."""
    database: Database = request.app.state.database
    return database


async def get_settings(request: Request) -> Settings:
    """The app's settings."""
    settings: Settings = request.app.state.settings
    return settings


def read_session(request: Request) -> Iterator[Session]:
    """One read-only transaction for the length of the route function."""
    database: Database = request.app.state.database
    with database.read() as session:
        yield session


async def write_session(request: Request) -> AsyncIterator[Session]:
    """One read-write transaction, which `end_transactions` commits when the route returns."""
    database: Database = request.app.state.database
    yield database.new_write_session()


ReadSession = Annotated[Session, Depends(read_session, scope="function")]
WriteSession = Annotated[Session, Depends(write_session, scope="function")]


def end_transactions(router: APIRouter) -> None:
    """Have every route of the router that asks for a `WriteSession` end it when it returns."""
    for route in router.routes:
        if isinstance(route, APIRoute):
            route.endpoint = ending_transaction(route.endpoint)


def ending_transaction(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """The route function, committing what it wrote, or undoing it when it raises."""
    names = [
        name
        for name, parameter in signature(endpoint).parameters.items()
        if parameter.annotation == WriteSession
    ]
    if not names or hasattr(endpoint, "ends_transaction"):
        return endpoint

    @wraps(endpoint)
    def run(**values: Any) -> Any:
        session: Session = values[names[0]]
        with session, session.begin():
            return endpoint(**values)

    run.ends_transaction = True  # type: ignore[attr-defined]  # so that no route is wrapped twice
    return run


AppSettings = Annotated[Settings, Depends(get_settings)]
AppDatabase = Annotated[Database, Depends(get_database)]


async def find_current_user(request: Request) -> User | None:
    """The person asking, by bearer token or session cookie; None when nobody is signed in.

    On SQLite this is a row from memory, which never waits for the writer: a trip to another thread
    would cost more than finding it.
    """
    database: Database = request.app.state.database
    if database.is_sqlite:
        user = identify(database, request)
    else:
        user = await run_in_threadpool(identify, database, request)
    request.state.user = user
    return user


def identify(database: Database, request: Request) -> User | None:
    """The person asking, in a thread that may wait for the database."""
    with database.peek() as session:
        return find_user_of_request(session, request)


async def as_labeler(request: Request, act: Callable[[Session, User], T]) -> T:
    """What `act` gives when it is called, in one transaction and one thread, with who asks.

    For the two routes that every ranking calls, in place of `WriteSession` and `Labeler`: there
    each dependency costs as much as a statement of the database.
    """

    def run() -> T:
        database: Database = request.app.state.database
        user = identify(database, request)
        request.state.user = user
        if user is None:
            raise Unauthenticated(SIGN_IN)
        with database.write() as session:
            return act(session, user)

    return await run_in_threadpool(run)


async def current_user(user: Annotated[User | None, Depends(find_current_user)]) -> User:
    """The person asking, whatever the role."""
    if user is None:
        raise Unauthenticated(SIGN_IN)
    return user


async def admin_user(user: Annotated[User, Depends(current_user)]) -> User:
    """An admin."""
    if user.role != Role.ADMIN:
        raise Forbidden("Only an admin may do this.")
    return user


async def researcher_user(user: Annotated[User, Depends(current_user)]) -> User:
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
