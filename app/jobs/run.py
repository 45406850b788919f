"""Run one job from its run directory: `python -m app.jobs.run RUN_DIR`.

This is the child that the supervisor starts, and it works by hand just as well: it needs no
database, goes on from the checkpoint in the folder, and Ctrl-C stops it at its next safe point.
"""

import contextlib
import ctypes
import errno
import importlib
import json
import math
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from app.errors import AppError
from app.jobs.kind import JobKind
from app.jobs.run_directory import (
    EVENTS_FILE,
    JOB_FILE,
    LOCK_FILE,
    LOCK_HELD_EXIT,
    OUTCOME_FILE,
    RunOutcome,
    one_line,
    try_lock,
    write_outcome,
)
from app.jobs.schema import parse_config
from app.models.jobs import JobState
from app.training.report import Cancelled, TrainingError

SUPERVISOR_VARIABLE = "PODIUM_SUPERVISOR_PID"
PR_SET_PDEATHSIG = 1
EXIT_CODES = {JobState.SUCCEEDED: 0, JobState.FAILED: 1, JobState.CANCELLED: 3}
DISK_FULL_EXIT = 74
"""Of a child that may not even have been able to write down why it failed."""
DISK_FULL = "The disk is full. Free some room and resume the job: it goes on from where it was."


class EventFileReport:
    """The `Report` of a child: one JSON object a line, each in one write.

    A child killed in the middle of a line leaves a torn one; the next child ends it with a newline
    before it adds its own, and the reader passes over what is not JSON.
    """

    def __init__(self, path: Path) -> None:
        torn = path.exists() and path.stat().st_size > 0 and not _ends_with_newline(path)
        self._file: TextIO = path.open("a", encoding="utf-8", buffering=1)
        if torn:
            self._file.write("\n")
        self._cancelled = threading.Event()

    def progress(self, fraction: float, stage: str, eta_seconds: float | None = None) -> None:
        """Say how far the run is, 0 to 1, and in a few words what it is doing now."""
        fraction = min(max(_plain_float(fraction), 0.0), 1.0) if math.isfinite(fraction) else 0.0
        if eta_seconds is not None and not math.isfinite(eta_seconds):
            eta_seconds = None
        self._write("progress", fraction=fraction, stage=stage, eta_seconds=eta_seconds)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Record one point of each named series; what is not finite is named, not recorded."""
        plain = {name: _plain_float(value) for name, value in values.items()}
        self._write(
            "metrics",
            step=int(step),
            values={name: value for name, value in plain.items() if math.isfinite(value)},
            not_finite=[name for name, value in plain.items() if not math.isfinite(value)],
        )

    def samples(self, step: int, rows: Sequence[Mapping[str, object]]) -> None:
        """Show sample completions: rows of prompt, completion, reward and the like."""
        self._write("samples", step=int(step), rows=[dict(row) for row in rows])

    def log(self, message: str) -> None:
        """Add one line to the log."""
        moment = datetime.now(UTC).strftime("%H:%M:%S")
        sys.stdout.write(f"{moment} {message}\n")
        sys.stdout.flush()

    def check_cancelled(self) -> None:
        """Raise `Cancelled` if the run was asked to stop."""
        if self._cancelled.is_set():
            raise Cancelled

    def cancel(self) -> None:
        """Make the next `check_cancelled` raise."""
        self._cancelled.set()

    def close(self) -> None:
        """Put every event on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def _write(self, event_type: str, **values: Any) -> None:
        line = json.dumps(_jsonable({"at": time.time(), "type": event_type, **values}))
        self._file.write(line + "\n")


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _plain_float(value: Any) -> float:
    """A Python float, from a numpy or torch scalar too."""
    return float(value)


def _jsonable(value: Any) -> Any:
    """Nothing but what JSON has: numbers that are not finite become null."""
    if isinstance(value, Mapping):
        return {str(key): _jsonable(element) for key, element in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(element) for element in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "item"):
        return _jsonable(value.item())
    return str(value)


def load_kinds(module: str) -> dict[str, JobKind]:
    """The kinds that `module` lists as `JOB_KINDS`, by name."""
    kinds: list[JobKind] = importlib.import_module(module).JOB_KINDS
    return {kind.name: kind for kind in kinds}


def die_with_supervisor() -> None:
    """Have this process killed when its supervisor dies, however that dies.

    Run directories survive a kill at any moment, and an orphan would only hold up the next child.
    Without a supervisor (by hand) this does nothing.
    """
    supervisor = int(os.environ.get(SUPERVISOR_VARIABLE, "0"))
    if not supervisor:
        return
    os.nice(5)  # The web and inference processes of the same machine answer people.
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    else:
        threading.Thread(target=_watch_parent, args=(supervisor,), daemon=True).start()
    # It may have died before the request took effect.
    if os.getppid() != supervisor:
        os._exit(1)


def _watch_parent(supervisor: int) -> None:
    while os.getppid() == supervisor:
        time.sleep(0.5)
    os._exit(1)


def failure_reason(error: BaseException) -> str:
    """One line for people about why a run failed."""
    if isinstance(error, AppError):
        return one_line(error.detail)
    if isinstance(error, TrainingError) and str(error):
        return one_line(str(error))
    if disk_is_full(error):
        return DISK_FULL
    if isinstance(error, MemoryError):
        return "The machine ran out of memory."
    return one_line(f"{type(error).__name__}: {error}".removesuffix(": "))


def disk_is_full(error: BaseException) -> bool:
    """Whether something could not be written because there was no room left."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def execute(run_dir: Path, report: EventFileReport) -> RunOutcome:
    """Run the job of `run_dir` and write down how it ended; the error of a failure is raised."""
    job = json.loads((run_dir / JOB_FILE).read_text(encoding="utf-8"))
    attempt = job.get("attempt", 1)
    (run_dir / OUTCOME_FILE).unlink(missing_ok=True)
    outcome = RunOutcome(attempt=attempt, state=JobState.SUCCEEDED)
    try:
        kind = load_kinds(job["kinds_module"])[job["kind"]]
        report.check_cancelled()
        kind.run(run_dir, parse_config(kind.config_type, job["config"]), report)
    except Cancelled:
        outcome = RunOutcome(attempt=attempt, state=JobState.CANCELLED)
    except Exception as error:
        failed = RunOutcome(attempt=attempt, state=JobState.FAILED, reason=failure_reason(error))
        write_outcome(run_dir, failed)
        with contextlib.suppress(OSError):
            report.close()
        raise
    report.close()
    write_outcome(run_dir, outcome)
    return outcome


def main(arguments: Sequence[str]) -> int:
    """Run from the command line; the exit status tells how it ended."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m app.jobs.run RUN_DIR\n")
        return 2
    die_with_supervisor()
    run_dir = Path(arguments[0]).absolute()
    lock = try_lock(run_dir / LOCK_FILE)
    if lock is None:
        sys.stderr.write(f"{run_dir} is in use by another process.\n")
        return LOCK_HELD_EXIT
    report = EventFileReport(run_dir / EVENTS_FILE)

    def stop(signal_number: int, _frame: FrameType | None) -> None:
        report.cancel()
        signal.signal(signal_number, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        return EXIT_CODES[execute(run_dir, report).state]
    except OSError as error:
        if not disk_is_full(error):
            raise
        with contextlib.suppress(OSError):
            traceback.print_exc()
        # An ordinary exit would fail at flushing what has no room, and end with another status.
        os._exit(DISK_FULL_EXIT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
