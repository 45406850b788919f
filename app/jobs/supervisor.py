"""Runs the heavy step of a job as a child process, and watches over it."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.db import Database
from app.inference.quiet import QUIET_LIBRARIES
from app.inference.threads import KERNEL_CACHE
from app.jobs.kind import JobKind
from app.jobs.relay import Relay, fingerprint
from app.jobs.run import DISK_FULL, DISK_FULL_EXIT, EXIT_CODES, SUPERVISOR_VARIABLE
from app.jobs.run_directory import (
    LOCK_HELD_EXIT,
    LOG_FILE,
    OWN_FILES,
    RunOutcome,
    read_outcome,
    run_directory,
)
from app.jobs.service import lock_job
from app.models import Job, JobState
from app.settings import ROOT, Settings

TICK_SECONDS = 0.5
GRACE_SECONDS = 10.0
LOCK_RETRY_SECONDS = 1.0


class WorkerStopping(BaseException):
    """The worker goes away while a job runs; the job stays as it is and is taken up again later.

    Not an `Exception`: the queue records an exception as the end of the workflow, and this is not
    the end.
    """


class Supervision:
    """One attempt of one job, from its run directory to its outcome.

    Args:
        stopping: set when the worker is asked to stop.
        worker_id: written into the job's row; a row that names another worker means that this one
            was taken for dead, so it kills its child.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        kind: JobKind,
        *,
        job_id: str,
        attempt: int,
        worker_id: str,
        stopping: threading.Event,
    ) -> None:
        self._database = database
        self._settings = settings
        self._kind = kind
        self._job_id = job_id
        self._attempt = attempt
        self._worker_id = worker_id
        self._stopping = stopping
        self._run_dir = run_directory(settings, job_id)
        self._relay = Relay(self._run_dir)
        self._imported: int | None = None

    def run(self) -> RunOutcome:
        """Run the child until it ends and give back how it ended.

        Raises:
            WorkerStopping: the worker goes away; nothing was decided about the job.
        """
        with self._database.write() as session:
            job = lock_job(session, self._job_id)
            job.worker_id = self._worker_id
            if job.cancel_requested_at is not None:
                return RunOutcome(attempt=self._attempt, state=JobState.CANCELLED)
        outcome = read_outcome(self._run_dir, self._attempt)
        if outcome is not None and outcome.state == JobState.SUCCEEDED:
            self._drain()
            return outcome
        while True:
            child = start_child(self._run_dir, self._settings)
            try:
                cancelled = self._watch(child)
            finally:
                kill_group(child)
            if child.returncode != LOCK_HELD_EXIT:
                break
            # An earlier child is not quite dead yet.
            if cancelled or self._stopping.wait(LOCK_RETRY_SECONDS):
                break
        self._drain()
        return self._conclude(child.returncode, cancelled)

    def _watch(self, child: "subprocess.Popen[bytes]") -> bool:
        """Follow a child until it ended; say whether the job was cancelled meanwhile."""
        asked_at: float | None = None
        cancelled = False
        while True:
            try:
                ended = child.wait(timeout=TICK_SECONDS) is not None
            except subprocess.TimeoutExpired:
                ended = False
            cancelled = self._tick() or cancelled
            if ended:
                return cancelled
            if asked_at is None and (cancelled or self._stopping.is_set()):
                asked_at = time.monotonic()
                child.terminate()
            elif asked_at is not None and time.monotonic() - asked_at > GRACE_SECONDS:
                kill_group(child)

    def _tick(self) -> bool:
        """Carry what is new into the tables; say whether the job should be cancelled."""
        try:
            with self._database.read() as session:
                row = session.execute(
                    select(Job.worker_id, Job.cancel_requested_at, Job.events_offset).where(
                        Job.id == self._job_id
                    )
                ).one()
            if row.worker_id != self._worker_id:
                raise WorkerStopping(f"job {self._job_id} was taken by {row.worker_id}")
            if self._relay.has_news(row.events_offset):
                with self._database.write() as session:
                    self._relay.carry(session, lock_job(session, self._job_id))
            if self._kind.imports_while_running:
                self._import_news()
        except OperationalError:
            # The database is away for a moment. Nothing is lost: the offset did not move.
            return False
        return row.cancel_requested_at is not None

    def _import_news(self) -> None:
        """Let the kind store what its run has made so far, if its files have changed."""
        current = fingerprint(self._run_dir, OWN_FILES)
        if self._imported is None:
            self._imported = current
        if current == self._imported:
            return
        with self._database.write() as session:
            self.import_outputs(session, lock_job(session, self._job_id))
        self._imported = current

    def import_outputs(self, session: Session, job: Job) -> None:
        """Have the kind store what the run directory holds now."""
        job.outputs = self._kind.import_outputs(session, job, self._run_dir, self._settings)

    def _drain(self) -> None:
        """Carry everything that is left, however long the database takes to come back."""
        while True:
            try:
                with self._database.write() as session:
                    if not self._relay.carry(session, lock_job(session, self._job_id)):
                        return
            except OperationalError:
                if self._stopping.wait(1.0):
                    raise WorkerStopping from None

    def _conclude(self, exit_code: int, cancelled: bool) -> RunOutcome:
        outcome = read_outcome(self._run_dir, self._attempt)
        if outcome is not None and outcome.state != JobState.CANCELLED:
            return outcome
        if cancelled:
            return RunOutcome(attempt=self._attempt, state=JobState.CANCELLED)
        if self._stopping.is_set():
            raise WorkerStopping(f"job {self._job_id} goes on when a worker takes it up")
        reason = describe_exit(exit_code)
        return RunOutcome(attempt=self._attempt, state=JobState.FAILED, reason=reason)


def start_child(run_dir: Path, settings: Settings) -> "subprocess.Popen[bytes]":
    """Start `python -m app.jobs.run` on a run directory, as the leader of its own process group."""
    with (run_dir / LOG_FILE).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "app.jobs.run", str(run_dir)],
            cwd=ROOT,
            env=child_environment(os.environ, settings),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def child_environment(environment: Mapping[str, str], settings: Settings) -> dict[str, str]:
    """The child's environment: its share of the machine, and no way to the database.

    Passive waiting costs a little on an idle machine, and keeps two busy processes from slowing
    each other down four times (`docs/decisions/0010-a-child-dies-with-its-worker.md`).
    """
    threads = str(settings.training_threads)
    return {
        **KERNEL_CACHE,
        **{name: value for name, value in environment.items() if name != "PODIUM_DATABASE_URL"},
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        **QUIET_LIBRARIES,
        SUPERVISOR_VARIABLE: str(os.getpid()),
    }


def kill_group(child: "subprocess.Popen[bytes]") -> None:
    """Kill a child and whatever it has started; nothing happens when all of that has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def describe_exit(exit_code: int) -> str:
    """Why a child ended that left no outcome, in one line."""
    if exit_code == EXIT_CODES[JobState.CANCELLED]:
        return "The run was stopped from outside; it can be resumed."
    if exit_code == DISK_FULL_EXIT:
        return DISK_FULL
    if exit_code == -signal.SIGKILL:
        return "The run was killed, most likely because the machine ran out of memory."
    if exit_code < 0:
        return f"The run was ended by {signal.Signals(-exit_code).name}; the log may say more."
    return f"The run ended with exit status {exit_code} before it finished; the log says more."
