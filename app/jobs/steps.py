"""What the queue does with a job: export, child, import. Each may be repeated after a crash."""

import threading
import traceback
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from app.db import Database
from app.errors import AppError
from app.jobs.kind import JobKind
from app.jobs.run import failure_reason, load_kinds
from app.jobs.run_directory import (
    EVENTS_FILE,
    JOB_FILE,
    LOG_FILE,
    RunOutcome,
    run_directory,
    write_json,
)
from app.jobs.schema import parse_config
from app.jobs.service import finish_job, lock_job, record_state
from app.jobs.supervisor import Supervision, WorkerStopping
from app.models import Job, JobState, utc_now
from app.settings import Settings


class JobSteps:
    """The steps of any job, for one worker.

    Every step names the attempt it belongs to and leaves a job alone that has moved on: one that
    was cancelled while it waited, or resumed under a new attempt.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        *,
        kinds_module: str,
        worker_id: str,
        stopping: threading.Event,
    ) -> None:
        self._database = database
        self._settings = settings
        self._kinds_module = kinds_module
        self._kinds = load_kinds(kinds_module)
        self._worker_id = worker_id
        self._stopping = stopping
        self._running = 0
        self._idle = threading.Condition()

    def export(self, job_id: str, attempt: int) -> bool:
        """Make the run directory; False when there is nothing left to do for this attempt."""
        with self._database.write() as session:
            job = lock_job(session, job_id)
            if job.attempt != attempt or JobState(job.state).final:
                return False
            if job.state != JobState.RUNNING:
                job.state = JobState.RUNNING
                job.started_at = job.started_at or utc_now()
                record_state(session, job)
            job.worker_id = self._worker_id
            job.stage = "Preparing"
        self._export(job_id)
        return True

    def _export(self, job_id: str) -> None:
        with self._database.write() as session:
            self._export_inputs(session, lock_job(session, job_id))

    def _export_inputs(self, session: Session, job: Job) -> None:
        kind = self._kind(job)
        run_dir = run_directory(self._settings, job.id)
        run_dir.mkdir(parents=True, exist_ok=True)
        if not (run_dir / EVENTS_FILE).exists():
            job.events_offset = 0
        config = parse_config(kind.config_type, job.config)
        kind.export_inputs(session, job, config, run_dir, self._settings)
        write_json(
            run_dir / JOB_FILE,
            {
                "job_id": job.id,
                "attempt": job.attempt,
                "kind": job.kind,
                "kinds_module": self._kinds_module,
                "config": job.config,
            },
        )

    def run_child(self, job_id: str, attempt: int) -> dict[str, Any]:
        """Run the heavy part in a child; gives back `{state, reason}`."""
        if self._stopping.is_set():
            raise WorkerStopping(f"job {job_id} was not started")
        if not (run_directory(self._settings, job_id) / JOB_FILE).exists():
            # Another host began this attempt on a disk of its own: begin again here.
            self._export(job_id)
        with self._database.read() as session:
            kind = self._kind(session.get_one(Job, job_id))
        supervision = Supervision(
            self._database,
            self._settings,
            kind,
            job_id=job_id,
            attempt=attempt,
            worker_id=self._worker_id,
            stopping=self._stopping,
        )
        with self._idle:
            self._running += 1
        try:
            outcome = supervision.run()
        finally:
            with self._idle:
                self._running -= 1
                self._idle.notify_all()
        return {"state": str(outcome.state), "reason": outcome.reason}

    def wait_until_idle(self, timeout_seconds: float) -> bool:
        """Wait until no child runs any more; False if that took too long."""
        with self._idle:
            return self._idle.wait_for(lambda: self._running == 0, timeout_seconds)

    def store(self, job_id: str, attempt: int, outcome: dict[str, Any]) -> None:
        """Take over what the run has made and end the job, in one transaction.

        A kind that is imported while running keeps what it has made when the run failed or was
        cancelled, too.
        """
        ended = RunOutcome(
            attempt=attempt, state=JobState(outcome["state"]), reason=outcome["reason"]
        )
        with self._database.write() as session:
            job = lock_job(session, job_id)
            if job.attempt != attempt or JobState(job.state).final:
                return
            kind = self._kind(job)
            outputs: dict[str, Any] | None = None
            if ended.state == JobState.SUCCEEDED or kind.imports_while_running:
                run_dir = run_directory(self._settings, job_id)
                outputs = kind.import_outputs(session, job, run_dir, self._settings)
            finish_job(session, job, ended.state, kind=kind, reason=ended.reason, outputs=outputs)

    def fail(self, job_id: str, attempt: int, error: Exception) -> None:
        """End the job because one of its own steps could not be done."""
        run_dir = run_directory(self._settings, job_id)
        if not isinstance(error, AppError):
            append_traceback(run_dir, error)
        with self._database.write() as session:
            job = lock_job(session, job_id)
            if job.attempt == attempt and not JobState(job.state).final:
                reason = failure_reason(error)
                kind = self._kinds.get(job.kind)
                finish_job(session, job, JobState.FAILED, kind=kind, reason=reason)

    def _kind(self, job: Job) -> JobKind:
        kind = self._kinds.get(job.kind)
        if kind is None:
            raise AppError(f"This worker knows no job kind {job.kind!r}; is it up to date?")
        return kind


def append_traceback(run_dir: Path, error: BaseException) -> None:
    """Add an error's traceback to the log of a run directory."""
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / LOG_FILE).open("a", encoding="utf-8") as log:
        log.write("".join(traceback.format_exception(error)))
