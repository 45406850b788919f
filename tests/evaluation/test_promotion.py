"""Promoting a policy: a recorded act that keeps what was known."""

from pathlib import Path

import pytest
from sqlalchemy import select, update

from app.db import Database
from app.errors import AppError
from app.evaluation.promotion import (
    default_policy,
    find_promotion,
    list_promotions,
    promote,
)
from app.models import AuditEvent, CompletionReward, Model, Project, Round, Task, TaskState
from app.preferences.deletion import delete_round
from app.projects.rounds import close_round
from app.registry.service import archive_model
from tests.evaluation.contests import make_contest, make_judged, project_of, rank
from tests.labeling.factory import make_user
from tests.projects.rounds_factory import make_model
from tests.projects.rounds_factory import make_project as make_other_project


def test_a_promotion_keeps_the_evidence_as_it_was(database: Database, tmp_path: Path) -> None:
    judged = make_judged(database, tmp_path)
    with database.write() as session:
        admin = make_user(session, "root", "admin")
        project = project_of(session, judged.contest)
        done = promote(
            session, admin, project, "new", round_id=judged.round_id, note=" Reads better. "
        )
        evidence = dict(done.evidence)
    assert evidence["asked"]
    assert evidence["win_rate"] == pytest.approx(0.75)
    assert (evidence["won"], evidence["tied"], evidence["lost"]) == (4, 1, 1)
    assert (evidence["rankings"], evidence["prompts"], evidence["labelers"]) == (6, 6, 1)
    assert (evidence["candidate"], evidence["baseline"]) == ("new", "old")
    assert evidence["low"] < 0.5 < evidence["high"]
    assert evidence["reward_model"]["agreement"]["value"] == pytest.approx(0.8)
    assert evidence["length_corrected"]["low"] < evidence["length_corrected"]["high"]
    with database.write() as session:
        session.execute(update(Task).values(rankings_wanted=2, state=TaskState.OPEN))
        rank(session, judged.contest.project_id, make_user(session, "bob"), ["new"] * 6)
    with database.read() as session:
        kept = list_promotions(session, project_id=judged.contest.project_id)[0]
        event = session.scalars(
            select(AuditEvent).where(AuditEvent.action == "model.promote")
        ).one()
    assert kept.promotion.evidence == evidence
    assert (kept.promotion.note, kept.by, kept.round_number) == ("Reads better.", "root", 1)
    assert event.subject_id == "new"


def test_without_a_round_it_says_that_nobody_was_asked(database: Database) -> None:
    with database.write() as session:
        contest = make_contest(session)
        done = promote(session, None, project_of(session, contest), "new")
        assert done.evidence == {"asked": False}
        assert (done.previous_model_id, done.round_id) == (None, None)


def test_going_back_is_promoting_the_older_one(database: Database) -> None:
    with database.write() as session:
        contest = make_contest(session)
        project = project_of(session, contest)
        for model_id in ("old", "new", "old"):
            promote(session, None, project, model_id)
        history = [
            (one.promotion.model_id, one.promotion.previous_model_id)
            for one in list_promotions(session, project_id=project.id)
        ]
        assert history == [("old", "new"), ("new", "old"), ("old", None)]
        assert find_promotion(session, project.id).model_id == "old"
        assert [one.promotion.model_id for one in list_promotions(session, model_id="new")] == [
            "new"
        ]


def test_the_promoted_policy_is_what_the_next_round_asks(database: Database) -> None:
    with database.write() as session:
        contest = make_contest(session)
        project = project_of(session, contest)
        assert default_policy(session, project.id).id == "new"
        promote(session, None, project, "old")
        assert default_policy(session, project.id).id == "old"
        archive_model(session, None, session.get_one(Model, "old"))
        session.flush()
        assert default_policy(session, project.id).id == "new"


@pytest.mark.parametrize(
    ("model_id", "code"),
    [
        ("judge", "invalid"),
        ("nobody", "invalid"),
        ("foreign", "invalid"),
        ("new", "already_promoted"),
    ],
)
def test_what_cannot_be_promoted(database: Database, model_id: str, code: str) -> None:
    with database.write() as session:
        contest = make_contest(session)
        other = make_other_project(session, name="Other")
        make_model(session, "foreign", project_id=other.id)
        project = project_of(session, contest)
        promote(session, None, project, "new")
        with pytest.raises(AppError) as refused:
            promote(session, None, project, model_id)
    assert refused.value.code == code


def test_a_round_must_be_one_that_the_policy_stood_in(database: Database, tmp_path: Path) -> None:
    judged = make_judged(database, tmp_path)
    with database.write() as session:
        project = project_of(session, judged.contest)
        make_model(session, "bystander", project_id=project.id)
        with pytest.raises(AppError) as refused:
            promote(session, None, project, "bystander", round_id=judged.round_id)
        assert "round_id" in refused.value.fields
        other = session.get_one(Project, make_other_project(session, name="Other").id)
        make_model(session, "of-other", project_id=other.id)
        with pytest.raises(AppError) as refused:
            promote(session, None, other, "of-other", round_id=judged.round_id)
        assert refused.value.code == "round_not_found"


def test_a_long_note_is_refused(sqlite_database: Database) -> None:
    with sqlite_database.write() as session:
        contest = make_contest(session)
        with pytest.raises(AppError) as refused:
            promote(session, None, project_of(session, contest), "new", note="x" * 2001)
    assert "note" in refused.value.fields


def test_deleting_the_round_leaves_the_promotion_with_what_was_known(
    database: Database, tmp_path: Path
) -> None:
    judged = make_judged(database, tmp_path)
    with database.write() as session:
        promote(session, None, project_of(session, judged.contest), "new", round_id=judged.round_id)
        round_ = session.get_one(Round, judged.round_id)
        close_round(session, None, round_)
        delete_round(session, None, round_)
    with database.read() as session:
        kept = list_promotions(session, project_id=judged.contest.project_id)[0]
        assert session.scalars(select(CompletionReward)).all() == []
    assert (kept.promotion.round_id, kept.round_number) == (None, None)
    assert kept.promotion.evidence["round_number"] == 1
