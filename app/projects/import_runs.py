"""Importing an upload: in a thread of the web process, with its progress in the upload's folder.

Whoever imports holds a lock on the folder, which the system lets go of when the process dies, and
writes `progress.json` after batches. A progress that says “running” while nobody holds the lock
tells where an import broke off. Importing the file again completes it, since what is stored
already is not stored twice.
"""

import fcntl
import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, BinaryIO

import orjson

from app.errors import AppError, Conflict
from app.models import utc_now
from app.projects.reading import ImportFormat, ImportReport, RejectedLine
from app.projects.uploads import Upload, discard_upload, write_json

WRITE_EVERY_SECONDS = 0.3
AT_ONCE_SECONDS = 1.0
"""So long the request that starts an import waits for it: most are done by then."""
LOCK_TRIES = 10
LOCK_WAIT_SECONDS = 0.02
DEFECT = "Something went wrong here. It has been logged; try again, or tell an admin."

Importer = Callable[[BinaryIO, Callable[[ImportReport], None]], ImportReport]
"""Reads the file and calls back after every committed batch."""


class ImportState(StrEnum):
    """`stopped` without a word: the process that imported is gone."""

    WAITING = "waiting"
    RUNNING = "running"
    STOPPED = "stopped"
    CANCELLED = "cancelled"
    FAILED = "failed"
    DONE = "done"


@dataclass(frozen=True, kw_only=True)
class ImportProgress:
    """How far an import is, or how it ended."""

    state: ImportState = ImportState.WAITING
    created: int = 0
    duplicates: int = 0
    rejected_total: int = 0
    rejected: list[RejectedLine] = field(default_factory=list)
    """The first thousand."""
    fraction: float | None = None
    """How much of the file was read; None where only its end will tell."""
    eta_seconds: float | None = None
    reason: str = ""
    """Why it failed."""
    attempt: int = 0
    """Above 1 it was gone on with: what it had stored before counts as duplicate."""
    started_at: datetime | None = None
    updated_at: datetime | None = None

    @property
    def rows(self) -> int:
        """Rows looked at."""
        return self.created + self.duplicates + self.rejected_total

    @property
    def can_go_on(self) -> bool:
        """Whether importing the rest may be asked for."""
        return self.state in (ImportState.STOPPED, ImportState.CANCELLED, ImportState.FAILED)


class _Cancelled(Exception):
    """The owner asked to stop."""


def read_progress(upload: Upload) -> ImportProgress:
    """How far the import of the upload is."""
    lock = _try_lock(upload)
    if lock is not None:
        os.close(lock)
    progress = _read_written(upload)
    if progress.state == ImportState.RUNNING and lock is not None:
        return replace(progress, state=ImportState.STOPPED, eta_seconds=None)
    return progress


def start_import(
    upload: Upload, importer: Importer, *, wait_seconds: float = AT_ONCE_SECONDS
) -> None:
    """Import the upload, or go on with it; nothing where it runs or is done.

    Returns when the import has ended or the wait is over; the thread goes on.
    """
    lock = _lock(upload)
    if lock is None:
        return
    before = _read_written(upload)
    if before.state == ImportState.DONE:
        os.close(lock)
        return
    (upload.folder / "cancel").unlink(missing_ok=True)
    run = _Run(upload, importer, before.attempt + 1)
    run.write(ImportState.RUNNING)
    thread = threading.Thread(
        target=run.until_end, args=(lock,), name=f"import-{upload.id}", daemon=True
    )
    thread.start()
    thread.join(wait_seconds)


def cancel_import(upload: Upload) -> None:
    """Have the import stop after the batch it is at; what it stored stays."""
    (upload.folder / "cancel").touch()


def discard_import(upload: Upload) -> None:
    """Forget the upload; Conflict while it is being imported."""
    lock = _lock(upload)
    if lock is None:
        raise Conflict("This file is being imported. Cancel that first.", code="import_running")
    discard_upload(upload)
    os.close(lock)


class _Run:
    """One attempt at importing an upload."""

    def __init__(self, upload: Upload, importer: Importer, attempt: int) -> None:
        self.upload = upload
        self.importer = importer
        self.attempt = attempt
        self.report = ImportReport()
        self.started_at = utc_now()
        self.began = time.monotonic()
        self.written = 0.0
        self.source: BinaryIO | None = None
        self.total_rows: int | None = None
        self.fraction: float | None = None

    def until_end(self, lock: int) -> None:
        """Import, and leave behind how it ended whatever happens."""
        state, reason = ImportState.FAILED, DEFECT
        try:
            with self.upload.path.open("rb") as self.source:
                self.total_rows = _count_rows(self.source, self.upload.layout)
                self.report = self.importer(self.source, self.after_batch)
            state, reason = ImportState.DONE, ""
        except _Cancelled:
            state, reason = ImportState.CANCELLED, ""
        except AppError as error:
            reason = error.detail
        finally:
            self.write(state, reason)
            if state == ImportState.DONE:
                self.upload.path.unlink(missing_ok=True)
            os.close(lock)

    def after_batch(self, report: ImportReport) -> None:
        """Keep what became of the rows so far, and stop where that was asked for."""
        self.report = report
        self.fraction = self.measure()
        if (self.upload.folder / "cancel").exists():
            raise _Cancelled
        if time.monotonic() - self.written > WRITE_EVERY_SECONDS:
            self.write(ImportState.RUNNING)

    def write(self, state: ImportState, reason: str = "") -> None:
        """Replace the progress that is kept."""
        self.written = time.monotonic()
        fraction = 1.0 if state == ImportState.DONE else self.fraction
        seconds = self.written - self.began
        running = state == ImportState.RUNNING
        progress = ImportProgress(
            state=state,
            created=self.report.created,
            duplicates=self.report.duplicates,
            rejected_total=self.report.rejected_total,
            rejected=self.report.rejected,
            fraction=fraction,
            eta_seconds=seconds * (1 - fraction) / fraction if running and fraction else None,
            reason=reason,
            attempt=self.attempt,
            started_at=self.started_at,
            updated_at=utc_now(),
        )
        kept = asdict(progress) | {"rejected": [list(line) for line in progress.rejected]}
        write_json(self.upload.folder / "progress.json", kept)

    def measure(self) -> float | None:
        """The share of the bytes that was read, or of a table's rows."""
        if self.total_rows is not None:
            report = self.report
            rows = report.created + report.duplicates + report.rejected_total
            return min(1.0, rows / max(1, self.total_rows))
        if self.source is None or self.upload.layout in (ImportFormat.JSON, ImportFormat.PARQUET):
            return None
        return min(1.0, self.source.tell() / self.upload.size_bytes)


def _count_rows(source: BinaryIO, layout: ImportFormat) -> int | None:
    """How many rows a Parquet file has: it is not read from front to back."""
    if layout != ImportFormat.PARQUET:
        return None
    import pyarrow
    from pyarrow import parquet

    try:
        rows: int = parquet.read_metadata(source).num_rows
    except (pyarrow.ArrowInvalid, OSError):
        return None
    finally:
        source.seek(0)
    return rows


def _read_written(upload: Upload) -> ImportProgress:
    try:
        values: dict[str, Any] = orjson.loads((upload.folder / "progress.json").read_bytes())
    except FileNotFoundError:
        return ImportProgress()
    values["state"] = ImportState(values["state"])
    values["rejected"] = [RejectedLine(*line) for line in values["rejected"]]
    for name in ("started_at", "updated_at"):
        values[name] = datetime.fromisoformat(values[name])
    return ImportProgress(**values)


def _lock(upload: Upload) -> int | None:
    """The lock on the folder, held until closed; None while an import has it.

    Whoever looks at the progress holds it for a moment, so that one failure means nothing.
    """
    for _ in range(LOCK_TRIES):
        if (lock := _try_lock(upload)) is not None:
            return lock
        time.sleep(LOCK_WAIT_SECONDS)
    return None


def _try_lock(upload: Upload) -> int | None:
    lock = os.open(upload.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock
