"""In an A/B round every policy stands at every place equally often, for everybody."""

import random
from collections import Counter

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Database
from app.labeling.order import present
from app.labeling.queue import lease_next_task, return_assignment, skip_assignment
from app.labeling.rankings import submit_ranking
from app.labeling.submissions import Submission
from app.models import Assignment, Completion, Model, Project, Round, Task, User
from tests.labeling.factory import make_project, make_tasks, make_user

LEASE = 600


def make_ab_round(
    session: Session, tasks: int, *, wanted: int = 1, each: int = 1, policies: int = 2
) -> Project:
    """A project with an open A/B round, `each` completions of every policy on each task."""
    project = make_project(session)
    names = [f"v{number}" for number in range(policies)]
    session.add_all(
        Model(id=name, name=name, kind="policy", source="folder", location=name) for name in names
    )
    session.flush()
    texts = tuple(f"text {place}" for place in range(policies * each))
    made = make_tasks(session, project, tasks, wanted=wanted, texts=texts)
    round_ = session.get_one(Round, made[0].round_id)
    round_.policies = names
    round_.baseline_id, round_.candidate_id = names[:2]
    for completion in session.scalars(select(Completion)):
        completion.model_id = names[completion.position % policies]
    session.flush()
    return project


def work(session: Session, user: User, project: Project, tasks: int) -> None:
    for _ in range(tasks):
        assignment = lease_next_task(session, user, project.id, lease_seconds=LEASE)
        assert assignment is not None
        ranks = dict.fromkeys(assignment.shown_order, 1)
        submit_ranking(session, user, assignment.id, Submission(ranks=ranks))


def count_places(session: Session, *where: object) -> Counter[tuple[str, int]]:
    policies = dict(session.execute(select(Completion.id, Completion.model_id)).all())
    shown = session.scalars(
        select(Assignment.shown_order).where(Assignment.slot.is_not(None), *where)
    )
    return Counter((policies[one], place) for order in shown for place, one in enumerate(order))


def test_each_policy_stands_first_equally_often_for_each_labeler_and_over_all(
    database: Database,
) -> None:
    """Five labelers, each with an even number of tasks in a mixed order of coming: exactly half."""
    with database.write() as session:
        project = make_ab_round(session, 40)
        people = [make_user(session, f"p{number}") for number in range(5)]
        turns = [person for person in people for _ in range(8)]
        random.Random(1).shuffle(turns)
        for person in turns:
            work(session, person, project, 1)
        for person in people:
            mine = count_places(session, Assignment.user_id == person.id)
            assert mine[("v1", 0)] == mine[("v0", 0)] == 4
        total = count_places(session)
        assert total[("v1", 0)] == total[("v0", 0)] == 20


def test_an_odd_number_of_tasks_leaves_one_over_at_most(database: Database) -> None:
    with database.write() as session:
        project = make_ab_round(session, 7)
        person = make_user(session, "ada")
        work(session, person, project, 7)
        total = count_places(session)
    assert abs(total[("v1", 0)] - total[("v0", 0)]) == 1


def test_labelers_of_one_task_see_both_orders_where_both_are_as_fair(database: Database) -> None:
    with database.write() as session:
        project = make_ab_round(session, 1, wanted=2)
        first, second = make_user(session, "ada"), make_user(session, "bob")
        work(session, first, project, 1)
        work(session, second, project, 1)
        orders = session.scalars(select(Assignment.shown_order)).all()
    assert orders[0] == orders[1][::-1]


def test_what_was_not_ranked_is_no_look(database: Database) -> None:
    """A task that was skipped or returned takes no turn of a policy."""
    with database.write() as session:
        project = make_ab_round(session, 9)
        person = make_user(session, "ada")
        skipped = lease_next_task(session, person, project.id, lease_seconds=LEASE)
        assert skipped is not None
        skip_assignment(session, person, skipped.id, "I cannot judge this")
        returned = lease_next_task(session, person, project.id, lease_seconds=LEASE)
        assert returned is not None
        return_assignment(session, person, returned.id)
        work(session, person, project, 8)
        mine = count_places(session)
    assert mine[("v1", 0)] == mine[("v0", 0)] == 4


@pytest.mark.parametrize(
    ("each", "policies", "slack"), [(1, 2, 0), (1, 3, 0), (2, 2, 2), (1, 4, 3), (3, 3, 3)]
)
def test_every_policy_stands_at_every_place_equally_often(
    sqlite_database: Database, each: int, policies: int, slack: int
) -> None:
    """Exactly for two or three completions. Of more, a task's square does not offer every order:
    in 400 simulated rounds each, no place was off its share by more than 1, 2 and 2."""
    places = each * policies
    with sqlite_database.write() as session:
        project = make_ab_round(session, 4 * places, each=each, policies=policies)
        person = make_user(session, "ada")
        work(session, person, project, 4 * places)
        counts = count_places(session)
    assert sum(counts.values()) == 4 * places * places
    assert len(counts) == policies * places
    assert all(abs(count - 4 * each) <= slack for count in counts.values()), counts


def test_the_order_of_an_ordinary_round_is_drawn_as_ever(database: Database) -> None:
    """The first labeler of a task sees the first row of its square."""
    with database.write() as session:
        project = make_ab_round(session, 5)
        round_ = session.scalars(select(Round)).one()
        round_.candidate_id = round_.baseline_id = None
        session.flush()
        person = make_user(session, "ada")
        work(session, person, project, 5)
        for assignment in session.scalars(select(Assignment)):
            task = session.get_one(Task, assignment.task_id)
            assert assignment.shown_order == present(task.id, sorted(assignment.shown_order), 0)
