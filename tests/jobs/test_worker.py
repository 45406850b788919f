"""Real worker processes, on SQLite and on PostgreSQL."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from app.db import Database
from app.jobs.run_directory import run_directory
from app.jobs.service import cancel_job, resume_job
from app.models import Job, JobEvent, JobMetric, JobState, Worker
from app.settings import Settings
from tests.jobs.conftest import WorkerProcesses
from tests.jobs.counting_kind import is_same_process

pytestmark = pytest.mark.slow

Wait = Callable[[str, Callable[[Job], bool]], Job]
Start = Callable[..., str]


def ended(job: Job) -> bool:
    return JobState(job.state).final


def read(run_dir: Path, name: str) -> Any:
    return json.loads((run_dir / name).read_text())


def metric_steps(database: Database, job_id: str, name: str) -> list[int]:
    with database.read() as session:
        query = select(JobMetric.step).where(JobMetric.job_id == job_id, JobMetric.name == name)
        return list(session.scalars(query.order_by(JobMetric.step)))


def assert_counted_once(database: Database, run_dir: Path, job_id: str, steps: int) -> None:
    assert read(run_dir, "checkpoint.json") == list(range(1, steps + 1))
    assert metric_steps(database, job_id, "count") == list(range(1, steps + 1))
    children = read(run_dir, "children.json")
    assert [child["beside"] for child in children] == [[]] * len(children)
    assert not any(is_same_process(child) for child in children)


def test_a_job_survives_kill_9_of_its_worker_with_no_step_lost_or_doubled(
    database: Database,
    settings: Settings,
    workers: WorkerProcesses,
    start_counting: Start,
    wait_for: Wait,
) -> None:
    worker = workers.start()
    job_id = start_counting(steps=120, delay_seconds=0.05)
    run_dir = run_directory(settings, job_id)
    running = wait_for(job_id, lambda job: job.progress > 0.1)
    assert running.state == JobState.RUNNING
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    time.sleep(0.5)
    assert not any(is_same_process(child) for child in read(run_dir, "children.json"))
    reached = len(read(run_dir, "checkpoint.json"))
    assert reached < 120

    workers.start()
    job = wait_for(job_id, ended)

    assert (job.state, job.reason, job.progress) == (JobState.SUCCEEDED, None, 1.0)
    assert job.outputs == {"counted": 120}
    assert_counted_once(database, run_dir, job_id, 120)
    assert len(read(run_dir, "children.json")) == 2
    assert f"goes on after step {reached}" in job.log_tail
    assert (run_dir / "exports.txt").read_text() == "1\n"
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Worker)) == 1


def test_a_living_worker_takes_over_from_a_dead_one_and_leaves_a_living_one_alone(
    database: Database,
    settings: Settings,
    workers: WorkerProcesses,
    start_counting: Start,
    wait_for: Wait,
) -> None:
    first = workers.start()
    job_id = start_counting(steps=200, delay_seconds=0.05)
    first_id = wait_for(job_id, lambda job: job.progress > 0.05).worker_id
    workers.start()
    time.sleep(5.0)
    assert wait_for(job_id, lambda job: True).worker_id == first_id
    first.send_signal(signal.SIGKILL)
    first.wait()
    job = wait_for(job_id, ended)
    assert job.state == JobState.SUCCEEDED
    assert job.worker_id != first_id
    assert_counted_once(database, run_directory(settings, job_id), job_id, 200)


def test_a_clean_stop_of_the_worker_keeps_the_job_running_for_the_next(
    database: Database,
    settings: Settings,
    workers: WorkerProcesses,
    start_counting: Start,
    wait_for: Wait,
) -> None:
    worker = workers.start()
    job_id = start_counting(steps=100, delay_seconds=0.05)
    wait_for(job_id, lambda job: job.progress > 0.1)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=20) == 0
    job = wait_for(job_id, lambda job: True)
    assert (job.state, job.cancel_requested_at) == (JobState.RUNNING, None)
    assert job.stage == "Interrupted, waiting for a worker"
    workers.start()
    assert wait_for(job_id, ended).state == JobState.SUCCEEDED
    assert_counted_once(database, run_directory(settings, job_id), job_id, 100)


def test_cancel_ends_a_running_job_in_time_and_resume_goes_on_where_it_stopped(
    database: Database,
    settings: Settings,
    workers: WorkerProcesses,
    start_counting: Start,
    wait_for: Wait,
) -> None:
    workers.start()
    job_id = start_counting(steps=100, delay_seconds=0.05)
    wait_for(job_id, lambda job: job.progress > 0.1)
    with database.write() as session:
        cancel_job(session, job_id)
    asked = time.monotonic()
    job = wait_for(job_id, ended)
    assert job.state == JobState.CANCELLED
    assert time.monotonic() - asked < 5.0
    run_dir = run_directory(settings, job_id)
    reached = len(read(run_dir, "checkpoint.json"))
    assert 0 < reached < 100

    with database.write() as session:
        resume_job(session, job_id)
    job = wait_for(job_id, ended)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)
    assert_counted_once(database, run_dir, job_id, 100)
    assert f"goes on after step {reached}" in job.log_tail


def test_a_run_that_ignores_the_request_is_killed_after_the_grace(
    database: Database, workers: WorkerProcesses, start_counting: Start, wait_for: Wait
) -> None:
    workers.start()
    job_id = start_counting(steps=100_000, delay_seconds=0.05, deaf=True)
    wait_for(job_id, lambda job: job.progress > 0)
    with database.write() as session:
        cancel_job(session, job_id)
    asked = time.monotonic()
    assert wait_for(job_id, ended).state == JobState.CANCELLED
    assert time.monotonic() - asked < 15.0


def test_a_failure_keeps_one_line_of_reason_and_can_be_resumed(
    database: Database, workers: WorkerProcesses, start_counting: Start, wait_for: Wait
) -> None:
    workers.start()
    job_id = start_counting(steps=30, fail_at=12)
    job = wait_for(job_id, ended)
    assert (job.state, job.reason) == (JobState.FAILED, "Stumbled at step 12.")
    assert "Traceback" in job.log_tail
    assert "TrainingError" in job.log_tail
    with database.write() as session:
        resume_job(session, job_id)
    assert wait_for(job_id, ended).state == JobState.SUCCEEDED
    with database.read() as session:
        events = select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.id)
        by_kind: dict[str, list[dict[str, Any]]] = {}
        for event in session.scalars(events):
            by_kind.setdefault(event.kind, []).append(event.payload)
    states = [payload["state"] for payload in by_kind["state"]]
    assert states == ["queued", "running", "failed", "queued", "running", "succeeded"]
    assert [sample["step"] for sample in by_kind["samples"]] == [10, 20, 30]
    assert by_kind["samples"][0]["rows"][0]["completion"] == "10\N{REPLACEMENT CHARACTER}"
    assert any("broken was not a finite number" in note["text"] for note in by_kind["note"])
    assert metric_steps(database, job_id, "broken") == []


def test_a_job_whose_run_directory_is_on_another_disk_begins_again(
    database: Database,
    settings: Settings,
    workers: WorkerProcesses,
    start_counting: Start,
    wait_for: Wait,
) -> None:
    worker = workers.start()
    job_id = start_counting(steps=60, delay_seconds=0.05)
    wait_for(job_id, lambda job: job.progress > 0.1)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    run_dir = run_directory(settings, job_id)
    run_dir.rename(run_dir.with_name("elsewhere"))
    workers.start()
    job = wait_for(job_id, ended)
    assert (job.state, job.reason) == (JobState.SUCCEEDED, None)
    assert_counted_once(database, run_dir, job_id, 60)
