from collections.abc import Callable

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.accounts.audit import list_events
from app.db import Database
from app.errors import Conflict
from app.labeling.queue import lease_next_task
from app.labeling.rankings import submit_ranking
from app.labeling.submissions import Submission
from app.models import (
    Assignment,
    Base,
    Completion,
    Job,
    JobState,
    Project,
    Prompt,
    Ranking,
    RankingEntry,
    Round,
    RoundState,
    Snapshot,
    Task,
    TaskState,
)
from app.preferences.deletion import (
    delete_prompt,
    delete_ranking,
    delete_round,
    delete_snapshot,
    list_holding_round,
)
from app.preferences.erasure import erase_labeler
from app.preferences.snapshots import create_snapshot
from tests.labeling.acts import in_order, rank_all
from tests.labeling.factory import make_project, make_tasks, make_user
from tests.preferences.conftest import load_rankings, ranking


def count(session: Session, table: type[Base]) -> int:
    return session.scalar(select(func.count()).select_from(table)) or 0


def first_ranking(session: Session) -> Ranking:
    return session.scalars(select(Ranking).order_by(Ranking.id).limit(1)).one()


def delete_first_ranking(session: Session) -> None:
    delete_ranking(session, None, first_ranking(session))


def delete_its_prompt(session: Session) -> None:
    task = session.get_one(Task, first_ranking(session).task_id)
    delete_prompt(session, None, session.get_one(Prompt, task.prompt_id))


def delete_its_round(session: Session) -> None:
    task = session.get_one(Task, first_ranking(session).task_id)
    delete_round(session, None, session.get_one(Round, task.round_id))


@pytest.mark.parametrize("delete", [delete_first_ranking, delete_its_prompt, delete_its_round])
def test_what_a_snapshot_holds_stays_until_the_snapshot_goes(
    database: Database, project_id: str, delete: Callable[[Session], None]
) -> None:
    lines = [ranking(prompt=f"p{number}", labeler="ann") for number in range(3)]
    load_rankings(database, project_id, lines)
    with database.write() as session:
        names = ["First", "", *(f"No. {number}" for number in range(5))]
        snapshots = [create_snapshot(session, None, project_id, name=name) for name in names]
    with database.read() as session:
        round_id = session.scalars(select(Round.id)).one()
        assert len(list_holding_round(session, round_id)) == 7
    with pytest.raises(Conflict) as refused, database.write() as session:
        delete(session)
    assert refused.value.code == "held_by_snapshot"
    assert "“First”, “Snapshot " in refused.value.detail
    assert refused.value.detail.count("“") == 5
    assert "and 2 more" in refused.value.detail
    with database.write() as session:
        assert count(session, Ranking) == 3
        for snapshot in snapshots:
            delete_snapshot(session, None, session.get_one(Snapshot, snapshot.id))
    with database.write() as session:
        delete(session)
        assert count(session, Ranking) < 3


def test_a_deleted_ranking_goes_with_its_revisions_and_the_task_wants_another(
    database: Database,
) -> None:
    with database.write() as session:
        project = make_project(session)
        (task,) = make_tasks(session, project, 1, wanted=2)
        ada, bob = make_user(session, "ada"), make_user(session, "bob")
        rank_all(session, bob, project)
        lease = lease_next_task(session, ada, project.id, lease_seconds=60)
        assert lease is not None
        submit_ranking(session, ada, lease.id, in_order(lease))
        ranks = dict(zip(lease.shown_order, (3, 2, 1), strict=True))
        submit_ranking(session, ada, lease.id, Submission(ranks=ranks))
        assert count(session, Ranking) == 3
        old = session.scalars(select(Ranking).where(~Ranking.current)).one()
        delete_ranking(session, None, old)
        assert session.scalars(select(Ranking.labeler)).all() == ["bob"]
        assert (task.state, task.rankings_got, task.slots_taken) == (TaskState.OPEN, 1, 1)
        assert count(session, RankingEntry) == 3
        assert lease_next_task(session, ada, project.id, lease_seconds=60) is not None
        event, _ = list_events(session)[0]
        assert (event.action, event.details["revisions"]) == ("ranking.delete", 2)


def test_a_deleted_prompt_takes_its_tasks_and_leaves_the_others(database: Database) -> None:
    with database.write() as session:
        project = make_project(session)
        first, second = make_tasks(session, project, 2)
        ada = make_user(session, "ada")
        rank_all(session, ada, project)
        delete_prompt(session, None, session.get_one(Prompt, first.prompt_id))
        assert session.scalars(select(Task.id)).all() == [second.id]
        assert [count(session, table) for table in (Prompt, Ranking, Assignment)] == [1, 1, 1]
        assert [count(session, table) for table in (Completion, RankingEntry)] == [3, 3]
        event, _ = list_events(session)[0]
        assert (event.details["tasks"], event.details["rankings"]) == (1, 1)


def test_a_round_is_closed_before_it_is_deleted_and_its_prompts_stay(database: Database) -> None:
    with database.write() as session:
        project = make_project(session)
        make_tasks(session, project, 2, number=1)
        (other,) = make_tasks(session, project, 1, number=2)
        rank_all(session, make_user(session, "ada"), project)
        round_ = session.scalars(select(Round).where(Round.number == 1)).one()
        with pytest.raises(Conflict) as refused:
            delete_round(session, None, round_)
        assert refused.value.code == "round_open"
        round_.state = RoundState.CLOSED
        delete_round(session, None, round_)
        assert session.scalars(select(Round.number)).all() == [2]
        assert session.scalars(select(Task.id)).all() == [other.id]
        assert [count(session, table) for table in (Prompt, Ranking, Assignment)] == [3, 1, 1]


@pytest.mark.parametrize("delete", [delete_its_prompt, delete_its_round])
def test_nothing_is_deleted_that_a_job_is_making_completions_for(
    database: Database, delete: Callable[[Session], None]
) -> None:
    with database.write() as session:
        project = make_project(session)
        make_tasks(session, project, 1)
        rank_all(session, make_user(session, "ada"), project)
        round_ = session.scalars(select(Round)).one()
        job = Job(kind="generation", project_id=project.id, state=JobState.RUNNING)
        session.add(job)
        session.flush()
        round_.job_id = job.id
        session.flush()
        with pytest.raises(Conflict) as refused:
            delete(session)
        assert refused.value.code == "round_generating"


def test_a_tombstone_goes_with_the_last_snapshot_that_held_it(
    database: Database, project_id: str
) -> None:
    load_rankings(database, project_id, [ranking(labeler="ann"), ranking(labeler="bea")])
    with database.write() as session:
        first, second = (create_snapshot(session, None, project_id) for _ in range(2))
        erase_labeler(session, None, session.get_one(Project, project_id), "ann")
    with database.write() as session:
        delete_snapshot(session, None, session.get_one(Snapshot, first.id))
        assert count(session, Ranking) == 2
        delete_snapshot(session, None, session.get_one(Snapshot, second.id))
        assert session.scalars(select(Ranking.labeler)).all() == ["bea"]
