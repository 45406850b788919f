"""What an erasure leaves in the tables."""

import json

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.accounts.audit import list_events
from app.db import Database
from app.labeling.drafts import save_draft
from app.labeling.people import list_project_labelers
from app.labeling.queue import lease_next_task, skip_assignment
from app.labeling.rankings import submit_ranking
from app.labeling.revocation import revoke_rankings
from app.labeling.submissions import Submission
from app.models import (
    Assignment,
    Base,
    Project,
    Ranking,
    RankingEntry,
    RankingSource,
    Snapshot,
    Task,
    TaskState,
)
from app.preferences.erasure import erase_labeler, foresee_erasure
from app.preferences.filters import PairFilters
from app.preferences.pair_counts import count_pairs
from app.preferences.snapshots import (
    count_revoked,
    create_snapshot,
)
from app.projects.pair_counts import count_loop_pairs
from tests.labeling.acts import in_order, rank_all
from tests.labeling.factory import make_project, make_tasks, make_user
from tests.preferences.conftest import load_rankings, ranking
from tests.preferences.erasing import NAME, SAID, erase, freeze, load_two_labelers
from tests.statements import recorded_statements


def whole_database(session: Session) -> str:
    """Every value of every table."""
    return json.dumps(
        [
            [str(value) for value in row]
            for table in Base.metadata.sorted_tables
            for row in session.execute(select(table))
        ],
        ensure_ascii=False,
    )


def test_what_no_snapshot_holds_is_deleted_and_the_task_wants_a_labeler_again(
    database: Database,
) -> None:
    with database.write() as session:
        project = make_project(session)
        tasks = make_tasks(session, project, 4, wanted=2)
        ada, bob = make_user(session, "ada"), make_user(session, "bob")
        rank_all(session, bob, project)
        for _ in range(2):
            lease = lease_next_task(session, ada, project.id, lease_seconds=60)
            assert lease is not None
            submit_ranking(session, ada, lease.id, in_order(lease))
        assert lease is not None
        ranks = dict(zip(lease.shown_order, (3, 2, 1), strict=True))
        submit_ranking(session, ada, lease.id, Submission(ranks=ranks))
        lease = lease_next_task(session, ada, project.id, lease_seconds=60)
        assert lease is not None
        skip_assignment(session, ada, lease.id, "ada does not like it")
        lease = lease_next_task(session, ada, project.id, lease_seconds=60)
        assert lease is not None
        save_draft(session, ada, lease.id, in_order(lease), lease_seconds=60)
        foreseen = foresee_erasure(session, project.id, "ada")
        assert (foreseen.rankings, foreseen.tombstones, foreseen.assignments) == (3, 0, 4)
        done = erase_labeler(session, None, project, "ada")
        assert (done.rankings, done.deleted, done.tombstones) == (3, 3, 0)
        assert (done.assignments, done.reopened_tasks, done.pseudonym) == (4, 2, None)
        assert {(t.state, t.rankings_got, t.slots_taken, t.rankings_wanted) for t in tasks} == {
            (TaskState.OPEN, 1, 1, 2)
        }
        assert set(session.scalars(select(Ranking.labeler))) == {"bob"}
        assert set(session.scalars(select(Assignment.user_id))) == {bob.id}
        assert session.scalar(select(func.count()).select_from(RankingEntry)) == 12
        assert len(rank_all(session, make_user(session, "cyd"), project)) == 4
        again = erase_labeler(session, None, project, "ada")
        assert (again.rankings, again.assignments, again.reopened_tasks) == (0, 0, 0)
        erasures = [e for e, _ in list_events(session) if e.action == "labeler.erase"]
        assert len(erasures) == 1
        assert "ada" not in json.dumps(erasures[0].details)


def test_revoked_rankings_are_erased_and_their_tasks_are_not_counted_off_twice(
    database: Database,
) -> None:
    with database.write() as session:
        project = make_project(session)
        (task,) = make_tasks(session, project, 1, wanted=1)
        rank_all(session, make_user(session, NAME), project)
        revoke_rankings(session, None, project.id, NAME, reason=SAID)
        snapshot_of_nothing = erase_labeler(session, None, project, NAME)
        assert (snapshot_of_nothing.rankings, snapshot_of_nothing.reopened_tasks) == (1, 0)
        assert (task.rankings_got, task.slots_taken, task.state) == (0, 0, TaskState.OPEN)
        details = [e.details for e, _ in list_events(session) if e.action == "labeler.revoke"]
        assert SAID not in json.dumps(details)


def test_a_task_of_an_import_does_not_come_to_want_rankings(
    database: Database, project_id: str
) -> None:
    load_two_labelers(database, project_id)
    erase(database, project_id)
    with database.read() as session:
        numbers = {
            tuple(row)
            for row in session.execute(
                select(Task.rankings_wanted, Task.rankings_got, Task.slots_taken, Task.state)
            )
        }
        assert numbers == {(1, 1, 1, TaskState.COMPLETE)}


def test_a_tombstone_says_when_and_how_and_nothing_more(
    database: Database, project_id: str
) -> None:
    load_two_labelers(database, project_id)
    snapshot = freeze(database, project_id)
    other = freeze(database, project_id, filters=PairFilters(labeler=NAME))
    with database.write() as session:
        revoke_rankings(session, None, project_id, NAME, reason=SAID)
    done = erase(database, project_id)
    assert (done.rankings, done.deleted, done.tombstones) == (6, 0, 6)
    assert done.snapshot_ids == [snapshot.id, other.id]
    with database.read() as session:
        stones = session.scalars(select(Ranking).where(Ranking.erased_at.is_not(None))).all()
        assert len(stones) == 6
        assert {stone.labeler for stone in stones} == {done.pseudonym}
        for stone in stones:
            assert not stone.current
            assert stone.source == RankingSource.IMPORT
            assert (stone.user_id, stone.assignment_id, stone.external_id) == (None, None, None)
            assert (stone.comment, stone.shown_order, stone.active_ms) == ("", [], None)
            assert (stone.origin, stone.revoked_at, stone.revoke_reason) == (None, None, "")
        counts = session.scalars(select(Snapshot.erased_rankings).order_by(Snapshot.id)).all()
        assert counts == [6, 6]
        content = whole_database(session)
        assert NAME not in content
        assert SAID not in content
        assert count_revoked(session, snapshot.id) == 0
        assert [one.labeler for one in list_project_labelers(session, project_id)] == ["bea"]
        assert count_pairs(session, project_id).pairs == 18


def test_remembered_figures_are_made_anew(database: Database, project_id: str) -> None:
    load_two_labelers(database, project_id)
    freeze(database, project_id)
    with database.read() as session:
        both = [one.labeler for one in list_project_labelers(session, project_id)]
        assert both == [NAME, "bea"]
        assert count_loop_pairs(session, project_id) == 36
    erase(database, project_id)
    with database.read() as session:
        assert [one.labeler for one in list_project_labelers(session, project_id)] == ["bea"]
        assert count_loop_pairs(session, project_id) == 18


def test_nothing_is_half_erased_when_the_process_dies(database: Database, project_id: str) -> None:
    load_two_labelers(database, project_id)
    freeze(database, project_id)
    with database.read() as session:
        before = whole_database(session)
    session = database.new_write_session()
    session.begin()
    erase_labeler(session, None, session.get_one(Project, project_id), NAME)
    session.connection().invalidate()  # The server sees what it sees after a kill -9.
    session.close()
    with database.read() as session:
        assert whole_database(session) == before


def test_the_number_of_statements_does_not_grow_with_rankings(
    sqlite_database: Database, sqlite_project_id: str
) -> None:
    counts = []
    for prompts, name in ((2, "few"), (60, "many")):
        load_rankings(
            sqlite_database,
            sqlite_project_id,
            [ranking(prompt=f"{name}{number}", labeler=name) for number in range(prompts)],
        )
        with sqlite_database.write() as session:
            create_snapshot(session, None, sqlite_project_id, filters=PairFilters(labeler=name))
        with recorded_statements(sqlite_database.writer) as statements:
            erase(sqlite_database, sqlite_project_id, name)
        counts.append(len(statements))
    assert counts[0] == counts[1] > 0


def test_other_projects_keep_theirs(database: Database, project_id: str) -> None:
    with database.write() as session:
        other = Project(name="Other")
        session.add(other)
    load_two_labelers(database, project_id)
    load_two_labelers(database, other.id)
    erase(database, project_id)
    with database.read() as session:
        names = session.scalars(
            select(Ranking.labeler).where(Ranking.project_id == other.id).distinct()
        )
        assert set(names) == {NAME, "bea"}
