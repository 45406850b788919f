"""What is mixed into a labeler's tasks: calibration, gold, repeats; priorities and pauses."""

import pytest
from sqlalchemy import select

from app.errors import Conflict
from app.labeling import next_task
from app.labeling.drafts import save_draft
from app.labeling.pauses import find_pause, pause_labeler, resume_labeler
from app.labeling.queue import lease_next_task, skip_assignment
from app.labeling.rankings import submit_ranking
from app.labeling.slots import expire_leases
from app.models import (
    Assignment,
    AssignmentState,
    Ranking,
    Task,
    TaskPurpose,
    TaskState,
)

from .acts import in_order, lapse, lease_and_rank, rank_all
from .factory import make_project, make_tasks, make_user


class Drawn:
    """In place of chance: every draw is the same number, every choice the first."""

    def __init__(self, number: float) -> None:
        self.number = number

    def random(self) -> float:
        return self.number

    def choice(self, choices):
        return choices[0]


def test_everybody_ranks_the_calibration_tasks_and_others_are_ranked_as_often_as_wanted(database):
    with database.write() as session:
        project = make_project(session)
        tasks = make_tasks(session, project, 12, wanted=2)
        for task in tasks[:3]:
            task.purpose = TaskPurpose.CALIBRATION
        people = [make_user(session, f"labeler{number}") for number in range(5)]
        for person in people:
            rank_all(session, person, project)
        counts = {task.id: task.rankings_got for task in session.scalars(select(Task))}
        assert [counts[task.id] for task in tasks] == [5] * 3 + [2] * 9
        assert {task.state for task in tasks} == {TaskState.COMPLETE}
        assert {task.slots_free for task in tasks[:3]} == {-3}


def test_a_calibration_task_shows_its_completions_in_balanced_order(database):
    with database.write() as session:
        project = make_project(session)
        (task,) = make_tasks(session, project, 1, texts=tuple("abcd"))
        task.purpose = TaskPurpose.CALIBRATION
        for number in range(4):
            rank_all(session, make_user(session, f"labeler{number}"), project)
        orders = session.scalars(select(Assignment.shown_order)).all()
        for place in range(4):
            assert len({order[place] for order in orders}) == 4


def test_gold_comes_at_its_share_and_else_only_to_fill_its_slots(database, monkeypatch):
    with database.write() as session:
        project = make_project(session)
        tasks = make_tasks(session, project, 4)
        tasks[0].purpose = TaskPurpose.GOLD
        monkeypatch.setattr(next_task, "_draw", Drawn(0.0))
        first = lease_next_task(session, make_user(session, "ada"), project.id, lease_seconds=60)
        assert first.task_id == tasks[0].id, "a low draw gives gold, though there are others"
        monkeypatch.setattr(next_task, "_draw", Drawn(0.99))
        bob = make_user(session, "bob")
        assert len(rank_all(session, bob, project)) == 3, "its slot is taken: no more of gold"
        monkeypatch.setattr(next_task, "_draw", Drawn(0.0))
        assert len(rank_all(session, bob, project)) == 1, "but the share still gives it"


def test_a_gold_task_without_takers_is_given_in_the_end(database, monkeypatch):
    with database.write() as session:
        project = make_project(session)
        tasks = make_tasks(session, project, 2)
        tasks[0].purpose = TaskPurpose.GOLD
        monkeypatch.setattr(next_task, "_draw", Drawn(0.99))
        done = rank_all(session, make_user(session), project)
        assert [assignment.task_id for assignment in done] == [tasks[1].id, tasks[0].id]


def test_a_repeat_is_an_own_task_of_some_time_ago_the_other_way_round(database, monkeypatch):
    with database.write() as session:
        project = make_project(session)
        make_tasks(session, project, 14)
        user = make_user(session)
        monkeypatch.setattr(next_task, "_draw", Drawn(0.3))
        firsts = [lease_and_rank(session, user, project) for _ in range(next_task.REPEAT_GAP + 1)]
        project.repeat_share = 0.5
        repeat = lease_next_task(session, user, project.id, lease_seconds=60)
        assert repeat.is_repeat
        assert repeat.task_id == firsts[0].task_id
        assert repeat.shown_order == firsts[0].shown_order[::-1]
        ranking = submit_ranking(session, user, repeat.id, in_order(repeat))
        again = submit_ranking(session, user, repeat.id, in_order(firsts[0]))
        assert (ranking.is_repeat, ranking.current, again.revision) == (True, False, 2)
        task = session.get_one(Task, repeat.task_id)
        session.refresh(task)
        assert (task.rankings_got, task.slots_taken) == (1, 1), "a repeat counts for nothing"
        first = session.scalars(select(Ranking).where(Ranking.assignment_id == firsts[0].id)).one()
        assert first.current, "the first look stays what counts"
        other = lease_next_task(session, user, project.id, lease_seconds=60)
        assert other.task_id != repeat.task_id, "nothing is repeated twice"


def test_an_expired_repeat_is_taken_up_again_and_can_be_skipped(database, monkeypatch):
    with database.write() as session:
        project = make_project(session)
        make_tasks(session, project, 12)
        user = make_user(session)
        monkeypatch.setattr(next_task, "_draw", Drawn(0.3))
        for _ in range(next_task.REPEAT_GAP + 1):
            lease_and_rank(session, user, project)
        project.repeat_share = 0.5
        repeat = lease_next_task(session, user, project.id, lease_seconds=60)
        taken = session.get_one(Task, repeat.task_id).slots_taken
        lapse(session, repeat)
        assert expire_leases(session) == 1
        assert session.get_one(Task, repeat.task_id).slots_taken == taken
        assert lease_next_task(session, user, project.id, lease_seconds=60).id == repeat.id
        skip_assignment(session, user, repeat.id, "other")
        assert not lease_next_task(session, user, project.id, lease_seconds=60).is_repeat


def test_the_first_priority_comes_first(database):
    with database.write() as session:
        project = make_project(session)
        later = make_tasks(session, project, 3)
        urgent = make_tasks(session, project, 3, wanted=3, number=2)
        for task in urgent:
            task.priority = 2
        done = rank_all(session, make_user(session), project)
        got = [assignment.task_id for assignment in done]
        assert set(got[:3]) == {task.id for task in urgent}
        assert set(got[3:]) == {task.id for task in later}


def test_a_paused_labeler_gets_nothing_and_gives_back_what_they_hold(database):
    with database.write() as session:
        project = make_project(session)
        make_tasks(session, project, 2)
        admin, user = make_user(session, "boss", "admin"), make_user(session)
        held = lease_next_task(session, user, project.id, lease_seconds=60)
        pause_labeler(session, admin, project.id, user, reason="Let us talk first.")
        assert held.state == AssignmentState.RETURNED
        with pytest.raises(Conflict, match="paused"):
            submit_ranking(session, user, held.id, in_order(held))
        _, holds = save_draft(session, user, held.id, in_order(held), lease_seconds=60)
        assert not holds, "a page left open keeps its draft and takes nothing up again"
        assert lease_next_task(session, user, project.id, lease_seconds=60) is None
        assert find_pause(session, user, project.id).reason == "Let us talk first."
        elsewhere = make_project(session, name="Elsewhere")
        make_tasks(session, elsewhere, 1)
        assert lease_next_task(session, user, elsewhere.id, lease_seconds=60)
        resume_labeler(session, admin, project.id, user)
        assert lease_next_task(session, user, project.id, lease_seconds=60)


def test_a_ranking_that_was_revoked_can_not_be_edited(database):
    from app.labeling.revocation import revoke_rankings

    with database.write() as session:
        project, user = make_project(session), make_user(session)
        make_tasks(session, project, 1)
        done = lease_and_rank(session, user, project)
        revoke_rankings(session, None, project.id, user.handle, reason="spam")
        with pytest.raises(Conflict, match="revoked"):
            submit_ranking(session, user, done.id, in_order(done))
