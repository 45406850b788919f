import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select

from app.errors import Conflict, NotFound
from app.labeling.drafts import save_draft
from app.labeling.queue import (
    expire_leases,
    lease_next_task,
    renew_lease,
    return_assignment,
    skip_assignment,
)
from app.labeling.rankings import submit_ranking
from app.labeling.slots import return_leases
from app.labeling.submissions import Submission
from app.models import (
    AssignmentState,
    Completion,
    Membership,
    Ranking,
    Round,
    RoundState,
    Task,
    TaskState,
)

from .acts import in_order, lapse
from .factory import make_project, make_tasks, make_user


def test_a_labeler_gets_each_task_once_and_then_none(database):
    with database.write() as session:
        project, user = make_project(session), make_user(session)
        tasks = make_tasks(session, project, 5)
        got = []
        while assignment := lease_next_task(session, user, project.id, lease_seconds=60):
            got.append(assignment.task_id)
            submit_ranking(session, user, assignment.id, in_order(assignment))
        assert sorted(got) == sorted(task.id for task in tasks)


def test_a_held_lease_is_given_again_and_lasts_longer(database):
    with database.write() as session:
        project, user = make_project(session), make_user(session)
        make_tasks(session, project, 3)
        first = lease_next_task(session, user, project.id, lease_seconds=60)
        until = first.lease_expires_at
        again = lease_next_task(session, user, project.id, lease_seconds=600)
        assert again.id == first.id
        assert again.lease_expires_at > until


def test_no_more_labelers_than_wanted_hold_a_task(database):
    with database.write() as session:
        project = make_project(session)
        make_tasks(session, project, 1, wanted=2)
        users = [make_user(session, name) for name in ("ada", "bob", "cyd")]
        held = [lease_next_task(session, u, project.id, lease_seconds=60) for u in users]
        assert [assignment and assignment.slot for assignment in held] == [0, 1, None]


def test_tasks_with_the_fewest_free_slots_come_first(database):
    with database.write() as session:
        project = make_project(session)
        make_tasks(session, project, 20, wanted=3)
        ada, bob, cyd = (make_user(session, name) for name in ("ada", "bob", "cyd"))
        first = lease_next_task(session, ada, project.id, lease_seconds=60)
        second = lease_next_task(session, bob, project.id, lease_seconds=60)
        third = lease_next_task(session, cyd, project.id, lease_seconds=60)
        assert first.task_id == second.task_id == third.task_id


def test_the_most_uncertain_tasks_of_a_priority_come_first_where_the_project_asks(database):
    with database.write() as session:
        project, user = make_project(session), make_user(session)
        tasks = make_tasks(session, project, 6)
        for task, uncertainty in zip(tasks, [0.1, 3.0, None, 0.5, 9.0, None], strict=True):
            task.uncertainty = uncertainty
        tasks[2].priority = 1
        tasks[4].priority = 9
        project.uncertain_first = True
        session.flush()
        got = []
        while assignment := lease_next_task(session, user, project.id, lease_seconds=60):
            got.append(tasks.index(session.get_one(Task, assignment.task_id)))
            submit_ranking(session, user, assignment.id, in_order(assignment))
    assert got == [2, 1, 3, 0, 5, 4]


def test_uncertainty_changes_nothing_where_the_project_does_not_ask(database):
    with database.write() as session:
        project, user = make_project(session), make_user(session)
        tasks = make_tasks(session, project, 2)
        tasks[0].rankings_wanted, tasks[1].rankings_wanted = 1, 2
        tasks[1].uncertainty = 5.0
        session.flush()
        assignment = lease_next_task(session, user, project.id, lease_seconds=60)
        assert assignment.task_id == tasks[0].id


def test_labelers_start_at_different_tasks(database):
    with database.write() as session:
        project = make_project(session)
        make_tasks(session, project, 30)
        users = [make_user(session, f"labeler{number}") for number in range(6)]
        orders = []
        for user in users:
            assignment = lease_next_task(session, user, project.id, lease_seconds=60)
            orders.append(assignment.task_id)
            return_assignment(session, user, assignment.id)
        assert len(set(orders)) > 2


def test_the_order_shown_is_shuffled_for_each_assignment(database):
    with database.write() as session:
        project, user = make_project(session), make_user(session)
        make_tasks(session, project, 30, texts=tuple("abcd"))
        orders = set()
        while assignment := lease_next_task(session, user, project.id, lease_seconds=60):
            places = dict(
                session.execute(
                    select(Completion.id, Completion.position).where(
                        Completion.task_id == assignment.task_id
                    )
                ).all()
            )
            orders.add(tuple(places[completion] for completion in assignment.shown_order))
            submit_ranking(session, user, assignment.id, in_order(assignment))
        assert len(orders) > 5


def test_an_expired_lease_frees_its_slot_and_keeps_its_draft(database):
    with database.write() as session:
        project = make_project(session)
        make_tasks(session, project, 1)
        ada, bob = make_user(session, "ada"), make_user(session, "bob")
        lost = lease_next_task(session, ada, project.id, lease_seconds=60)
        save_draft(
            session, ada, lost.id, Submission(ranks={lost.shown_order[0]: 2}), lease_seconds=60
        )
        lapse(session, lost)
        taken = lease_next_task(session, bob, project.id, lease_seconds=60)
        assert taken.task_id == lost.task_id
        assert (lost.state, lost.slot) == (AssignmentState.EXPIRED, None)
        assert lost.draft["ranks"] == {lost.shown_order[0]: 2}


def test_an_expired_task_comes_back_first_with_its_draft(database):
    with database.write() as session:
        project, user = make_project(session), make_user(session)
        make_tasks(session, project, 10)
        lost = lease_next_task(session, user, project.id, lease_seconds=60)
        order = list(lost.shown_order)
        save_draft(session, user, lost.id, Submission(ranks={order[0]: 1}), lease_seconds=60)
        lapse(session, lost)
        assert expire_leases(session) == 1
        back = lease_next_task(session, user, project.id, lease_seconds=60)
        assert back.id == lost.id
        assert back.shown_order == order
        assert back.draft["ranks"] == {order[0]: 1}


def test_a_skipped_task_never_comes_back_and_goes_to_another(database):
    with database.write() as session:
        project = make_project(session)
        make_tasks(session, project, 1)
        ada, bob = make_user(session, "ada"), make_user(session, "bob")
        skipped = lease_next_task(session, ada, project.id, lease_seconds=60)
        skip_assignment(session, ada, skipped.id, "not my field")
        skip_assignment(session, ada, skipped.id, "again")
        assert skipped.skip_reason == "not my field"
        assert lease_next_task(session, ada, project.id, lease_seconds=60) is None
        assert lease_next_task(session, bob, project.id, lease_seconds=60) is not None


def test_a_returned_task_may_come_back(database):
    with database.write() as session:
        project, user = make_project(session), make_user(session)
        make_tasks(session, project, 1)
        first = lease_next_task(session, user, project.id, lease_seconds=60)
        assert return_leases(session, user) == 1
        assert first.slot is None
        again = lease_next_task(session, user, project.id, lease_seconds=60)
        assert again.id == first.id


def test_renewing_takes_an_expired_lease_up_again_while_the_task_is_free(database):
    with database.write() as session:
        project = make_project(session)
        make_tasks(session, project, 1)
        ada, bob = make_user(session, "ada"), make_user(session, "bob")
        held = lease_next_task(session, ada, project.id, lease_seconds=60)
        lapse(session, held)
        expire_leases(session)
        assert renew_lease(session, ada, held.id, lease_seconds=60).slot == 0
        lapse(session, held)
        lease_next_task(session, bob, project.id, lease_seconds=60)
        with pytest.raises(Conflict):
            renew_lease(session, ada, held.id, lease_seconds=60)


def test_a_restricted_project_is_absent_for_who_is_not_its_member(database):
    with database.write() as session:
        project = make_project(session, restricted=True)
        make_tasks(session, project, 1)
        member, stranger = make_user(session, "ada"), make_user(session, "bob")
        session.add(Membership(project_id=project.id, user_id=member.id))
        session.flush()
        with pytest.raises(NotFound):
            lease_next_task(session, stranger, project.id, lease_seconds=60)
        assert lease_next_task(session, member, project.id, lease_seconds=60) is not None


def test_closed_rounds_and_unopened_tasks_are_not_given(database):
    with database.write() as session:
        project, user = make_project(session), make_user(session)
        closed = make_tasks(session, project, 2)
        session.get(Round, closed[0].round_id).state = RoundState.CLOSED
        for task in make_tasks(session, project, 2, number=2):
            task.state = TaskState.PENDING
        session.flush()
        assert lease_next_task(session, user, project.id, lease_seconds=60) is None


def test_somebody_elses_assignment_is_absent(database):
    with database.write() as session:
        project = make_project(session)
        make_tasks(session, project, 1)
        ada, bob = make_user(session, "ada"), make_user(session, "bob")
        held = lease_next_task(session, ada, project.id, lease_seconds=60)
        for use in (
            lambda: renew_lease(session, bob, held.id, lease_seconds=60),
            lambda: return_assignment(session, bob, held.id),
            lambda: skip_assignment(session, bob, held.id, "no"),
            lambda: submit_ranking(session, bob, held.id, in_order(held)),
            lambda: save_draft(session, bob, held.id, Submission(ranks={}), lease_seconds=60),
        ):
            with pytest.raises(NotFound):
                use()


def test_twenty_labelers_at_once_give_exactly_the_rankings_wanted(database):
    """20 labelers, 40 tasks, 3 rankings each: 120 rankings, whoever asks at the same moment."""
    labelers, task_count, wanted = 20, 40, 3
    with database.write() as session:
        project = make_project(session)
        make_tasks(session, project, task_count, wanted=wanted)
        users = [make_user(session, f"labeler{number}") for number in range(labelers)]
        project_id = project.id
    start = threading.Barrier(labelers)

    def work(user) -> None:
        start.wait()
        while True:
            with database.write() as session:
                assignment = lease_next_task(session, user, project_id, lease_seconds=60)
            if assignment is None:
                return
            with database.write() as session:
                submit_ranking(session, user, assignment.id, in_order(assignment))

    with ThreadPoolExecutor(labelers) as pool:
        list(pool.map(work, users))
    with database.read() as session:
        per_task = Counter(session.scalars(select(Ranking.task_id)))
        assert len(per_task) == task_count
        assert set(per_task.values()) == {wanted}
        twice = select(Ranking.task_id).group_by(Ranking.task_id, Ranking.user_id)
        assert session.scalars(twice.having(func.count() > 1)).all() == []
        tasks = session.scalars(select(Task)).all()
        assert {(t.state, t.rankings_got, t.slots_taken, t.slots_free) for t in tasks} == {
            ("complete", wanted, wanted, 0)
        }
