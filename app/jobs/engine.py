"""The durable queue: DBOS behind a few methods. Only the worker process imports this module.

What DBOS gives is a workflow that is taken up again where it stopped. What it does not give is
taken care of here and in the worker:

- it does not notice a dead worker: `recover` is called with the ids of workers whose liveness lock
  is free;
- on SQLite it reads the queue before it locks it, so that two workers could overrun a limit: its
  engine begins every transaction with BEGIN IMMEDIATE;
- it takes up only workflows of its own application version, which it would compute from the code:
  the version is pinned.
"""

import logging
from collections.abc import Callable
from typing import Any

from dbos import DBOS, DBOSConfig, SetEnqueueOptions, SetWorkflowID
from sqlalchemy.exc import OperationalError

from app.db import create_sqlite_engine
from app.jobs.steps import JobSteps
from app.settings import Settings

APPLICATION_VERSION = "1"
"""Raised by hand when workflows that an older worker began can no longer be continued."""

QUEUE = "jobs"
WORKFLOW = "run_job"
POSTGRES_SCHEMA = "podium_jobs"
PRIORITY = 10
POLL_SECONDS = 0.5
ENDED_BADLY = ("ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")


class Engine:
    """The queue as one worker sees it. There can be one in a process at a time."""

    def __init__(self, settings: Settings, steps: JobSteps, *, worker_id: str) -> None:
        self._worker_id = worker_id
        self._slots = settings.worker_slots
        logging.getLogger("dbos").setLevel(logging.WARNING)
        config: DBOSConfig = {
            "name": "podium",
            "application_version": APPLICATION_VERSION,
            "executor_id": worker_id,
            "log_level": "WARNING",
            "enable_otlp": False,
        }
        if settings.resolved_database_url.startswith("sqlite"):
            url = f"sqlite:///{settings.data_dir.absolute() / 'jobs.sqlite3'}"
            DBOS.migrate(url)
            config["system_database_url"] = url
            config["run_migrations"] = False
            config["system_database_engine"] = create_sqlite_engine(url, writer=True, pool_size=8)
        else:
            config["system_database_url"] = settings.resolved_database_url
            config["dbos_system_schema"] = POSTGRES_SCHEMA
            config["sys_db_pool_size"] = 8
        DBOS(config=config)
        self._run_job = DBOS.workflow(name=WORKFLOW)(_workflow(steps))

    def launch(self) -> None:
        """Start taking workflows from the queue."""
        DBOS.launch()
        DBOS.register_queue(
            QUEUE,
            worker_concurrency=self._slots,
            polling_interval_sec=POLL_SECONDS,
            on_conflict="always_update",
        )

    def enqueue(self, job_id: str, attempt: int) -> None:
        """Put an attempt of a job into the queue; one that is there already stays as it is."""
        with SetWorkflowID(workflow_id(job_id, attempt)), SetEnqueueOptions(priority=PRIORITY):
            DBOS.enqueue_workflow(QUEUE, self._run_job, job_id)

    def find_problem(self, job_id: str, attempt: int) -> str | None:
        """Why the queue will do nothing more for an attempt that it should; None when it will."""
        status = DBOS.get_workflow_status(workflow_id(job_id, attempt))
        if status is None:
            return "lost"
        if status.status in ENDED_BADLY:
            return f"{status.status.replace('_', ' ').lower()}: {status.error or 'no reason given'}"
        return None

    def list_executors(self) -> set[str]:
        """Other workers that workflows are running on, or were when they died."""
        pending = DBOS.list_workflows(
            status="PENDING", name=WORKFLOW, load_input=False, load_output=False
        )
        found = {workflow.executor_id for workflow in pending if workflow.executor_id}
        return found - {self._worker_id}

    def recover(self, dead_worker_ids: list[str]) -> int:
        """Put the workflows of dead workers back into the queue; say how many."""
        return len(DBOS._recover_pending_workflows(dead_worker_ids))

    def stop(self) -> None:
        """Take nothing more from the queue and let go of the database."""
        DBOS.destroy(destroy_registry=True)


def workflow_id(job_id: str, attempt: int) -> str:
    """The id that makes enqueueing an attempt twice the same as once."""
    return f"{job_id}-{attempt}"


def _is_transient(error: BaseException) -> bool:
    return isinstance(error, OperationalError)


def _workflow(steps: JobSteps) -> Callable[[str], str]:
    """The workflow of a job. Its name and the order of its steps never change within a version."""

    def step(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        return DBOS.run_step(
            {
                "name": name,
                "retries_allowed": True,
                "max_attempts": 10,
                "interval_seconds": 1.0,
                "should_retry": _is_transient,
            },
            function,
            *arguments,
        )

    def run_job(job_id: str) -> str:
        attempt = int(str(DBOS.workflow_id).rpartition("-")[2])
        try:
            if not step("export", steps.export, job_id, attempt):
                return "nothing to do"
            outcome: dict[str, Any] = step("child", steps.run_child, job_id, attempt)
            step("import", steps.store, job_id, attempt, outcome)
        except Exception as error:
            steps.fail(job_id, attempt, error)
            raise
        return str(outcome["state"])

    return run_job
