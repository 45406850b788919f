"""Noting when people were last active, after their response went out."""

import logging

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from app.accounts.identity import record_seen
from app.db import Database

log = logging.getLogger(__name__)


class LastSeen:
    """Write what `find_user_of_request` left to be noted.

    It must wait for the end of the request: on SQLite the request may itself hold the one writer.
    """

    def __init__(self, app: ASGIApp, database: Database) -> None:
        self.app = app
        self.database = database

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, then write."""
        await self.app(scope, receive, send)
        seen = scope.get("state", {}).get("seen") if scope["type"] == "http" else None
        if seen is not None:
            await run_in_threadpool(self.write, seen)

    def write(self, seen: tuple[str, str, str]) -> None:
        """One short transaction; a failure is not worth an error to anybody."""
        try:
            with self.database.write() as session:
                record_seen(session, seen)
        except SQLAlchemyError as error:
            log.warning("could not note when a person was last seen: %s", error)
