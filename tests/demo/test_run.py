from pathlib import Path
from threading import Thread

import pytest
from sqlalchemy import select

from app.db import Database
from app.demo import run
from app.models import Completion, Job, JobState, Ranking, Round, RoundState, Task
from app.projects.loop import get_loop_state
from app.projects.rounds import open_task_if_ready
from app.settings import Settings
from tests.projects.loop_states import add_worker


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command, waiting hundredths of seconds where it waits seconds."""
    monkeypatch.setattr(run, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(run, "SAY_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(run, "WORKER_PATIENCE_SECONDS", 0.1)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def demo_settings(sqlite_database: Database, tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, public_url="https://podium.example.org/")


def demo(database: Database, settings: Settings, said: list[str], *, simulate: bool) -> None:
    run.run_demo(database, settings, simulate_labelers=simulate, echo=said.append)


def write_completions(database: Database, *, fail_after: int | None = None) -> None:
    """What a worker's generation job does to the tables: one prompt after the other."""
    with database.read() as session:
        tasks = session.scalars(select(Task.id).order_by(Task.id)).all()
    for number, task_id in enumerate(tasks):
        with database.write() as session:
            job = session.scalars(select(Job)).one()
            if number == fail_after:
                job.state, job.reason = JobState.FAILED, "the inference server went away"
                return
            job.state, job.eta_seconds = JobState.RUNNING, 75.0
            task = session.get_one(Task, task_id)
            session.add_all(
                Completion(task_id=task_id, position=place, text=f"{'Good words ' * place}here.")
                for place in range(4)
            )
            session.flush()
            open_task_if_ready(session, task, 4)
    with database.write() as session:
        session.scalars(select(Job)).one().state = JobState.SUCCEEDED
        session.scalars(select(Round)).one().state = RoundState.OPEN


def test_the_demo_says_where_it_is_and_what_to_do_next(
    sqlite_database: Database, demo_settings: Settings, said: list[str]
) -> None:
    demo(sqlite_database, demo_settings, said, simulate=False)
    assert "https://podium.example.org/projects/" in said[0]
    assert "start a round" in said[-1]
    with sqlite_database.read() as session:
        assert session.scalars(select(Round)).all() == []


def test_without_a_worker_it_says_so_and_leaves_the_round_queued(
    sqlite_database: Database, demo_settings: Settings, said: list[str]
) -> None:
    for _ in range(2):
        demo(sqlite_database, demo_settings, said, simulate=True)
    assert any("No worker is running" in line and "podium up" in line for line in said)
    with sqlite_database.read() as session:
        assert session.scalars(select(Round)).one().state == RoundState.GENERATING
        assert session.scalars(select(Job)).one().state == JobState.QUEUED


def test_it_ranks_tasks_as_they_open_and_ends_with_what_is_there(
    sqlite_database: Database, demo_settings: Settings, said: list[str]
) -> None:
    demo(sqlite_database, demo_settings, [], simulate=True)
    with sqlite_database.write() as session:
        add_worker(session)
    generation = Thread(target=write_completions, args=(sqlite_database,))
    generation.start()
    demo(sqlite_database, demo_settings, said, simulate=True)
    generation.join()
    assert any("simulated rankings made" in line for line in said)
    assert any("216 completions, 108 rankings (108 of them simulated)" in line for line in said)
    assert "train a reward model" in said[-1]
    with sqlite_database.read() as session:
        assert len(session.scalars(select(Round)).all()) == 1


def test_the_line_of_progress_tells_prompts_rankings_and_the_time_left(
    sqlite_database: Database, demo_settings: Settings, said: list[str]
) -> None:
    demo(sqlite_database, demo_settings, [], simulate=True)
    with sqlite_database.write() as session:
        job = session.scalars(select(Job)).one()
        job.eta_seconds = 75.4
        state = get_loop_state(session, job.project_id or "")
    line = run.describe_progress(state, job, 12)
    assert line == ("0 of 54 prompts written, 12 simulated rankings made, about 1 m 15 s left")


def test_a_failed_generation_is_told_with_its_reason(
    sqlite_database: Database, demo_settings: Settings, said: list[str]
) -> None:
    demo(sqlite_database, demo_settings, [], simulate=True)
    with sqlite_database.write() as session:
        add_worker(session)
    write_completions(sqlite_database, fail_after=3)
    demo(sqlite_database, demo_settings, said, simulate=True)
    assert any("the inference server went away" in line for line in said)
    with sqlite_database.read() as session:
        assert len(session.scalars(select(Ranking)).all()) == 3 * run.LABELERS_PER_TASK
    assert "again" in said[-1]
