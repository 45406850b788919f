"""All that is known of a round that compares policies, in one measurement."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

from sqlalchemy.orm import Session

from app.evaluation.agreement_with_model import ModelAgreement, compare_with_model
from app.evaluation.always_valid import AlwaysValidRate, measure_always
from app.evaluation.bradley_terry import Strengths, fit_bradley_terry, linked_with
from app.evaluation.length_correction import CorrectedRate, correct_for_length
from app.evaluation.outcomes import (
    Contestants,
    Outcome,
    choose_contestants,
    find_judge,
    judged_pairs_of,
    load_outcomes,
    load_written,
    sized_votes_of,
    votes_of,
    whole_prompts_of,
    win_tables_of,
)
from app.evaluation.sample_size import (
    DIFFERENCES,
    Needed,
    Plan,
    plan_round,
    rankings_needed,
    tellable_difference,
)
from app.evaluation.win_rates import Rate, Vote, measure_rate, mirror_rate
from app.models import Model, Round, RoundState
from app.projects.round_counts import RoundCounts, round_counts


class Verdict(StrEnum):
    """What the interval of the win rate says of the candidate: the plain one once all rankings of
    the round are in, and until then the one that holds however often somebody looks."""

    NOBODY_ASKED = "nobody_asked"
    BETTER = "better"
    WORSE = "worse"
    OPEN = "open"


@dataclass(frozen=True, kw_only=True)
class Tally:
    """How the rankings went for the candidate."""

    won: int = 0
    tied: int = 0
    lost: int = 0

    @property
    def total(self) -> int:
        """Rankings."""
        return self.won + self.tied + self.lost


@dataclass(frozen=True, kw_only=True)
class LabelerVerdict:
    """What one labeler says of the candidate."""

    labeler: str
    simulated: bool
    tally: Tally
    rate: Rate
    candidate_first: int
    """How often the candidate's completion stood first, of those whose order is known."""
    baseline_first: int


@dataclass(frozen=True, kw_only=True)
class Several:
    """More than two policies of a round, all beside each other."""

    strengths: Strengths | None
    """Of the policies that are `placed`, in that order; None before two prompts are ranked."""
    placed: list[str]
    """The baseline, and the policies that rankings link with it, directly or by way of others."""
    unplaced: list[str]
    """The others: nobody ranked them beside any of those, so nothing says how strong they are."""
    rates: dict[tuple[str, str], Rate]
    """How often the first of two policies was ranked above the second."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A round that compares policies, measured."""

    round: Round
    contestants: Contestants
    verdict: Verdict
    win_rate: Rate
    always_valid: AlwaysValidRate | None
    """The win rate with an interval that holds at every look; None before a prompt is whole."""
    through: bool
    """Whether all rankings are in that the round was to collect."""
    plan: Plan | None
    """What the whole round can be expected to tell; None where nothing is to be ranked."""
    tally: Tally
    simulated_rankings: int
    needed: list[Needed]
    tellable: float | None
    """The difference from an even split that the rankings so far tell 8 times of 10."""
    corrected: CorrectedRate | None
    judge: Model | None
    """The reward model held against the people."""
    agreement: ModelAgreement | None
    """None where no pair was given rewards."""
    rewards_missing: int
    """Completions of the round that the reward model gave nothing."""
    several: Several | None
    """All policies beside each other, where there are more than two."""
    labelers: list[LabelerVerdict]
    candidate_first: int
    baseline_first: int
    first_won: Rate
    """How often what stood first won: what the place is worth."""
    outcomes: list[Outcome]
    """The rankings behind it, those that ranked both policies."""

    @property
    def going(self) -> bool:
        """Whether more rankings may come."""
        return not self.through and self.round.state != RoundState.CLOSED

    @property
    def all_simulated(self) -> bool:
        """Whether no person has a part in it."""
        return self.tally.total > 0 and self.simulated_rankings == self.tally.total


def evaluate_round(
    session: Session,
    round_: Round,
    *,
    candidate_id: str | None = None,
    baseline_id: str | None = None,
) -> Evaluation:
    """Measure a round: who was opened on trial against whom, or two other policies of it.

    Raises:
        Conflict: `nothing_to_compare`.
        Invalid: a policy that has no part in the round, or the same one twice.
    """
    contestants = choose_contestants(session, round_, candidate_id, baseline_id)
    judge = find_judge(session, contestants.candidate)
    outcomes = load_outcomes(session, round_, judge)
    rewards = load_written(session, round_.id, judge.id).values() if judge else ()
    candidate, baseline = contestants.candidate.id, contestants.baseline.id
    votes = votes_of(outcomes, candidate, baseline)
    rate = measure_rate(votes)
    pairs = judged_pairs_of(outcomes, candidate, baseline)
    votes_each = max(1, round_.labelers_per_task)
    always_valid = measure_always(
        whole_prompts_of(outcomes, candidate, baseline, votes_each), votes_each=votes_each
    )
    counts = round_counts(session, round_.id)
    through = counts.rankings_got >= counts.rankings_wanted
    compared = [one for one in outcomes if one.share(candidate, baseline) is not None]
    return Evaluation(
        round=round_,
        contestants=contestants,
        verdict=judge_rate(rate, rate if through else always_valid),
        win_rate=rate,
        always_valid=always_valid,
        through=through,
        plan=_plan(round_, contestants, counts),
        tally=tally_of(votes),
        simulated_rankings=sum(one.simulated for one in compared),
        needed=[rankings_needed(rate, difference) for difference in DIFFERENCES],
        tellable=tellable_difference(rate),
        corrected=correct_for_length(sized_votes_of(outcomes, candidate, baseline)),
        judge=judge,
        agreement=compare_with_model(pairs) if pairs else None,
        rewards_missing=sum(one.reward is None for one in rewards),
        several=(
            _beside_each_other(outcomes, contestants) if len(contestants.policies) > 2 else None
        ),
        labelers=_by_labeler(compared, candidate, baseline),
        candidate_first=sum(one.first == candidate for one in compared),
        baseline_first=sum(one.first == baseline for one in compared),
        first_won=measure_rate(_votes_for_first(compared, candidate, baseline)),
        outcomes=compared,
    )


def judge_rate(rate: Rate, deciding: Rate | AlwaysValidRate | None) -> Verdict:
    """Better or worse only where the whole deciding interval is on one side of an even split."""
    if not rate.n:
        return Verdict.NOBODY_ASKED
    if deciding is None or deciding.low is None or deciding.high is None:
        return Verdict.OPEN
    if deciding.low > 0.5:
        return Verdict.BETTER
    return Verdict.WORSE if deciding.high < 0.5 else Verdict.OPEN


def _beside_each_other(outcomes: Sequence[Outcome], contestants: Contestants) -> Several:
    policies, baseline = contestants.policies, contestants.baseline.id
    linked = linked_with(win_tables_of(outcomes, policies), policies.index(baseline))
    placed = [policies[place] for place in linked]
    rates: dict[tuple[str, str], Rate] = {}
    for first, second in combinations(policies, 2):
        rate = measure_rate(votes_of(outcomes, first, second))
        rates |= {(first, second): rate, (second, first): mirror_rate(rate)}
    return Several(
        strengths=fit_bradley_terry(
            win_tables_of(outcomes, placed), baseline=placed.index(baseline)
        ),
        placed=placed,
        unplaced=[policy for policy in policies if policy not in placed],
        rates=rates,
    )


def _plan(round_: Round, contestants: Contestants, counts: RoundCounts) -> Plan | None:
    prompts = counts.tasks - counts.short
    completions = round_.completions_per_prompt // len(contestants.policies)
    if min(prompts, round_.labelers_per_task, completions) < 1:
        return None
    return plan_round(prompts=prompts, labelers=round_.labelers_per_task, completions=completions)


def tally_of(votes: Sequence[Vote]) -> Tally:
    """How many rankings the candidate won, tied and lost; of several pairs, by their mean."""
    return Tally(
        won=sum(vote.share > 0.5 for vote in votes),
        tied=sum(vote.share == 0.5 for vote in votes),
        lost=sum(vote.share < 0.5 for vote in votes),
    )


def _by_labeler(outcomes: Sequence[Outcome], candidate: str, baseline: str) -> list[LabelerVerdict]:
    """Those who ranked most first."""
    theirs: dict[str, list[Outcome]] = defaultdict(list)
    for one in outcomes:
        theirs[one.labeler].append(one)
    verdicts = []
    for labeler, said in theirs.items():
        votes = votes_of(said, candidate, baseline)
        verdicts.append(
            LabelerVerdict(
                labeler=labeler,
                simulated=any(one.simulated for one in said),
                tally=tally_of(votes),
                rate=measure_rate(votes),
                candidate_first=sum(one.first == candidate for one in said),
                baseline_first=sum(one.first == baseline for one in said),
            )
        )
    return sorted(verdicts, key=lambda one: (-one.rate.n, one.labeler))


def _votes_for_first(outcomes: Sequence[Outcome], candidate: str, baseline: str) -> list[Vote]:
    """The same votes, for the policy of the two that stood first."""
    votes = []
    for one in outcomes:
        share = one.share(candidate, baseline)
        if share is not None and one.first in (candidate, baseline):
            votes.append(
                Vote(prompt_id=one.prompt_id, share=share if one.first == candidate else 1 - share)
            )
    return votes
