"""Whatever labelers and admins do, in whatever order, the queue's promises hold."""

import random
from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import func, select

from app.db import Database
from app.errors import Conflict
from app.labeling import next_task
from app.labeling.drafts import save_draft
from app.labeling.pauses import pause_labeler, resume_labeler
from app.labeling.queue import (
    lease_next_task,
    renew_lease,
    return_assignment,
    skip_assignment,
)
from app.labeling.rankings import submit_ranking
from app.labeling.revocation import restore_rankings, revoke_rankings
from app.labeling.slots import return_leases
from app.labeling.submissions import Submission, dense_ranks
from app.models import (
    Assignment,
    AssignmentState,
    Project,
    Ranking,
    RankingEntry,
    Task,
    TaskPurpose,
    TaskState,
    User,
    new_id,
    utc_now,
)

from .factory import make_project, make_tasks, make_user

PEOPLE = 4
LEASE_SECONDS = 60
person = st.integers(0, PEOPLE - 1)
some_ranks = st.lists(st.integers(1, 3), min_size=3, max_size=3)


class Queue(RuleBasedStateMachine):
    """A project with ordinary, calibration and gold tasks, four labelers, and an admin.

    What was promised to whom is kept here and compared with the tables after every step.
    """

    database: Database

    def __init__(self) -> None:
        super().__init__()
        tag = new_id()
        with self.database.write() as session:
            self.project: Project = make_project(session, name=tag)
            self.project.gold_share, self.project.repeat_share = 0.3, 0.2
            ordinary = make_tasks(session, self.project, 4, wanted=2)
            checks = make_tasks(session, self.project, 2, number=2)
            checks[0].purpose, checks[1].purpose = TaskPurpose.CALIBRATION, TaskPurpose.GOLD
            self.people: list[User] = [
                make_user(session, f"{tag}-{number}") for number in range(PEOPLE)
            ]
            self.ordinary = {task.id for task in ordinary}
            for place, task in enumerate([*ordinary, *checks]):
                task.shuffle_key = place
        next_task._draw.seed(0)
        self.held: dict[int, str] = {}
        """Assignment in hand, by person."""
        self.submitted: dict[str, tuple[int, dict[str, int]]] = {}
        """Person and dense ranks of each submitted assignment that counts."""
        self.drafts: dict[str, dict[str, int]] = {}
        self.revoked: dict[str, tuple[int, dict[str, int]]] = {}
        self.paused: set[int] = set()
        self.over: set[str] = set()
        """Tasks that may have more than they wanted, because rankings were restored."""

    @rule(who=person)
    def lease(self, who: int) -> None:
        with self.database.write() as session:
            got = lease_next_task(
                session, self.people[who], self.project.id, lease_seconds=LEASE_SECONDS
            )
            if got is None:
                assert who in self.paused or who not in self.held
                return
            assert who not in self.paused
            assert self.held.get(who, got.id) == got.id, "a lease in hand is given again"
            assert got.id not in self.submitted
            assert (got.draft or {}).get("ranks") == self.drafts.get(got.id)
            self.held[who] = got.id

    @precondition(lambda self: self.held)
    @rule(data=st.data(), ranks=some_ranks)
    def submit(self, data: st.DataObject, ranks: list[int]) -> None:
        who = data.draw(st.sampled_from(sorted(self.held)))
        assignment_id = self.held.pop(who)
        given = self._submit(who, assignment_id, ranks)
        assert given is not None, "a lease in hand can be submitted"
        self.submitted[assignment_id] = (who, given)
        self.drafts.pop(assignment_id, None)

    @precondition(lambda self: self.submitted)
    @rule(data=st.data(), ranks=some_ranks, twice=st.booleans())
    def revise(self, data: st.DataObject, ranks: list[int], twice: bool) -> None:
        assignment_id = data.draw(st.sampled_from(list(self.submitted)))
        who, _ = self.submitted[assignment_id]
        for _ in range(1 + twice):
            given = self._submit(who, assignment_id, ranks)
            assert given is not None
            self.submitted[assignment_id] = (who, given)

    @precondition(lambda self: self.revoked)
    @rule(data=st.data(), ranks=some_ranks)
    def revise_what_was_revoked(self, data: st.DataObject, ranks: list[int]) -> None:
        assignment_id = data.draw(st.sampled_from(list(self.revoked)))
        assert self._submit(self.revoked[assignment_id][0], assignment_id, ranks) is None

    @precondition(lambda self: self.held)
    @rule(data=st.data(), how=st.sampled_from(["skip", "return", "sign out"]))
    def give_back(self, data: st.DataObject, how: str) -> None:
        who = data.draw(st.sampled_from(sorted(self.held)))
        assignment_id = self.held.pop(who)
        with self.database.write() as session:
            if how == "skip":
                skip_assignment(session, self.people[who], assignment_id, "other")
            elif how == "return":
                return_assignment(session, self.people[who], assignment_id)
            else:
                assert return_leases(session, self.people[who]) == 1

    @precondition(lambda self: self.held)
    @rule(data=st.data(), ranks=some_ranks)
    def draft(self, data: st.DataObject, ranks: list[int]) -> None:
        who = data.draw(st.sampled_from(sorted(self.held)))
        with self.database.write() as session:
            shown = session.get_one(Assignment, self.held[who]).shown_order
            given = dict(zip(shown[:2], ranks, strict=False))
            _, held = save_draft(
                session,
                self.people[who],
                self.held[who],
                Submission(ranks=given),
                lease_seconds=LEASE_SECONDS,
            )
            assert held
        self.drafts[self.held[who]] = given

    @precondition(lambda self: self.held)
    @rule(data=st.data(), then=st.sampled_from(["nothing", "renew", "submit"]), ranks=some_ranks)
    def expire(self, data: st.DataObject, then: str, ranks: list[int]) -> None:
        """Nobody notices until somebody asks; the person may be back before that, or after."""
        who = data.draw(st.sampled_from(sorted(self.held)))
        assignment_id = self.held.pop(who)
        with self.database.write() as session:
            lost = session.get_one(Assignment, assignment_id)
            lost.lease_expires_at = utc_now() - timedelta(seconds=1)
        other = data.draw(st.sampled_from([one for one in range(PEOPLE) if one != who]))
        self.lease(other)
        if then == "renew":
            with self.database.write() as session:
                try:
                    renew_lease(
                        session, self.people[who], assignment_id, lease_seconds=LEASE_SECONDS
                    )
                    self.held[who] = assignment_id
                except Conflict:
                    assert self._is_full(session, assignment_id)
        elif then == "submit":
            given = self._submit(who, assignment_id, ranks)
            if given is not None:
                self.submitted[assignment_id] = (who, given)
                self.drafts.pop(assignment_id, None)

    @rule(who=person)
    def revoke(self, who: int) -> None:
        mine = {key for key, (owner, _) in self.submitted.items() if owner == who}
        with self.database.write() as session:
            done = revoke_rankings(
                session, None, self.project.id, self.people[who].handle, reason="spam"
            )
        assert done.rankings == len(mine)
        for key in mine:
            self.revoked[key] = self.submitted.pop(key)

    @rule(who=person)
    def restore(self, who: int) -> None:
        mine = {key for key, (owner, _) in self.revoked.items() if owner == who}
        with self.database.write() as session:
            restored = restore_rankings(session, None, self.project.id, self.people[who].handle)
            self.over |= set(
                session.scalars(select(Assignment.task_id).where(Assignment.id.in_(mine)))
            )
        assert restored == len(mine)
        for key in mine:
            self.submitted[key] = self.revoked.pop(key)

    @rule(who=person)
    def pause_or_resume(self, who: int) -> None:
        with self.database.write() as session:
            if who in self.paused:
                resume_labeler(session, None, self.project.id, self.people[who])
                self.paused.discard(who)
            else:
                pause_labeler(session, None, self.project.id, self.people[who], reason="a word")
                self.paused.add(who)
                self.held.pop(who, None)

    @invariant()
    def what_was_submitted_is_stored_and_counts(self) -> None:
        with self.database.read() as session:
            counting = session.scalars(
                select(Ranking).where(
                    Ranking.project_id == self.project.id,
                    Ranking.current,
                    Ranking.revoked_at.is_(None),
                )
            ).all()
            stored: dict[str, dict[str, int]] = {one.assignment_id: {} for one in counting}
            entries = (
                select(RankingEntry, Ranking.assignment_id)
                .join(Ranking)
                .where(Ranking.id.in_([one.id for one in counting]))
            )
            for entry, assignment_id in session.execute(entries):
                stored[assignment_id][entry.completion_id] = entry.rank
            assert stored == {key: given for key, (_, given) in self.submitted.items()}
            once = Counter((one.task_id, one.labeler) for one in counting if not one.is_repeat)
            assert set(once.values()) <= {1}

    @invariant()
    def every_task_counts_right(self) -> None:
        with self.database.read() as session:
            tasks = session.scalars(select(Task).where(Task.project_id == self.project.id)).all()
            got = dict(
                session.execute(
                    select(Ranking.task_id, func.count())
                    .where(
                        Ranking.project_id == self.project.id,
                        Ranking.current,
                        Ranking.revoked_at.is_(None),
                        ~Ranking.is_repeat,
                    )
                    .group_by(Ranking.task_id)
                ).all()
            )
            slots = Counter(
                session.scalars(
                    select(Assignment.task_id).where(
                        Assignment.project_id == self.project.id, Assignment.slot.is_not(None)
                    )
                )
            )
            for task in tasks:
                assert task.rankings_got == got.get(task.id, 0)
                assert task.slots_taken == slots[task.id]
                full = task.rankings_got >= task.rankings_wanted
                assert task.state == (TaskState.COMPLETE if full else TaskState.OPEN)
                if task.id in self.ordinary - self.over:
                    assert task.slots_taken <= task.rankings_wanted

    @invariant()
    def nobody_holds_two(self) -> None:
        with self.database.read() as session:
            live = session.execute(
                select(Assignment.user_id, Assignment.id).where(
                    Assignment.project_id == self.project.id,
                    Assignment.state == AssignmentState.LEASED,
                    Assignment.lease_expires_at > utc_now(),
                )
            ).all()
            assert dict(live) == {self.people[who].id: held for who, held in self.held.items()}
            assert len(live) == len(self.held)

    def _submit(self, who: int, assignment_id: str, ranks: list[int]) -> dict[str, int] | None:
        """The dense ranks that were stored; None when the task went to others."""
        with self.database.write() as session:
            shown = session.get_one(Assignment, assignment_id).shown_order
            given = dict(zip(shown, ranks, strict=True))
            try:
                submit_ranking(session, self.people[who], assignment_id, Submission(ranks=given))
            except Conflict:
                return None
            return dense_ranks(given)

    def _is_full(self, session, assignment_id: str) -> bool:
        task_id = session.get_one(Assignment, assignment_id).task_id
        return session.get_one(Task, task_id).slots_free < 1


@pytest.mark.slow
def test_the_promises_hold_after_every_step(database, monkeypatch):
    # The same steps must lead to the same leases: chance begins anew with every run.
    monkeypatch.setattr(next_task, "_draw", random.Random())
    monkeypatch.setattr(next_task.Asker, "start", 0)
    machine = type("QueueOnDatabase", (Queue,), {"database": database})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25,
            stateful_step_count=40,
            deadline=None,
            # Making a failure smaller takes minutes on PostgreSQL: add Phase.shrink to look at one.
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
