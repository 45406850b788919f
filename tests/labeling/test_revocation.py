import pytest
from sqlalchemy import func, select

from app.accounts.audit import list_events
from app.errors import Invalid
from app.labeling.queue import lease_next_task
from app.labeling.rankings import store_ranking, submit_ranking
from app.labeling.revocation import find_touched, restore_rankings, revoke_rankings
from app.models import (
    AssignmentState,
    Completion,
    Model,
    Ranking,
    Round,
    Task,
    TaskState,
)
from app.preferences.pair_counts import count_pairs
from app.preferences.snapshots import count_revoked, create_snapshot

from .acts import in_order, lease_and_rank, rank_all
from .factory import make_project, make_tasks, make_user


def test_revoked_rankings_are_kept_marked_and_give_no_pairs(database):
    with database.write() as session:
        project, admin = make_project(session), make_user(session, "boss", "admin")
        tasks = make_tasks(session, project, 3, wanted=2)
        ada, bob = make_user(session, "ada"), make_user(session, "bob")
        rank_all(session, ada, project)
        rank_all(session, bob, project)
        assert count_pairs(session, project.id).pairs == 18
        done = revoke_rankings(session, admin, project.id, "bob", reason="Clicked through.")
        assert (done.rankings, done.reopened_tasks) == (3, 3)
        assert count_pairs(session, project.id).pairs == 9
        kept = session.scalars(select(Ranking).where(Ranking.labeler == "bob")).all()
        assert {(r.revoked_by, r.revoke_reason, r.current) for r in kept} == {
            (admin.id, "Clicked through.", True)
        }
        assert {(t.state, t.rankings_got, t.slots_free) for t in tasks} == {(TaskState.OPEN, 1, 1)}
        event, _ = list_events(session)[0]
        assert (event.action, event.details["rankings"]) == ("labeler.revoke", 3)
        assert lease_next_task(session, bob, project.id, lease_seconds=60) is None
        assert len(rank_all(session, make_user(session, "cyd"), project)) == 3


def test_restoring_brings_all_back_though_others_ranked_meanwhile(database):
    with database.write() as session:
        project = make_project(session)
        tasks = make_tasks(session, project, 2)
        ada = make_user(session, "ada")
        mine = rank_all(session, ada, project)
        revoke_rankings(session, None, project.id, "ada", reason="by mistake")
        lease_and_rank(session, make_user(session, "bob"), project)
        assert restore_rankings(session, None, project.id, "ada") == 2
        assert sorted(task.rankings_got for task in tasks) == [1, 2]
        assert {task.state for task in tasks} == {TaskState.COMPLETE}
        assert {one.state for one in mine} == {AssignmentState.SUBMITTED}
        assert sorted(one.slot for one in mine) == [0, 1]
        assert restore_rankings(session, None, project.id, "ada") == 0


def test_revoking_an_import_leaves_its_round_wanting_nothing(database):
    with database.write() as session:
        project = make_project(session)
        (task,) = make_tasks(session, project, 1, wanted=0)
        session.get_one(Round, task.round_id).labelers_per_task = 0
        task.state = TaskState.COMPLETE
        ids = session.scalars(select(Completion.id)).all()
        for labeler in ("x/y?z", "other"):
            task.rankings_wanted += 1
            session.flush()
            ranks = {completion: place for place, completion in enumerate(ids, start=1)}
            store_ranking(session, task=task, labeler=labeler, ranks=ranks, source="import")
        assert revoke_rankings(session, None, project.id, "x/y?z", reason="spam").rankings == 1
        assert (task.rankings_wanted, task.rankings_got, task.slots_free) == (1, 1, 0)
        assert task.state == TaskState.COMPLETE
        restore_rankings(session, None, project.id, "x/y?z")
        assert (task.rankings_wanted, task.rankings_got, task.slots_free) == (2, 2, 0)


def test_only_the_labeler_and_project_named_are_touched_and_a_reason_is_needed(database):
    with database.write() as session:
        one, two = make_project(session, name="One"), make_project(session, name="Two")
        ada = make_user(session, "ada")
        for project in (one, two):
            make_tasks(session, project, 1)
            rank_all(session, ada, project)
        with pytest.raises(Invalid):
            revoke_rankings(session, None, one.id, "ada", reason=" ")
        assert revoke_rankings(session, None, one.id, "nobody", reason="spam").rankings == 0
        revoke_rankings(session, None, one.id, "ada", reason="spam")
        left = select(Ranking.project_id).where(Ranking.revoked_at.is_(None))
        assert session.scalars(left).all() == [two.id]


def test_what_rests_on_the_rankings_is_found_at_any_depth(database):
    with database.write() as session:
        project, admin = make_project(session), make_user(session, "boss", "admin")
        make_tasks(session, project, 2)
        ada, bob = make_user(session, "ada"), make_user(session, "bob")
        first = lease_and_rank(session, ada, project)
        with_ada = create_snapshot(session, admin, project.id)
        lease_and_rank(session, bob, project)
        submit_ranking(session, ada, first.id, reversed_order(first))
        edited = create_snapshot(session, admin, project.id, name="later")
        for name, fields in {
            "judge": {"kind": "reward_model", "snapshot_id": with_ada.id},
            "tuned": {"kind": "policy", "reward_model_id": "judge"},
            "grandchild": {"kind": "policy", "parent_id": "tuned"},
            "unrelated": {"kind": "policy"},
        }.items():
            session.add(Model(id=name, name=name, source="job", **fields))
            session.flush()
        revoke_rankings(session, admin, project.id, "ada", reason="spam")
        touched = find_touched(session, project.id, "ada")
        assert [snapshot.id for snapshot in touched.snapshots] == [with_ada.id, edited.id]
        assert [model.id for model in touched.models] == ["judge", "tuned", "grandchild"]
        assert [model.id for model in find_touched(session, project.id, "bob").models] == []
        assert count_revoked(session, edited.id) == 1
        assert session.scalars(select(func.count()).select_from(Task)).one() == 2


def reversed_order(assignment):
    submission = in_order(assignment)
    top = len(submission.ranks) + 1
    return type(submission)(ranks={c: top - rank for c, rank in submission.ranks.items()})
