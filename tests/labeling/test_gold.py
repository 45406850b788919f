from typing import Any

import pytest
from sqlalchemy import select

from app.accounts.audit import list_events
from app.db import Database
from app.errors import Conflict, Invalid, NotFound
from app.labeling.gold import clear_gold, list_check_tasks, load_opinions, set_gold
from app.labeling.rankings import store_ranking
from app.models import Completion, Task, TaskPurpose, TaskState, utc_now

from .factory import make_project, make_tasks, make_user


def ids_of(session, task: Task) -> list[str]:
    return list(
        session.scalars(
            select(Completion.id).where(Completion.task_id == task.id).order_by(Completion.position)
        )
    )


def give(session, task: Task, *ranks: Any) -> dict[str, Any]:
    return dict(zip(ids_of(session, task), ranks, strict=True))


def test_a_gold_task_keeps_a_dense_order_until_it_is_cleared(database: Database):
    with database.write() as session:
        admin = make_user(session, "boss", "admin")
        task = make_tasks(session, make_project(session), 1)[0]
        set_gold(session, admin, task.id, give(session, task, 5, 1, 5))
        task_id = task.id
    with database.write() as session:
        task = session.get_one(Task, task_id)
        assert task.purpose == TaskPurpose.GOLD
        assert task.gold_ranks == give(session, task, 2, 1, 2)
        assert (task.state, task.rankings_wanted) == ("open", 1), "it counts as before"
        assert list_events(session, limit=1)[0][0].action == "task.gold"
        clear_gold(session, None, task_id)
        clear_gold(session, None, task_id)
    with database.read() as session:
        task = session.get_one(Task, task_id)
        assert (task.purpose, task.gold_ranks) == (TaskPurpose.ORDINARY, None)


def test_clearing_leaves_a_calibration_task_alone(sqlite_database: Database):
    with sqlite_database.write() as session:
        task = make_tasks(session, make_project(session), 1)[0]
        task.purpose = TaskPurpose.CALIBRATION
        session.flush()
        assert clear_gold(session, None, task.id).purpose == TaskPurpose.CALIBRATION


@pytest.mark.parametrize("ranks", [(1, 1, 1), (1, 2, None), (0, 1, 2), (1, 2, "3"), (1, 2, True)])
def test_an_order_that_says_nothing_or_not_enough_is_refused(
    sqlite_database: Database, ranks: tuple[Any, ...]
):
    with sqlite_database.write() as session:
        task = make_tasks(session, make_project(session), 1)[0]
        with pytest.raises(Invalid):
            set_gold(session, None, task.id, give(session, task, *ranks))
        assert (task.purpose, task.gold_ranks) == (TaskPurpose.ORDINARY, None)


def test_ranks_are_by_completion_and_every_one_is_needed(sqlite_database: Database):
    with sqlite_database.write() as session:
        first, second = make_tasks(session, make_project(session), 2)
        with pytest.raises(Invalid) as caught:
            set_gold(session, None, first.id, give(session, second, 1, 2, 3))
        assert len(caught.value.fields) == 6, "three foreign, three missing"
        with pytest.raises(NotFound):
            set_gold(session, None, "nothing", {})
        with pytest.raises(NotFound):
            clear_gold(session, None, "nothing")


@pytest.mark.parametrize("state", [TaskState.PENDING, TaskState.SHORT])
def test_a_task_without_all_its_completions_cannot_be_gold(
    sqlite_database: Database, state: TaskState
):
    with sqlite_database.write() as session:
        task = make_tasks(session, make_project(session), 1)[0]
        task.state = state
        session.flush()
        with pytest.raises(Conflict):
            set_gold(session, None, task.id, give(session, task, 1, 2, 3))


def test_the_consensus_is_of_one_ranking_of_each_labeler_that_counts(database: Database):
    with database.write() as session:
        task = make_tasks(session, make_project(session), 1)[0]
        ada = make_user(session, "ada")

        def rank(labeler: Any, *ranks: int, **options: Any) -> Any:
            given = give(session, task, *ranks)
            return store_ranking(
                session, task=task, labeler=labeler, ranks=given, source="app", **options
            )

        assert load_opinions(session, task.id).consensus is None
        rank(ada, 1, 2, 3)
        rank("bob", 1, 3, 2)
        rank("eve", 2, 1, 3)
        rank("eve", 3, 2, 1, is_repeat=True)
        rank("mal", 3, 2, 1).revoked_at = utc_now()
        session.flush()
        opinions = load_opinions(session, task.id)
        assert [(r.labeler, r.ranks, r.is_repeat) for r in opinions.rankings] == [
            ("ada", [1, 2, 3], False),
            ("bob", [1, 3, 2], False),
            ("eve", [2, 1, 3], False),
            ("eve", [3, 2, 1], True),
        ]
        # Mean ranks: 4/3, 6/3, 8/3.
        assert opinions.consensus == [1, 2, 3]
        with pytest.raises(NotFound):
            load_opinions(session, "nothing")


def test_checks_are_listed_by_purpose_a_page_at_a_time(database: Database):
    with database.write() as session:
        project = make_project(session)
        tasks = make_tasks(session, project, 5)
        set_gold(session, None, tasks[1].id, give(session, tasks[1], 1, 2, 2))
        tasks[2].purpose = tasks[4].purpose = TaskPurpose.CALIBRATION
        session.flush()
        every = [item.task.id for item in list_check_tasks(session, project.id)]
        assert every == [tasks[1].id, tasks[2].id, tasks[4].id]
        gold = list_check_tasks(session, project.id, purpose=TaskPurpose.GOLD)
        assert [(item.task.id, item.prompt, item.round_number) for item in gold] == [
            (tasks[1].id, "Question 1?", 1)
        ]
        page = list_check_tasks(session, project.id, after_id=every[0], limit=1)
        assert [item.task.id for item in page] == every[1:2]
