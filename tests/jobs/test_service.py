from collections.abc import Callable

import pytest
from sqlalchemy import func, select

from app.db import Database
from app.errors import Conflict, Invalid, NotFound
from app.jobs.service import (
    cancel_job,
    create_job,
    finish_job,
    get_job,
    list_jobs,
    lock_job,
    resume_job,
)
from app.models import Job, JobState
from tests.jobs.counting_kind import COUNTING

Start = Callable[..., str]


def test_a_refused_job_leaves_no_row(sqlite_database: Database) -> None:
    with sqlite_database.write() as session:
        for kind, config in (("counting", {"steps": 0}), ("counting", {"steps": 13}), ("no", {})):
            with pytest.raises(Invalid):
                create_job(session, None, kind=kind, project_id=None, config=config)
        with pytest.raises(NotFound):
            create_job(session, None, kind="counting", project_id="none", config={"steps": 1})
        assert session.scalar(select(func.count()).select_from(Job)) == 0


def test_a_job_keeps_its_whole_config(database: Database, start_counting: Start) -> None:
    job_id = start_counting(steps=3)
    with database.read() as session:
        job = get_job(session, job_id)
    assert job.config == {
        "steps": 3,
        "delay_seconds": 0.02,
        "fail_at": None,
        "deaf": False,
        "note": None,
    }
    assert (job.state, job.dispatched_at, job.attempt) == (JobState.QUEUED, None, 1)


def test_a_waiting_job_is_cancelled_at_once_and_a_running_one_is_asked(
    database: Database, start_counting: Start
) -> None:
    waiting, running = start_counting(steps=3), start_counting(steps=3)
    with database.write() as session:
        lock_job(session, running).state = JobState.RUNNING
    with database.write() as session:
        assert cancel_job(session, waiting).state == JobState.CANCELLED
        asked = cancel_job(session, running)
        assert (asked.state, asked.stage) == (JobState.RUNNING, "Stopping")
        first = asked.cancel_requested_at
        assert cancel_job(session, running).cancel_requested_at == first
        with pytest.raises(Conflict):
            cancel_job(session, waiting)


def test_only_a_failed_or_cancelled_job_can_be_resumed(
    database: Database, start_counting: Start
) -> None:
    job_id = start_counting(steps=3)
    with database.write() as session:
        with pytest.raises(Conflict):
            resume_job(session, job_id)
        finish_job(session, lock_job(session, job_id), JobState.FAILED, kind=COUNTING, reason="No.")
        job = resume_job(session, job_id)
        assert (job.state, job.attempt, job.reason) == (JobState.QUEUED, 2, None)
        assert (job.dispatched_at, job.finished_at, job.cancel_requested_at) == (None, None, None)
        finish_job(session, job, JobState.SUCCEEDED, kind=COUNTING, outputs={"counted": 3})
        with pytest.raises(Conflict):
            resume_job(session, job_id)


def test_pages_of_jobs_are_newest_first_without_gaps(
    database: Database, start_counting: Start
) -> None:
    ids = [start_counting(steps=count + 1) for count in range(5)]
    with database.read() as session:
        first, cursor = list_jobs(session, limit=3)
        second, end = list_jobs(session, limit=3, cursor=cursor)
        assert list_jobs(session, state="running") == ([], None)
    assert sorted(ids, reverse=True) == [job.id for job in [*first, *second]]
    assert end is None
