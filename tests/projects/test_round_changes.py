from math import nan
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts.audit import list_events
from app.db import Database
from app.errors import Conflict, Invalid
from app.labeling.gold import set_gold
from app.labeling.queue import lease_next_task
from app.labeling.rankings import store_ranking
from app.models import Completion, Round, Task, TaskPurpose, TaskState
from app.projects.loop import count_missing_rankings
from app.projects.round_changes import mark_calibration, update_round
from app.projects.round_counts import round_counts
from app.projects.rounds import create_round
from app.projects.task_import import import_tasks
from tests.labeling.factory import make_project, make_tasks, make_user
from tests.projects.rounds_factory import make_model, tasks_of
from tests.projects.rounds_factory import make_project as make_project_with_prompts


def in_order(session: Session, task: Task) -> dict[str, int]:
    ids = session.scalars(
        select(Completion.id).where(Completion.task_id == task.id).order_by(Completion.position)
    )
    return {completion_id: rank for rank, completion_id in enumerate(ids, start=1)}


def rank(session: Session, task: Task, *labelers: str) -> None:
    for labeler in labelers:
        store_ranking(
            session, task=task, labeler=labeler, ranks=in_order(session, task), source="app"
        )


def round_of(session: Session, tasks: list[Task]) -> Round:
    return session.get_one(Round, tasks[0].round_id)


def states(session: Session, round_: Round) -> list[tuple[str, int, int]]:
    session.expire_all()
    return [(t.state, t.rankings_got, t.rankings_wanted) for t in tasks_of(session, round_.id)]


def count_calibration(session: Session, round_: Round) -> int:
    session.expire_all()
    tasks = tasks_of(session, round_.id)
    return sum(task.purpose == TaskPurpose.CALIBRATION for task in tasks)


def test_more_labelers_open_complete_tasks_and_fewer_complete_them_again(database: Database):
    with database.write() as session:
        tasks = make_tasks(session, make_project(session), 3, wanted=1)
        round_ = round_of(session, tasks)
        rank(session, tasks[0], "ada")
        update_round(session, None, round_, labelers_per_task=2)
        assert states(session, round_) == [("open", 1, 2), ("open", 0, 2), ("open", 0, 2)]
        rank(session, tasks[1], "ada", "bob")
        update_round(session, None, round_, labelers_per_task=1)
        assert states(session, round_) == [
            ("complete", 1, 1),
            ("complete", 2, 2),
            ("open", 0, 1),
        ], "what was ranked already stays wanted"
        assert round_.labelers_per_task == 1


def test_what_is_leased_stays_wanted(database: Database):
    with database.write() as session:
        project = make_project(session)
        tasks = make_tasks(session, project, 1, wanted=3)
        round_ = round_of(session, tasks)
        rank(session, tasks[0], "zoe")
        leases = [
            lease_next_task(session, make_user(session, name), project.id, lease_seconds=60)
            for name in ("ada", "bob")
        ]
        assert all(leases)
        update_round(session, None, round_, labelers_per_task=1)
        assert states(session, round_) == [("open", 1, 3)]


def test_a_round_is_given_a_share_of_calibration_tasks_at_its_start(database: Database):
    with database.write() as session:
        make_model(session, "first")
        project = make_project_with_prompts(session, prompts=10)
        for share, marked in ((0.0, 0), (0.01, 1), (0.3, 3), (1.0, 10)):
            round_ = create_round(
                session, None, project, policies=["first"], calibration_share=share, priority=2
            )
            assert count_calibration(session, round_) == marked
            assert {task.priority for task in tasks_of(session, round_.id)} == {2}


def test_a_larger_share_adds_to_those_marked_and_a_smaller_one_takes_the_least_ranked(
    database: Database,
):
    with database.write() as session:
        tasks = make_tasks(session, make_project(session), 10)
        round_ = round_of(session, tasks)
        update_round(session, None, round_, calibration_share=0.3)
        first = {t.id for t in tasks_of(session, round_.id) if t.purpose == "calibration"}
        update_round(session, None, round_, calibration_share=0.6)
        session.expire_all()
        more = {t.id for t in tasks_of(session, round_.id) if t.purpose == "calibration"}
        assert first < more
        assert len(more) == 6
        ranked = sorted(more)[:2]
        for task_id in ranked:
            rank(session, session.get_one(Task, task_id), "ada", "bob", "eve")
        update_round(session, None, round_, calibration_share=0.2)
        session.expire_all()
        left = {t.id for t in tasks_of(session, round_.id) if t.purpose == "calibration"}
        assert left == set(ranked)
        update_round(session, None, round_, calibration_share=0)
        assert count_calibration(session, round_) == 0
        assert sum(got for _, got, _ in states(session, round_)) == 6, "rankings stay"


def test_gold_and_short_tasks_are_never_marked(sqlite_database: Database):
    with sqlite_database.write() as session:
        tasks = make_tasks(session, make_project(session), 3)
        round_ = round_of(session, tasks)
        set_gold(session, None, tasks[0].id, in_order(session, tasks[0]))
        tasks[1].state = TaskState.SHORT
        session.flush()
        round_.calibration_share = 1.0
        mark_calibration(session, round_)
        session.expire_all()
        assert [task.purpose for task in tasks_of(session, round_.id)] == [
            "gold",
            "ordinary",
            "calibration",
        ]


def test_a_new_priority_leaves_tasks_with_one_of_their_own(database: Database):
    with database.write() as session:
        tasks = make_tasks(session, make_project(session), 3)
        round_ = round_of(session, tasks)
        tasks[1].priority = 9
        session.flush()
        update_round(session, None, round_, priority=1)
        session.expire_all()
        assert [task.priority for task in tasks_of(session, round_.id)] == [1, 9, 1]
        event = list_events(session, limit=1)[0][0]
        assert event.action == "round.update"


def test_rankings_beyond_hide_nothing_and_never_exceed_all(database: Database):
    with database.write() as session:
        project = make_project(session)
        tasks = make_tasks(session, project, 2, wanted=2)
        round_ = round_of(session, tasks)
        tasks[0].purpose = TaskPurpose.CALIBRATION
        session.flush()
        rank(session, tasks[0], "a", "b", "c", "d", "e")
        rank(session, tasks[1], "a")
        counts = round_counts(session, round_.id)
        assert (counts.rankings_wanted, counts.rankings_got, counts.rankings_beyond) == (4, 3, 3)
        assert (counts.calibration, counts.gold) == (1, 0)
        assert count_missing_rankings(session, project.id) == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"priority": 0}, "priority"),
        ({"priority": 10}, "priority"),
        ({"labelers_per_task": 0}, "labelers_per_task"),
        ({"labelers_per_task": 101}, "labelers_per_task"),
        ({"calibration_share": -0.1}, "calibration_share"),
        ({"calibration_share": 1.1}, "calibration_share"),
        ({"calibration_share": nan}, "calibration_share"),
    ],
)
def test_numbers_out_of_range_are_named(
    sqlite_database: Database, change: dict[str, Any], field: str
):
    with sqlite_database.write() as session:
        tasks = make_tasks(session, make_project(session), 1)
        with pytest.raises(Invalid) as caught:
            update_round(session, None, round_of(session, tasks), **change)
        assert list(caught.value.fields) == [field]


def test_the_round_of_imported_rankings_asks_nobody(sqlite_database: Database):
    with sqlite_database.write() as session:
        tasks = make_tasks(session, make_project(session), 1, wanted=0)
        with pytest.raises(Conflict):
            update_round(session, None, round_of(session, tasks), labelers_per_task=1)


def made_elsewhere(prompt: str, **fields: Any) -> dict[str, Any]:
    return {"prompt": prompt, "completions": [{"text": "a"}, {"text": "b"}, {"text": "c"}]} | fields


def test_imported_tasks_may_be_gold_and_have_priorities_of_their_own(database: Database):
    with database.write() as session:
        project = make_project(session)
        imported = import_tasks(
            session,
            None,
            project,
            [
                made_elsewhere("1", gold=[3, 1, 3], priority=1),
                made_elsewhere("2"),
                made_elsewhere("3"),
                made_elsewhere("4", gold=[1, 1, 1]),
                made_elsewhere("5", gold=[1, 2]),
                made_elsewhere("6", priority=0),
                made_elsewhere("7", gold=[1, 2, None]),
                made_elsewhere("8", gold=[1, 2, True]),
            ],
            calibration_share=0.5,
            priority=7,
        )
        assert [
            (item.index, item.reason.split(":")[0].split(" ")[0]) for item in imported.rejected
        ] == [
            (3, "gold"),
            (4, "gold"),
            (5, "priority"),
            (6, "gold"),
            (7, "gold"),
        ]
        session.expire_all()
        tasks = sorted(tasks_of(session, imported.round.id), key=lambda task: task.priority)
        gold = tasks[0]
        assert (gold.purpose, gold.priority, gold.state) == ("gold", 1, "open")
        assert gold.gold_ranks is not None
        ids = list(in_order(session, gold))
        assert [gold.gold_ranks[completion_id] for completion_id in ids] == [2, 1, 2]
        assert {tasks[1].priority, tasks[2].priority} == {7}
        assert {tasks[1].purpose, tasks[2].purpose} == {"calibration"}
        assert (imported.round.calibration_share, imported.round.priority) == (0.5, 7)
