import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.db import Database
from app.jobs.service import create_job, get_job
from app.models import Job
from app.settings import ROOT, Settings
from tests.jobs.counting_kind import JOB_KINDS

PATIENCE_SECONDS = 60.0


@pytest.fixture(autouse=True)
def counting_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry of these tests holds the counting kind alone."""
    monkeypatch.setattr("app.jobs.kinds.registry.JOB_KINDS", JOB_KINDS)


class WorkerProcesses:
    """Real worker processes on the test's database."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self._settings = settings
        self._log = log
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self) -> "subprocess.Popen[bytes]":
        environment = {
            **os.environ,
            "PODIUM_DATA_DIR": str(self._settings.data_dir),
            "PODIUM_DATABASE_URL": self._settings.resolved_database_url,
            "PODIUM_TRAINING_THREADS": "1",
        }
        with self._log.open("ab") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "tests.jobs.worker_process"],
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._started.append(worker)
        return worker

    def stop(self) -> None:
        for worker in self._started:
            if worker.poll() is None:
                worker.kill()
            worker.wait()


@pytest.fixture
def workers(settings: Settings, tmp_path: Path) -> Iterator[WorkerProcesses]:
    log = tmp_path / "worker.log"
    processes = WorkerProcesses(settings, log)
    yield processes
    processes.stop()
    if log.exists():
        print(log.read_text())


@pytest.fixture
def wait_for(database: Database) -> Callable[[str, Callable[[Job], bool]], Job]:
    """Waits until a job's row is as wished, and gives it back."""

    def wait(job_id: str, wished: Callable[[Job], bool]) -> Job:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            with database.read() as session:
                job = get_job(session, job_id)
            if wished(job):
                return job
            assert time.monotonic() < deadline, (
                f"{job.state} {job.progress} {job.stage} {job.reason} {job.log_tail}"
            )
            time.sleep(0.1)

    return wait


@pytest.fixture
def start_counting(database: Database) -> Callable[..., str]:
    def start(**config: Any) -> str:
        with database.write() as session:
            return create_job(session, None, kind="counting", project_id=None, config=config).id

    return start
