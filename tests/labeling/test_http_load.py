"""Fifty labelers at once over real HTTP, on two processes: exact counts, whatever happens."""

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from app.db import Database
from app.models import Assignment, AssignmentState, Ranking, Task, TaskState, utc_now
from app.schema import upgrade

from ..serving import RestLabeler, SeededProject, ServedApp, seed_tasks

LABELERS, TASKS, WANTED = 50, 200, 3
PATIENCE_SECONDS = 150
VANISH, TWICE, SKIP = 0.02, 0.2, 0.02


class Crowd:
    """What fifty labelers do at once, and every status they were answered with."""

    def __init__(self, app: ServedApp, project: SeededProject) -> None:
        self.app, self.project = app, project
        self.statuses: Counter[int] = Counter()
        self.lock = threading.Lock()
        self.deadline = time.monotonic() + PATIENCE_SECONDS

    def count(self, status: int) -> int:
        with self.lock:
            self.statuses[status] += 1
        return status

    def work(self, number: int) -> str:
        """Rank until nothing is left: "done", or "vanished" with a task in hand."""
        chance = random.Random(number)
        labeler = RestLabeler(self.app.port, self.project.id, self.project.tokens[number])
        try:
            while time.monotonic() < self.deadline:
                status, assignment = labeler.lease()
                if self.count(status) == 204:
                    return "done"
                assert status == 201, (status, assignment)
                if chance.random() < VANISH:
                    return "vanished"
                if chance.random() < SKIP:
                    path = f"/assignments/{assignment['id']}/skip"
                    self.count(labeler.call("POST", path, {"reason": "not my field"})[0])
                elif chance.random() < TWICE:
                    self.submit_twice_at_once(labeler, number, assignment)
                else:
                    assert self.count(labeler.rank(assignment)[0]) == 200
        finally:
            labeler.close()
        raise AssertionError("out of time")

    def submit_twice_at_once(self, labeler: RestLabeler, number: int, assignment: dict) -> None:
        other = RestLabeler(self.app.port, self.project.id, self.project.tokens[number])
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda one: one.rank(assignment), (labeler, other)))
        other.close()
        assert {self.count(status) for status, _ in answers} == {200}
        assert len({ranking["id"] for _, ranking in answers}) == 1, "twice is once"


@pytest.mark.slow
def test_fifty_labelers_rank_each_task_exactly_three_times(database_url: str, tmp_path) -> None:
    database = Database(database_url)
    upgrade(database)
    project = seed_tasks(database, tasks=TASKS, labelers=LABELERS, labelers_per_task=WANTED)
    app = ServedApp(database, tmp_path, processes=2)
    try:
        crowd = Crowd(app, project)
        with ThreadPoolExecutor(LABELERS) as pool:
            ends = list(pool.map(crowd.work, range(LABELERS)))
            assert set(ends) <= {"done", "vanished"}
            gone = [number for number, end in enumerate(ends) if end == "vanished"]
            assert gone, "some vanish with a task in hand"
            let_leases_run_out(database)
            stayed = [number for number in range(LABELERS) if number not in gone]
            list(pool.map(crowd.work, stayed))
            let_leases_run_out(database)
            list(pool.map(crowd.work, stayed))
        print(dict(crowd.statuses))
        assert set(crowd.statuses) <= {200, 201, 204}
    finally:
        app.stop()
    with database.read() as session:
        rankings = session.scalars(select(Ranking)).all()
        assert {ranking.current for ranking in rankings} == {True}
        assert Counter(ranking.task_id for ranking in rankings) == Counter(
            dict.fromkeys(session.scalars(select(Task.id)), WANTED)
        )
        assert len({(r.task_id, r.user_id) for r in rankings}) == TASKS * WANTED
        tasks = session.scalars(select(Task)).all()
        assert {(t.state, t.rankings_got, t.slots_taken) for t in tasks} == {
            (TaskState.COMPLETE, WANTED, WANTED)
        }
    assert "Traceback" not in app.log.read_text()
    database.dispose()


def let_leases_run_out(database: Database) -> None:
    with database.write() as session:
        session.execute(
            update(Assignment)
            .where(Assignment.state == AssignmentState.LEASED)
            .values(lease_expires_at=utc_now() - timedelta(seconds=1))
        )


@pytest.mark.slow
def test_more_requests_than_threads_do_not_lock_each_other_out(tmp_path) -> None:
    """SQLite has one writer: who holds it must not need a thread that those who wait have taken."""
    database = Database(f"sqlite:///{tmp_path / 'podium.sqlite3'}")
    upgrade(database)
    project = seed_tasks(database, tasks=60, labelers=60, labelers_per_task=1)
    app = ServedApp(database, tmp_path, processes=1)

    def renew(token: str) -> set[int]:
        labeler = RestLabeler(app.port, project.id, token)
        _, assignment = labeler.lease()
        path = f"/assignments/{assignment['id']}/renew"
        statuses = {labeler.call("POST", path)[0] for _ in range(5)}
        labeler.close()
        return statuses

    try:
        with ThreadPoolExecutor(60) as pool:
            began = time.monotonic()
            assert set().union(*pool.map(renew, project.tokens)) == {200}
            assert time.monotonic() - began < 45, "a request that is locked out waits a minute"
    finally:
        app.stop()
        database.dispose()
