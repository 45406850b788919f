"""How workers know of each other whether they live: each holds a lock that dies with it.

A row with a time stamp would call a worker dead that only had a slow minute, and its jobs would
run twice. On SQLite the lock is a flocked file in the data directory; on PostgreSQL an advisory
lock of a session that stays open.
"""

import hashlib
import os
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from app.db import Database
from app.jobs.run_directory import try_lock
from app.settings import Settings


class Liveness(Protocol):
    """This worker's own lock, and a look at the locks of the others."""

    def held(self) -> bool:
        """Whether this worker's lock is certainly still its own."""

    def is_dead(self, worker_id: str) -> bool:
        """Whether that worker's lock is free."""

    def release(self) -> None:
        """Give this worker's lock up."""


class FileLiveness:
    """Locked files, for the workers of one machine."""

    def __init__(self, locks_dir: Path, worker_id: str) -> None:
        locks_dir.mkdir(parents=True, exist_ok=True)
        self._locks_dir = locks_dir
        self._path = locks_dir / f"{worker_id}.lock"
        descriptor = try_lock(self._path)
        if descriptor is None:
            raise RuntimeError(f"Another process holds the lock of worker {worker_id}.")
        self._descriptor = descriptor

    def held(self) -> bool:
        """A locked descriptor cannot be lost."""
        return True

    def is_dead(self, worker_id: str) -> bool:
        """Whether that worker's file can be locked, or is gone; a dead one's file is removed."""
        path = self._locks_dir / f"{worker_id}.lock"
        if not path.exists():
            return True
        descriptor = try_lock(path)
        if descriptor is None:
            return False
        path.unlink(missing_ok=True)
        os.close(descriptor)
        return True

    def release(self) -> None:
        """Unlock and remove this worker's file."""
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


class AdvisoryLiveness:
    """Session advisory locks of PostgreSQL, for workers of any machine."""

    def __init__(self, database: Database, worker_id: str) -> None:
        self._database = database
        self._connection = self._connect()
        if not _try_advisory(self._connection, worker_id):
            raise RuntimeError(f"Another process holds the lock of worker {worker_id}.")

    def _connect(self) -> Connection:
        connection = self._database.writer.connect()
        return connection.execution_options(isolation_level="AUTOCOMMIT")

    def held(self) -> bool:
        """Whether the session that holds the lock is still open at the server."""
        try:
            self._connection.execute(text("SELECT 1"))
        except DBAPIError:
            return False
        return True

    def is_dead(self, worker_id: str) -> bool:
        """Whether that worker's lock can be taken; it is given back at once."""
        with self._connect() as connection:
            if not _try_advisory(connection, worker_id):
                return False
            connection.execute(
                text("SELECT pg_advisory_unlock(:key)"), {"key": _advisory_key(worker_id)}
            )
            return True

    def release(self) -> None:
        """Close the session; the server frees the lock."""
        self._connection.invalidate()
        self._connection.close()


def _try_advisory(connection: Connection, worker_id: str) -> bool:
    statement = text("SELECT pg_try_advisory_lock(:key)")
    return bool(connection.scalar(statement, {"key": _advisory_key(worker_id)}))


def _advisory_key(worker_id: str) -> int:
    """A signed 64-bit key, in a space of its own by the prefix."""
    digest = hashlib.sha256(f"podium worker {worker_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def hold_liveness(database: Database, settings: Settings, worker_id: str) -> Liveness:
    """Take this worker's lock, of the kind that fits the database."""
    if database.is_sqlite:
        return FileLiveness(settings.data_dir.absolute() / "locks", worker_id)
    return AdvisoryLiveness(database, worker_id)
