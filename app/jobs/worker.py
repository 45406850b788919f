"""The worker process: takes queued jobs to the queue, runs them, and takes over from the dead."""

import logging
import os
import secrets
import signal
import socket
import threading
import time
from types import FrameType

from sqlalchemy import delete, select, update
from sqlalchemy.exc import OperationalError

from app.db import Database
from app.jobs.engine import Engine
from app.jobs.liveness import Liveness, hold_liveness
from app.jobs.run import load_kinds
from app.jobs.run_directory import DEFAULT_KINDS
from app.jobs.service import finish_job, lock_job
from app.jobs.steps import JobSteps
from app.jobs.supervisor import GRACE_SECONDS
from app.models import Job, JobState, utc_now
from app.models import Worker as WorkerRow
from app.settings import Settings

TICK_SECONDS = 0.5
HEARTBEAT_SECONDS = 10.0
RECOVER_SECONDS = 3.0
CHECK_SECONDS = 15.0

logger = logging.getLogger("podium.worker")


class Worker:
    """One worker process.

    Args:
        kinds_module: module whose `JOB_KINDS` this worker and its children know.
    """

    def __init__(self, settings: Settings, *, kinds_module: str = DEFAULT_KINDS) -> None:
        settings.runs_dir.mkdir(parents=True, exist_ok=True)
        self.id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self.stopping = threading.Event()
        self._database = Database(settings.resolved_database_url)
        self._liveness: Liveness = hold_liveness(self._database, settings, self.id)
        self._kinds = load_kinds(kinds_module)
        steps = JobSteps(
            self._database,
            settings,
            kinds_module=kinds_module,
            worker_id=self.id,
            stopping=self.stopping,
        )
        self._steps = steps
        self._engine = Engine(settings, steps, worker_id=self.id)
        self._due: dict[str, float] = {}

    def run(self) -> int:
        """Work until asked to stop; the exit status is 0 unless the liveness lock was lost."""
        self._engine.launch()
        logger.info("worker %s is ready", self.id)
        status = 0
        while not self.stopping.is_set():
            if not self._liveness.held():
                logger.error("lost the connection that proves this worker alive; stopping")
                status = 1
                break
            try:
                self.tick()
            except OperationalError as error:
                logger.warning("the database did not answer: %s", error.orig)
            self.stopping.wait(TICK_SECONDS)
        self.close()
        return status

    def tick(self) -> None:
        """One round of everything a worker does beside running jobs."""
        if self._is_due("heartbeat", HEARTBEAT_SECONDS):
            self.beat()
        self.dispatch()
        if self._is_due("recover", RECOVER_SECONDS):
            self.recover()
        if self._is_due("check", CHECK_SECONDS):
            self.check()

    def _is_due(self, name: str, interval_seconds: float) -> bool:
        now = time.monotonic()
        if now < self._due.get(name, 0.0):
            return False
        self._due[name] = now + interval_seconds
        return True

    def beat(self) -> None:
        """Tell people, in a row, that this worker is here."""
        with self._database.write() as session:
            row = session.get(WorkerRow, self.id)
            if row is None:
                row = WorkerRow(id=self.id, host=socket.gethostname(), pid=os.getpid())
                session.add(row)
            row.seen_at = utc_now()

    def dispatch(self) -> None:
        """Take queued rows to the queue. Dying in between is harmless: the id makes it the same."""
        waiting = select(Job.id, Job.attempt).where(
            Job.state == JobState.QUEUED, Job.dispatched_at.is_(None)
        )
        with self._database.read() as session:
            rows = session.execute(waiting.order_by(Job.id)).all()
        for job_id, attempt in rows:
            self._engine.enqueue(job_id, attempt)
            with self._database.write() as session:
                job = lock_job(session, job_id)
                if job.attempt == attempt:
                    job.dispatched_at = utc_now()

    def recover(self) -> None:
        """Take over the jobs of workers that died."""
        dead = [
            worker_id
            for worker_id in self._engine.list_executors()
            if self._liveness.is_dead(worker_id)
        ]
        if not dead:
            return
        count = self._engine.recover(dead)
        logger.info("took over %d job(s) of %s", count, ", ".join(dead))
        with self._database.write() as session:
            session.execute(delete(WorkerRow).where(WorkerRow.id.in_(dead)))

    def check(self) -> None:
        """End or dispatch again the jobs that the queue will do nothing more for."""
        unfinished = select(Job.id, Job.attempt).where(
            Job.state.in_((JobState.QUEUED, JobState.RUNNING)), Job.dispatched_at.is_not(None)
        )
        with self._database.read() as session:
            rows = session.execute(unfinished).all()
        for job_id, attempt in rows:
            problem = self._engine.find_problem(job_id, attempt)
            if problem is None:
                continue
            with self._database.write() as session:
                job = lock_job(session, job_id)
                if job.attempt != attempt or JobState(job.state).final:
                    continue
                if problem == "lost":
                    job.state = JobState.QUEUED
                    job.dispatched_at = None
                else:
                    kind = self._kinds.get(job.kind)
                    finish_job(session, job, JobState.FAILED, kind=kind, reason=problem)

    def close(self) -> None:
        """Stop the running children, then let go of the queue, the row and the lock.

        Jobs that were running keep their state; whoever holds the queue next takes them up.
        """
        self.stopping.set()
        self._steps.wait_until_idle(GRACE_SECONDS + 5.0)
        self._engine.stop()
        try:
            with self._database.write() as session:
                session.execute(
                    update(Job)
                    .where(Job.worker_id == self.id, Job.state == JobState.RUNNING)
                    .values(stage="Interrupted, waiting for a worker", eta_seconds=None)
                )
                session.execute(delete(WorkerRow).where(WorkerRow.id == self.id))
        except OperationalError as error:
            logger.warning("could not say goodbye to the database: %s", error.orig)
        self._liveness.release()
        self._database.dispose()


def run_worker(settings: Settings, *, kinds_module: str = DEFAULT_KINDS) -> int:
    """Run a worker in the foreground until SIGTERM or SIGINT; gives back the exit status."""
    worker = Worker(settings, kinds_module=kinds_module)

    def stop(_signal_number: int, _frame: FrameType | None) -> None:
        worker.stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return worker.run()
