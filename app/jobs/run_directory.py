"""The files of a run directory, and how they are written.

| file | written by | content |
|---|---|---|
| `job.json` | supervisor | `{job_id, attempt, kind, kinds_module, config}` |
| `lock` | child | flocked as long as a child lives, so that two never run at once |
| `events.jsonl` | child | what the run reports, one JSON object a line, only ever appended |
| `log.txt` | child | standard output and standard error |
| `outcome.json` | child | `{attempt, state, reason}`, written last |

Everything else belongs to the kind.
"""

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.models.jobs import JobState
from app.settings import Settings

JOB_FILE = "job.json"
LOCK_FILE = "lock"
EVENTS_FILE = "events.jsonl"
LOG_FILE = "log.txt"
OUTCOME_FILE = "outcome.json"
OWN_FILES = frozenset({JOB_FILE, LOCK_FILE, EVENTS_FILE, LOG_FILE, OUTCOME_FILE})

DEFAULT_KINDS = "app.jobs.kinds.registry"
"""The module whose `JOB_KINDS` a child looks its kind up in."""

LOCK_HELD_EXIT = 75
LONGEST_REASON = 500


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """How an attempt ended: succeeded, failed with a one-line reason, or cancelled."""

    attempt: int
    state: JobState
    reason: str | None = None


def run_directory(settings: Settings, job_id: str) -> Path:
    """The run directory of a job."""
    return settings.runs_dir / job_id


def write_json(path: Path, value: Any) -> None:
    """Write a file that is whole or not there at all."""
    temporary = path.with_name(f".{path.name}.unfinished")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


def write_outcome(run_dir: Path, outcome: RunOutcome) -> None:
    """Write down how an attempt ended."""
    write_json(
        run_dir / OUTCOME_FILE,
        {"attempt": outcome.attempt, "state": str(outcome.state), "reason": outcome.reason},
    )


def read_outcome(run_dir: Path, attempt: int) -> RunOutcome | None:
    """How this attempt ended; None while it has not, or when its child was killed."""
    try:
        raw = json.loads((run_dir / OUTCOME_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if raw["attempt"] != attempt:
        return None
    return RunOutcome(attempt=attempt, state=JobState(raw["state"]), reason=raw["reason"])


def try_lock(path: Path) -> int | None:
    """An exclusive lock on a file, kept until the descriptor is closed or the process dies.

    Returns the descriptor, or None when another process holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def one_line(text: str) -> str:
    """The first line that says something, short enough for a job's row."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0][:LONGEST_REASON] if lines else ""
