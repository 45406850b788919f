from datetime import timedelta

import pytest
from sqlalchemy import select

from app.errors import Conflict, Invalid
from app.labeling.drafts import save_draft
from app.labeling.queue import expire_leases, lease_next_task
from app.labeling.rankings import load_submission, store_ranking, submit_ranking
from app.labeling.shown import load_shown_task
from app.labeling.submissions import Submission
from app.models import Completion, Ranking, RankingEntry, RankingSource, TaskState, utc_now

from .factory import make_project, make_tasks, make_user


@pytest.fixture
def leased(database):
    """A session, a labeler and their lease on a task that wants one ranking of three texts."""
    with database.write() as session:
        project, user = make_project(session), make_user(session)
        (task,) = make_tasks(session, project, 1)
        assignment = lease_next_task(session, user, project.id, lease_seconds=60)
        yield session, user, task, assignment


def ranks(assignment, *values):
    return dict(zip(assignment.shown_order, values, strict=True))


def test_a_submitted_ranking_is_dense_and_completes_its_task(leased):
    session, user, task, assignment = leased
    ranking = submit_ranking(
        session, user, assignment.id, Submission(ranks=ranks(assignment, 1, 1, 3), active_ms=5000)
    )
    assert load_submission(session, ranking).ranks == ranks(assignment, 1, 1, 2)
    assert ranking.shown_order == assignment.shown_order
    assert (ranking.labeler, ranking.source, ranking.active_ms) == ("ada", "app", 5000)
    assert (task.state, task.rankings_got, task.slots_free) == (TaskState.COMPLETE, 1, 0)


def test_ratings_flags_and_comment_are_kept(leased):
    session, user, _, assignment = leased
    first = assignment.shown_order[0]
    ranking = submit_ranking(
        session,
        user,
        assignment.id,
        Submission(
            ranks=ranks(assignment, 1, 2, 3),
            ratings={first: 6},
            flags={first: ["unsafe"]},
            comment=" close call ",
        ),
    )
    entry = session.get_one(RankingEntry, (ranking.id, first))
    assert (entry.rank, entry.rating, entry.flags) == (1, 6, ["unsafe"])
    assert ranking.comment == "close call"


def test_the_same_again_changes_nothing(leased):
    session, user, task, assignment = leased
    once = submit_ranking(
        session, user, assignment.id, Submission(ranks=ranks(assignment, 1, 1, 3))
    )
    again = submit_ranking(
        session, user, assignment.id, Submission(ranks=ranks(assignment, 2, 2, 9))
    )
    assert again.id == once.id
    assert task.rankings_got == 1


def test_an_edit_is_a_new_revision_and_the_earlier_one_is_kept(leased):
    session, user, task, assignment = leased
    submit_ranking(session, user, assignment.id, Submission(ranks=ranks(assignment, 1, 2, 3)))
    submit_ranking(session, user, assignment.id, Submission(ranks=ranks(assignment, 3, 2, 1)))
    revisions = session.execute(
        select(Ranking.revision, Ranking.current).order_by(Ranking.revision)
    ).all()
    assert revisions == [(1, False), (2, True)]
    assert (task.rankings_got, task.slots_taken) == (1, 1)


def test_a_lease_that_ran_out_is_taken_up_again_while_the_slot_is_free(leased):
    session, user, task, assignment = leased
    assignment.lease_expires_at = utc_now() - timedelta(seconds=1)
    session.flush()
    expire_leases(session)
    submit_ranking(session, user, assignment.id, Submission(ranks=ranks(assignment, 1, 2, 3)))
    assert task.rankings_got == 1


def test_a_lost_lease_is_a_conflict_and_stores_nothing(leased):
    session, user, task, assignment = leased
    assignment.lease_expires_at = utc_now() - timedelta(seconds=1)
    session.flush()
    bob = make_user(session, "bob")
    lease_next_task(session, bob, task.project_id, lease_seconds=60)
    draft = Submission(ranks=ranks(assignment, 1, 2, 3))
    _, held = save_draft(session, user, assignment.id, draft, lease_seconds=60)
    assert not held
    assert assignment.draft["ranks"] == ranks(assignment, 1, 2, 3)
    with pytest.raises(Conflict) as caught:
        submit_ranking(session, user, assignment.id, draft)
    assert caught.value.code == "lease_lost"
    assert session.scalars(select(Ranking)).all() == []


def test_a_draft_renews_the_lease_and_goes_when_the_ranking_is_submitted(leased):
    session, user, _, assignment = leased
    until = assignment.lease_expires_at
    first = assignment.shown_order[0]
    save_draft(session, user, assignment.id, Submission(ranks={first: 1}), lease_seconds=600)
    assert assignment.lease_expires_at > until
    assert load_shown_task(session, user, assignment.id).work.ranks == {first: 1}
    submit_ranking(session, user, assignment.id, Submission(ranks=ranks(assignment, 1, 2, 3)))
    assert assignment.draft is None
    assert load_shown_task(session, user, assignment.id).work.ranks == ranks(assignment, 1, 2, 3)


def test_a_draft_that_arrives_after_its_ranking_is_dropped(leased):
    session, user, _, assignment = leased
    submit_ranking(session, user, assignment.id, Submission(ranks=ranks(assignment, 1, 2, 3)))
    late = Submission(ranks={assignment.shown_order[0]: 3})
    _, held = save_draft(session, user, assignment.id, late, lease_seconds=60)
    assert (held, assignment.draft) == (True, None)
    save_draft(session, user, assignment.id, late, lease_seconds=60, based_on=1)
    assert assignment.draft["ranks"] == late.ranks


def test_what_is_shown_follows_the_order_of_the_assignment(leased):
    session, user, task, assignment = leased
    shown = load_shown_task(session, user, assignment.id)
    texts = dict(
        session.execute(
            select(Completion.id, Completion.text).where(Completion.task_id == task.id)
        ).all()
    )
    assert [(c.id, c.letter, c.text) for c in shown.completions] == [
        (completion, letter, texts[completion])
        for completion, letter in zip(assignment.shown_order, "ABC", strict=True)
    ]


def test_imported_rankings_may_leave_completions_unranked_and_count(database):
    with database.write() as session:
        (task,) = make_tasks(session, make_project(session), 1, wanted=2)
        ids = session.scalars(select(Completion.id).order_by(Completion.position)).all()
        ranking = store_ranking(
            session,
            task=task,
            labeler="outsider",
            ranks={ids[0]: 4, ids[1]: None, ids[2]: 2},
            source=RankingSource.IMPORT,
            external_id="x1",
        )
        assert load_submission(session, ranking).ranks == {ids[0]: 2, ids[1]: None, ids[2]: 1}
        assert (task.state, task.rankings_got, task.slots_free) == (TaskState.OPEN, 1, 1)
        with pytest.raises(Invalid):
            store_ranking(
                session,
                task=task,
                labeler="rule",
                ranks={ids[0]: 1, ids[1]: None, ids[2]: 2},
                source=RankingSource.SIMULATED,
            )


def test_a_repeat_stands_beside_the_first_and_does_not_count(database):
    with database.write() as session:
        (task,) = make_tasks(session, make_project(session), 1, wanted=2)
        ids = session.scalars(select(Completion.id)).all()
        order = {completion: place for place, completion in enumerate(ids, start=1)}
        for external_id, is_repeat in (("x1", False), ("x2", True)):
            store_ranking(
                session,
                task=task,
                labeler="outsider",
                ranks=order,
                source=RankingSource.IMPORT,
                external_id=external_id,
                is_repeat=is_repeat,
            )
        assert len(session.scalars(select(Ranking).where(Ranking.current)).all()) == 2
        assert task.rankings_got == 1


def test_a_simulated_ranking_takes_a_slot(database):
    with database.write() as session:
        project = make_project(session)
        (task,) = make_tasks(session, project, 1)
        ids = session.scalars(select(Completion.id)).all()
        robot = make_user(session, "robot")
        robot.simulation_rule = "longer"
        store_ranking(
            session,
            task=task,
            labeler=robot,
            ranks=dict.fromkeys(ids, 1),
            source=RankingSource.SIMULATED,
        )
        assert task.state == TaskState.COMPLETE
        ada = make_user(session, "ada")
        assert lease_next_task(session, ada, project.id, lease_seconds=60) is None
