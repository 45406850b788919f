"""Carries what a child reports from its run directory into the tables, exactly once.

`job.events_offset` says how many bytes of the event file are in the tables, and moves in the
transaction that stores them: whatever dies, no event is lost and none is stored twice.
"""

import json
import math
import os
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.jobs.run_directory import EVENTS_FILE, LOG_FILE
from app.models import Job, JobEvent, JobMetric

READ_BYTES = 1 << 20
LOG_TAIL_BYTES = 24_000
METRIC_ROWS = 400
LONGEST_NAME = 60
LONGEST_STAGE = 300


class Relay:
    """Reads one run directory for one attempt of one job."""

    def __init__(self, run_dir: Path) -> None:
        self._events = run_dir / EVENTS_FILE
        self._log = run_dir / LOG_FILE
        self._log_seen: tuple[int, int] | None = None
        self._first_progress: tuple[float, float] | None = None
        self._not_finite: set[str] = set()

    def has_news(self, offset: int) -> bool:
        """Whether there is anything beyond `offset` bytes of events, or a changed log."""
        return _size(self._events) > offset or _stamp(self._log) != self._log_seen

    def carry(self, session: Session, job: Job) -> bool:
        """Store the next whole events and the log's tail; say whether more events wait."""
        stamp = _stamp(self._log)
        if stamp != self._log_seen:
            job.log_tail = read_tail(self._log)
            self._log_seen = stamp
        chunk = _read_whole_lines(self._events, job.events_offset)
        metrics: dict[tuple[str, int], dict[str, Any]] = {}
        for line in chunk.splitlines():
            event = _parse(line)
            if event is not None:
                self._store(session, job, event, metrics)
        upsert_metrics(session, list(metrics.values()))
        job.events_offset += len(chunk)
        session.flush()
        return bool(chunk) and _size(self._events) > job.events_offset

    def _store(
        self,
        session: Session,
        job: Job,
        event: dict[str, Any],
        metrics: dict[tuple[str, int], dict[str, Any]],
    ) -> None:
        at = datetime.fromtimestamp(event["at"], UTC)
        if event["type"] == "progress":
            self._store_progress(job, event)
        elif event["type"] == "samples":
            payload = {"step": event["step"], "rows": event["rows"]}
            session.add(JobEvent(job_id=job.id, at=at, kind="samples", payload=payload))
        elif event["type"] == "metrics":
            missing = list(event.get("not_finite", []))
            for name, value in event["values"].items():
                if not math.isfinite(value):
                    missing.append(name)
                    continue
                name, step = name[:LONGEST_NAME], event["step"]
                metrics[(name, step)] = {
                    "job_id": job.id,
                    "name": name,
                    "step": step,
                    "value": value,
                    "at": at,
                }
            for name in missing:
                self._note_not_finite(session, job, name, event["step"], at)

    def _store_progress(self, job: Job, event: dict[str, Any]) -> None:
        fraction = min(max(float(event["fraction"]), 0.0), 1.0)
        job.progress = fraction
        job.stage = str(event["stage"])[:LONGEST_STAGE]
        job.eta_seconds = event["eta_seconds"]
        if job.eta_seconds is None:
            job.eta_seconds = self._estimate(event["at"], fraction)

    def _estimate(self, at: float, fraction: float) -> float | None:
        """The time left at the speed since this child's first report; None until that says much."""
        if self._first_progress is None:
            self._first_progress = (at, fraction)
            return None
        started, first = self._first_progress
        done = fraction - first
        if done < 0.01 or at - started < 1.0:
            return None
        return (at - started) / done * (1.0 - fraction)

    def _note_not_finite(
        self, session: Session, job: Job, name: str, step: int, at: datetime
    ) -> None:
        """Say once for each series that a value had to be left out: JSON has no NaN."""
        if name in self._not_finite:
            return
        self._not_finite.add(name)
        text = f"{name} was not a finite number at step {step}; such values are left out."
        session.add(JobEvent(job_id=job.id, at=at, kind="note", payload={"text": text}))


def upsert_metrics(session: Session, rows: list[dict[str, Any]]) -> None:
    """Store points of series; a step that was stored before gets the new value."""
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    for first in range(0, len(rows), METRIC_ROWS):
        insert = dialect.insert(JobMetric).values(rows[first : first + METRIC_ROWS])
        session.execute(
            insert.on_conflict_do_update(
                index_elements=["job_id", "name", "step"],
                set_={"value": insert.excluded.value, "at": insert.excluded.at},
            )
        )


def read_tail(path: Path) -> str:
    """The end of a log as people read it: whole lines, progress bars at their last state."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - LOG_TAIL_BYTES))
        text = clean_text(file.read().decode("utf-8", errors="replace"))
    if size > LOG_TAIL_BYTES:
        text = text.partition("\n")[2] or text
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))


def clean_text(text: str) -> str:
    """Text that PostgreSQL can store: it has no NUL and no lone surrogates."""
    if "\x00" in text:
        text = text.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return text.encode("utf-8", errors="replace").decode("utf-8")


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        return {clean_text(key): _clean(element) for key, element in value.items()}
    if isinstance(value, list):
        return [_clean(element) for element in value]
    return value


def _parse(line: bytes) -> dict[str, Any] | None:
    """An event, or None for a line that was torn when a child was killed."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    if not isinstance(event, dict) or "type" not in event:
        return None
    return {"at": time.time(), **_clean(event)}


def _read_whole_lines(path: Path, offset: int) -> bytes:
    """Bytes from `offset` up to the last newline within reach; empty when there is no whole line.

    A line longer than one read (many long sample completions) is waited for and read whole.
    """
    if not path.exists():
        return b""
    with path.open("rb") as file:
        file.seek(offset)
        chunk = file.read(READ_BYTES)
        while chunk and b"\n" not in chunk:
            more = file.read(READ_BYTES)
            if not more:
                return b""
            chunk += more
    return chunk[: chunk.rfind(b"\n") + 1]


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _stamp(path: Path) -> tuple[int, int] | None:
    if not path.exists():
        return None
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def fingerprint(run_dir: Path, ignored: Iterable[str]) -> int:
    """A number that changes when any file of the run directory does, but for the `ignored`."""
    ignored = set(ignored)
    stamps = [
        (str(path), path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(run_dir.rglob("*"))
        if path.is_file() and path.name not in ignored and not path.name.startswith(".")
    ]
    return hash(tuple(stamps))
