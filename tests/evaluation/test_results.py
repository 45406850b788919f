"""All that is known of an A/B round, measured from the tables."""

from pathlib import Path

import pytest
from sqlalchemy import select, update

from app.db import Database
from app.demo.labelers import simulate_labelers
from app.errors import Conflict
from app.evaluation.opening import open_ab_round
from app.evaluation.outcomes import find_judge
from app.evaluation.promotion import promote
from app.evaluation.results import Verdict, evaluate_round
from app.evaluation.sample_size import plan_round
from app.models import (
    Assignment,
    Completion,
    CompletionReward,
    Job,
    Model,
    ModelKind,
    Ranking,
    Round,
    Task,
    TaskState,
    User,
    utc_now,
)
from app.preferences.filters import AbRounds, PairFilters
from app.preferences.pair_counts import count_pairs
from app.preferences.snapshots import create_snapshot
from app.projects.comparison import find_newest_comparison
from app.projects.loop import get_loop_state
from app.projects.next_step import NextStep
from app.projects.pair_counts import count_loop_pairs
from app.projects.rounds import create_round
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


def test_wins_ties_and_losses_and_what_they_come_to(database: Database, tmp_path: Path) -> None:
    """Four wins, one tie, one loss: (4 + ½) / 6 = 0.75."""
    judged = make_judged(database, tmp_path)
    with database.read() as session:
        found = evaluate_round(session, session.get_one(Round, judged.round_id))
    assert (found.tally.won, found.tally.tied, found.tally.lost) == (4, 1, 1)
    assert found.win_rate.value == pytest.approx(0.75)
    assert (found.win_rate.n, found.win_rate.prompts) == (6, 6)
    assert found.verdict == Verdict.OPEN
    assert (found.contestants.candidate.id, found.contestants.baseline.id) == ("new", "old")
    assert [one.difference for one in found.needed] == [0.05, 0.1, 0.15]
    assert found.needed[0].more > found.needed[1].more > found.needed[2].more > 0
    assert found.candidate_first == found.baseline_first == 3
    assert found.several is None
    assert not found.all_simulated


def test_the_reward_model_is_held_against_the_people_on_these_pairs(
    database: Database, tmp_path: Path
) -> None:
    """It prefers the new text everywhere: right on 4 of the 5 decided pairs."""
    judged = make_judged(database, tmp_path)
    with database.write() as session:
        found = evaluate_round(session, session.get_one(Round, judged.round_id))
        assert found.judge is not None
        assert found.agreement is not None
        assert found.agreement.agreement.value == pytest.approx(0.8)
        assert (found.agreement.agreement.n, found.agreement.tied_by_people) == (5, 1)
        assert found.agreement.model_win_rate.value == 1.0
        assert (found.judge.id, found.rewards_missing) == ("judge", 0)
        for reward in session.scalars(select(CompletionReward).limit(1)):
            session.delete(reward)
        session.flush()
        found = evaluate_round(session, session.get_one(Round, judged.round_id))
        assert found.rewards_missing == 1


def test_people_without_an_effect_of_length_keep_their_win_rate(
    database: Database, tmp_path: Path
) -> None:
    """The new texts are longer, by 10 to 60 characters; who wins has nothing to do with that."""
    verdicts = ["new", "old", "new", "old", "new", "old"]
    judged = make_judged(
        database,
        tmp_path,
        verdicts,
        text=lambda policy, task: "x" * (10 + 10 * (task + 1) * (policy == "new")),
    )
    with database.read() as session:
        found = evaluate_round(session, session.get_one(Round, judged.round_id))
    assert found.corrected is not None
    assert found.corrected.mean_longer_by == 35
    assert found.corrected.low < 0.5 < found.corrected.high


def test_two_labelers_of_a_prompt_are_one_prompt(database: Database, tmp_path: Path) -> None:
    alone = make_judged(database, tmp_path, ["new"] * 6)
    with database.read() as session:
        once = evaluate_round(session, session.get_one(Round, alone.round_id)).win_rate
        two = make_judged_again(database, tmp_path)
    with database.read() as session:
        found = evaluate_round(session, session.get_one(Round, two))
    assert [one.labeler for one in found.labelers] == ["bob", "cyd"]
    assert (found.win_rate.n, found.win_rate.prompts) == (12, 6)
    assert found.win_rate.low == pytest.approx(once.low)
    for one in found.labelers:
        assert one.candidate_first == one.baseline_first == 3


def make_judged_again(database: Database, tmp_path: Path) -> str:
    """Another round of the same job, in which two labelers always prefer the new policy."""
    with database.write() as session:
        job = session.scalars(select(Job).where(Job.kind == "ppo")).one()
        for earlier in session.scalars(select(Round)):
            earlier.state = "closed"
        round_ = open_ab_round(
            session, None, settings_in(tmp_path), job, labelers_per_task=2, again=True
        )
        fill_round(session, round_)
        for name in ("bob", "cyd"):
            rank(session, round_.project_id, make_user(session, name), ["new"] * 6)
        return round_.id


def test_three_policies_have_strengths(database: Database, tmp_path: Path) -> None:
    verdicts = ["new", "new", "old", "older", "new", "old"]
    judged = make_judged(database, tmp_path, verdicts, others=["older"])
    with database.read() as session:
        found = evaluate_round(session, session.get_one(Round, judged.round_id))
    assert found.several is not None
    assert found.several.strengths is not None
    assert found.several.placed == ["old", "new", "older"]
    old, new, older = found.several.strengths.strengths
    assert old.value == 0.0
    assert new.value > 0 > older.value
    assert new.low < new.value < new.high


def test_revoked_rankings_and_repeats_say_nothing(database: Database, tmp_path: Path) -> None:
    judged = make_judged(database, tmp_path)
    with database.write() as session:
        first, second = session.scalars(select(Ranking).order_by(Ranking.id).limit(2))
        first.revoked_at = utc_now()
        second.is_repeat = True
        session.flush()
        found = evaluate_round(session, session.get_one(Round, judged.round_id))
    assert found.win_rate.n == 4


def test_nobody_asked_yet(database: Database, tmp_path: Path) -> None:
    with database.write() as session:
        contest = make_contest(session)
        round_ = open_ab_round(
            session, None, settings_in(tmp_path), session.get_one(Job, contest.job_id)
        )
        found = evaluate_round(session, round_)
    assert found.verdict == Verdict.NOBODY_ASKED
    assert found.win_rate.value is None
    assert found.needed[0].rankings == 785
    assert (found.corrected, found.agreement, found.labelers) == (None, None, [])


def test_enough_people_who_agree_are_a_verdict(database: Database, tmp_path: Path) -> None:
    judged = make_judged(database, tmp_path, ["new"] * 20, prompts=20)
    with database.read() as session:
        found = evaluate_round(session, session.get_one(Round, judged.round_id))
    assert found.verdict == Verdict.BETTER


def test_until_all_rankings_are_in_the_interval_for_every_look_decides(
    database: Database, tmp_path: Path
) -> None:
    """Seven wins of seven leave 50% out of the plain interval, and not of the one for every look:
    the mean of the bets is worth Π (5 + i) / (10 + i) · 2⁷ = 3.7 there, and not yet 20."""
    judged = make_judged(database, tmp_path, ["new"] * 7, prompts=20)
    with database.write() as session:
        found = evaluate_round(session, session.get_one(Round, judged.round_id))
        assert not found.through
        assert found.win_rate.low > 0.5
        assert found.always_valid is not None
        assert (found.always_valid.n, found.always_valid.prompts) == (7, 7)
        assert found.always_valid.low < 0.5
        assert found.verdict == Verdict.OPEN
        person = session.scalars(select(User).where(User.email.startswith("ada"))).one()
        rank(session, judged.contest.project_id, person, ["new"] * 8)
        found = evaluate_round(session, session.get_one(Round, judged.round_id))
        assert (found.through, found.verdict) == (False, Verdict.BETTER)
        assert found.always_valid is not None
        assert found.always_valid.low > 0.5


def test_a_prompt_counts_at_every_look_once_it_is_whole(database: Database, tmp_path: Path) -> None:
    """Which prompts count must not depend on when somebody looks: two labelers each, one came."""
    judged = make_judged(database, tmp_path, ["new"] * 6)
    with database.write() as session:
        session.execute(update(Task).values(rankings_wanted=2, state=TaskState.OPEN))
        session.get_one(Round, judged.round_id).labelers_per_task = 2
        session.flush()
        found = evaluate_round(session, session.get_one(Round, judged.round_id))
        assert (found.always_valid, found.verdict) == (None, Verdict.OPEN)
        rank(session, judged.contest.project_id, make_user(session, "bob"), ["old", "new"])
        found = evaluate_round(session, session.get_one(Round, judged.round_id))
        assert found.always_valid is not None
        assert (found.always_valid.n, found.always_valid.prompts) == (4, 2)
        assert found.always_valid.value == pytest.approx(0.75)


def test_the_whole_round_is_planned_before_anybody_ranked(
    database: Database, tmp_path: Path
) -> None:
    judged = make_judged(database, tmp_path, [], labelers=("ada", "bob"))
    with database.read() as session:
        plan = evaluate_round(session, session.get_one(Round, judged.round_id)).plan
    assert plan == plan_round(prompts=6, labelers=2, completions=1)


def test_a_round_of_one_policy_compares_nothing(database: Database) -> None:
    with database.write() as session:
        contest = make_contest(session)
        round_ = create_round(session, None, project_of(session, contest), policies=["old"])
        with pytest.raises(Conflict) as refused:
            evaluate_round(session, round_)
    assert refused.value.code == "nothing_to_compare"


def test_a_round_of_two_policies_that_nobody_called_a_trial_is_measured_too(
    database: Database,
) -> None:
    """The younger policy is the candidate."""
    with database.write() as session:
        contest = make_contest(session)
        round_ = create_round(
            session,
            None,
            project_of(session, contest),
            policies=["new", "old"],
            completions_per_prompt=2,
        )
        fill_round(session, round_)
        rank(session, contest.project_id, make_user(session), ["new", "new", "old"])
        found = evaluate_round(session, round_)
    assert (found.contestants.candidate.id, found.win_rate.n) == ("new", 3)


def test_simulated_labelers_rank_an_ab_round_end_to_end(database: Database, tmp_path: Path) -> None:
    """Through the queue that people use, and marked as what they are."""
    with database.write() as session:
        contest = make_contest(session, prompts=12, held_out=8)
        round_ = open_ab_round(
            session,
            None,
            settings_in(tmp_path),
            session.get_one(Job, contest.job_id),
            labelers_per_task=2,
        )
        fill_round(session, round_, lambda policy, task: f"{policy} answers {'well ' * task}")
    report = simulate_labelers(database, contest.project_id, labelers=2)
    assert report.rankings == 16
    with database.read() as session:
        found = evaluate_round(session, session.get_one(Round, round_.id))
        state = get_loop_state(session, contest.project_id)
    assert found.all_simulated
    assert found.simulated_rankings == found.win_rate.n == 16
    assert found.candidate_first == found.baseline_first == 8
    assert state.comparison is not None
    assert state.comparison.simulated


def test_the_loop_shows_the_same_figures(database: Database, tmp_path: Path) -> None:
    judged = make_judged(database, tmp_path, labelers=("ada", "bob"))
    with database.read() as session:
        round_ = session.get_one(Round, judged.round_id)
        found = evaluate_round(session, round_)
        shown = find_newest_comparison(session, [round_])
    assert shown is not None
    assert shown.rate == found.win_rate
    assert (shown.policy, shown.baseline) == ("new", "old")


def test_the_loop_goes_from_the_new_policy_to_the_people_to_the_decision(
    database: Database, tmp_path: Path
) -> None:
    def step() -> NextStep:
        with database.read() as session:
            return get_loop_state(session, contest.project_id).next_step

    with database.write() as session:
        contest = make_contest(session)
        collected = create_round(session, None, project_of(session, contest), policies=["old"])
        fill_round(session, collected, lambda policy, task: "a" * (task + 1))
        collected.created_at = project_of(session, contest).created_at
        collected.state = "closed"
    assert step() == NextStep.COMPARE_POLICY
    with database.write() as session:
        job = session.get_one(Job, contest.job_id)
        round_ = open_ab_round(session, None, settings_in(tmp_path), job)
    assert step() == NextStep.WATCH_GENERATION
    with database.write() as session:
        made = session.get_one(Round, round_.id)
        session.get_one(Job, made.job_id).state = "succeeded"
        fill_round(session, made)
    assert step() == NextStep.RANK
    with database.write() as session:
        rank(session, contest.project_id, make_user(session), ["new"] * 4)
    assert step() == NextStep.DECIDE_POLICY
    with database.write() as session:
        promote(session, None, project_of(session, contest), "new", round_id=round_.id)
    assert step() == NextStep.START_ROUND


def test_what_judged_a_policy_is_kept_out_of_training(database: Database, tmp_path: Path) -> None:
    judged = make_judged(database, tmp_path)
    project_id = judged.contest.project_id
    training = PairFilters.for_training()
    with database.write() as session:
        assert count_pairs(session, project_id).pairs == 5
        assert count_pairs(session, project_id, training).pairs == 0
        assert count_loop_pairs(session, project_id) == 0
        only = PairFilters(ab_rounds=AbRounds.ONLY)
        assert count_pairs(session, project_id, only).pairs == 5
        named = PairFilters(ab_rounds=AbRounds.EXCLUDE, round_id=judged.round_id)
        assert count_pairs(session, project_id, named).pairs == 5
        for one in session.scalars(select(Round)):
            one.candidate_id = one.baseline_id = None
        session.flush()
        assert count_pairs(session, project_id, training).pairs == 5
        assert count_pairs(session, project_id, only).pairs == 0


def test_a_snapshot_says_that_it_left_ab_rounds_out(database: Database, tmp_path: Path) -> None:
    judged = make_judged(database, tmp_path)
    with database.write() as session:
        snapshot = create_snapshot(
            session, None, judged.contest.project_id, filters=PairFilters(ab_rounds=AbRounds.ONLY)
        )
        assert snapshot.pairs == 5
        assert snapshot.filters == {"ab_rounds": "only"}
        assert PairFilters.from_json(snapshot.filters).ab_rounds == AbRounds.ONLY


def test_the_labeler_is_told_nothing(database: Database, tmp_path: Path) -> None:
    """Half of the first places are the new policy's, so the place says nothing; ids are opaque."""
    judged = make_judged(database, tmp_path)
    with database.read() as session:
        assignments = session.scalars(select(Assignment)).all()
        policies = dict(session.execute(select(Completion.id, Completion.model_id)).all())
    assert judged.round_id
    firsts = [policies[one.shown_order[0]] for one in assignments]
    assert firsts.count("new") == firsts.count("old") == 3
    assert all(len(one) == 32 and "new" not in one for one in policies)


def test_a_policy_without_a_reward_model_is_held_against_the_judge_of_its_figures(
    database: Database,
) -> None:
    """As DPO leaves it; without a judge the newest reward model of the project is asked."""
    with database.write() as session:
        contest = make_contest(session)
        make_model(session, "other-judge", ModelKind.REWARD_MODEL, project_id=contest.project_id)
        new = session.get_one(Model, "new")
        new.reward_model_id = None
        found = find_judge(session, new)
        assert found is not None
        assert found.id == "other-judge"
        new.metrics = {"judge": "judge"}
        found = find_judge(session, new)
        assert found is not None
        assert found.id == "judge"
