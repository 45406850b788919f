"""Engines and session scopes: one writer and many readers on SQLite, a pool on PostgreSQL."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import QueuePool

BUSY_TIMEOUT_MS = 30_000
THREADS = 40
"""As many requests the thread pool of the web process runs at once."""


def sqlite_module() -> Any:
    """The newest SQLite here: `pysqlite3` fixes a WAL race that the system's library has."""
    try:
        import pysqlite3
    except ImportError:
        import sqlite3

        return sqlite3
    return pysqlite3


def load_json(content: str | bytes) -> Any:
    """What a JSON column holds. `orjson` takes a third of the time of the standard library, which
    reads what the standard allows no longer: NaN, and halves of characters."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return json.loads(content)


def create_sqlite_engine(url: str, *, writer: bool, pool_size: int) -> Engine:
    """A SQLite engine whose transactions begin where we say.

    The driver's own transaction handling begins a transaction lazily at the first write, so that
    two of them can read the same old value and both write: we switch it off and begin ourselves,
    `BEGIN IMMEDIATE` for the writer. Readers are `query_only` and never wait for the writer (WAL).
    """
    engine = create_engine(
        url,
        module=sqlite_module(),
        poolclass=QueuePool,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=60,
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_MS / 1000},
        json_deserializer=load_json,
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        if not writer:
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        if not connection.get_execution_options().get("single_statement"):
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")

    database = make_url(url).database
    if writer and database and database != ":memory:":
        take_turns(engine, Path(f"{database}-turn"))
    return engine


def take_turns(engine: Engine, path: Path) -> None:
    """Let the processes that write to one SQLite file take turns.

    SQLite's own waiting is a sleep that grows to a tenth of a second, so that a busy process keeps
    the lock and another one starves for minutes. A lock on a file beside it wakes who waits. It is
    held while the engine's only connection is in use, and the system lets go of it when a process
    dies. SQLite's lock stays what keeps the data right.
    """
    try:
        import fcntl
    except ImportError:
        return
    turn: list[int] = []

    @event.listens_for(engine, "checkout")
    def wait(_connection: Any, _record: object, _proxy: object) -> None:
        if not turn:
            turn.append(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        fcntl.flock(turn[0], fcntl.LOCK_EX)

    @event.listens_for(engine, "checkin")
    def let_go(_connection: Any, _record: object) -> None:
        if turn:
            fcntl.flock(turn[0], fcntl.LOCK_UN)

    @event.listens_for(engine, "engine_disposed")
    def close(_engine: Engine) -> None:
        if turn:
            os.close(turn.pop())


class Database:
    """Where sessions come from.

    `write()` is one transaction, committed when the block ends and rolled back when it raises.
    `read()` sees one consistent state and can change nothing. `pool_size` connections to
    PostgreSQL stay open.
    """

    def __init__(self, url: str, *, pool_size: int = 8) -> None:
        self.url = url
        self.is_sqlite = make_url(url).get_backend_name() == "sqlite"
        if self.is_sqlite:
            self.writer = create_sqlite_engine(url, writer=True, pool_size=1)
            self.reader = create_sqlite_engine(url, writer=False, pool_size=THREADS)
        else:
            # More connections than threads can never be in use. Those beyond the pool are closed
            # after use, and a new one costs more than what it is used for.
            self.writer = create_engine(
                url,
                pool_size=pool_size,
                max_overflow=THREADS - pool_size,
                pool_pre_ping=True,
                json_deserializer=load_json,
            )
            self.reader = self.writer
        self._write_sessions = sessionmaker(self.writer, expire_on_commit=False)
        self._read_sessions = sessionmaker(self.reader, expire_on_commit=False, autoflush=False)

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One read-write transaction."""
        with self._write_sessions() as session, session.begin():
            yield session

    def new_write_session(self) -> Session:
        """A session whose transaction the caller begins and ends."""
        return self._write_sessions()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One read-only transaction."""
        with self._read_sessions() as session:
            if not self.is_sqlite:
                session.connection(
                    execution_options={
                        "isolation_level": "REPEATABLE READ",
                        "postgresql_readonly": True,
                    }
                )
            yield session

    @contextmanager
    def peek(self) -> Iterator[Session]:
        """For one short statement that reads, without a transaction around it."""
        options = (
            {"single_statement": True} if self.is_sqlite else {"isolation_level": "AUTOCOMMIT"}
        )
        with (
            self.reader.connect().execution_options(**options) as connection,
            Session(connection, autoflush=False, expire_on_commit=False) as session,
        ):
            yield session

    def dispose(self) -> None:
        """Close every connection."""
        self.writer.dispose()
        self.reader.dispose()
