"""Rounds of more than two policies: any two of them, all of them, and those nobody ranked."""

from pathlib import Path

import pytest
from sqlalchemy import select

from app.db import Database
from app.errors import Invalid
from app.evaluation.opening import open_ab_round
from app.evaluation.promotion import promote
from app.evaluation.results import evaluate_round
from app.models import Completion, Job, Round
from tests.evaluation.contests import (
    fill_round,
    make_contest,
    make_judged,
    project_of,
    rank,
    settings_in,
)
from tests.labeling.factory import make_user
from tests.projects.rounds_factory import make_model

VERDICTS = ["new", "new", "old", "older", "new", "older"]


def test_every_two_policies_have_a_rate(database: Database, tmp_path: Path) -> None:
    """The winner of a ranking stands above two that tie: new against old is (3 + ½ · 2) / 6."""
    judged = make_judged(database, tmp_path, VERDICTS, others=["older"])
    with database.read() as session:
        found = evaluate_round(session, session.get_one(Round, judged.round_id))
    assert found.several is not None
    rates = {pair: rate.value for pair, rate in found.several.rates.items()}
    assert len(rates) == 6
    assert found.win_rate.value == pytest.approx(4 / 6)
    assert rates["new", "old"] == pytest.approx(4 / 6)
    assert rates["new", "older"] == pytest.approx(3.5 / 6)
    for (first, second), rate in rates.items():
        assert rate == pytest.approx(1 - rates[second, first])


def test_any_two_of_them_can_be_set_against_each_other(database: Database, tmp_path: Path) -> None:
    judged = make_judged(database, tmp_path, VERDICTS, others=["older"])
    with database.read() as session:
        round_ = session.get_one(Round, judged.round_id)
        found = evaluate_round(session, round_, candidate_id="older", baseline_id="new")
        assert (found.tally.won, found.tally.tied, found.tally.lost) == (2, 1, 3)
        half = evaluate_round(session, round_, candidate_id="older")
        assert half.contestants.baseline.id == "old"
        for candidate, baseline, field in (
            ("judge", None, "candidate"),
            (None, "nobody", "baseline"),
            ("old", None, "baseline"),
        ):
            with pytest.raises(Invalid) as refused:
                evaluate_round(session, round_, candidate_id=candidate, baseline_id=baseline)
            assert set(refused.value.fields) == {field}


def test_who_was_never_ranked_beside_the_others_has_no_strength_and_they_keep_theirs(
    database: Database, tmp_path: Path
) -> None:
    """As after `accept`, where a policy could not be asked."""
    with database.write() as session:
        contest = make_contest(session)
        for name in ("mute", "older"):
            make_model(session, name)
        round_ = open_ab_round(
            session,
            None,
            settings_in(tmp_path),
            session.get_one(Job, contest.job_id),
            others=["mute", "older"],
        )
        fill_round(session, round_)
        for one in session.scalars(select(Completion).where(Completion.model_id == "mute")):
            session.delete(one)
        session.flush()
        rank(session, contest.project_id, make_user(session), ["new", "old", "older", "new"])
        found = evaluate_round(session, round_)
    assert found.several is not None
    assert (found.several.placed, found.several.unplaced) == (["old", "new", "older"], ["mute"])
    assert found.several.strengths is not None
    assert len(found.several.strengths.strengths) == 3
    assert found.several.rates["mute", "old"].n == 0


def test_before_two_prompts_are_ranked_nobody_has_a_strength(
    database: Database, tmp_path: Path
) -> None:
    judged = make_judged(database, tmp_path, ["new"], others=["older"])
    with database.read() as session:
        several = evaluate_round(session, session.get_one(Round, judged.round_id)).several
    assert several is not None
    assert (several.strengths, several.unplaced) == (None, [])


def test_promoting_a_third_policy_keeps_what_was_said_of_that_one(
    database: Database, tmp_path: Path
) -> None:
    judged = make_judged(database, tmp_path, VERDICTS, others=["older"])
    with database.write() as session:
        project = project_of(session, judged.contest)
        third = promote(session, None, project, "older", round_id=judged.round_id).evidence
        assert (third["candidate"], third["baseline"]) == ("older", "old")
        assert (third["won"], third["tied"], third["lost"]) == (2, 3, 1)
        back = promote(session, None, project, "old", round_id=judged.round_id).evidence
        assert (back["candidate"], back["baseline"]) == ("new", "old")
