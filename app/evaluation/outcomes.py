"""What people said in a round of two or more policies, read so that it can be measured."""

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.errors import Conflict, Invalid
from app.evaluation.agreement_with_model import JudgedPair
from app.evaluation.length_correction import SizedVote
from app.evaluation.win_rates import Vote
from app.labeling.judgements import JudgedTask, Judgement, load_judged_tasks
from app.models import Completion, CompletionReward, Model, ModelKind, Round, Task
from app.preferences.filters import PairFilters


@dataclass(frozen=True, kw_only=True)
class Contestants:
    """Who stands against whom in a round."""

    candidate: Model
    baseline: Model
    policies: list[str]
    """Ids of all policies, the two among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A completion of the round, without its text."""

    completion_id: str
    policy: str
    length: int
    """Characters."""
    reward: float | None
    """By the reward model that is asked about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One ranking of a task: whose completion it put above whose."""

    task_id: str
    prompt_id: str
    ranking_id: str
    labeler: str
    simulated: bool
    created_at: datetime
    ranked: list[tuple[Written, int]]
    """The completions that it ranked, with their ranks, in order of making."""
    first: str | None
    """The policy whose completion was shown first; None where nobody noted the order."""

    def pairs(self, candidate: str, baseline: str) -> Iterator[tuple[float, Written, Written]]:
        """Each (candidate, baseline) pair with its share: 1 won, 0.5 tied, 0 lost."""
        ours = [one for one in self.ranked if one[0].policy == candidate]
        theirs = [one for one in self.ranked if one[0].policy == baseline]
        for our, our_rank in ours:
            for their, their_rank in theirs:
                share = 1.0 if our_rank < their_rank else 0.5 if our_rank == their_rank else 0.0
                yield share, our, their

    def share(self, candidate: str, baseline: str) -> float | None:
        """The mean share over those pairs; None where it ranked no such pair."""
        shares = [share for share, _, _ in self.pairs(candidate, baseline)]
        return sum(shares) / len(shares) if shares else None


def find_contestants(session: Session, round_: Round) -> Contestants | None:
    """The two policies that a round compares; None for a round of fewer than two.

    Of a round that nobody opened as an A/B round these are its youngest policy and its oldest.
    """
    if len(round_.policies) < 2:
        return None
    if round_.candidate_id and round_.baseline_id:
        pair = [session.get_one(Model, one) for one in (round_.candidate_id, round_.baseline_id)]
    else:
        by_age = session.scalars(
            select(Model)
            .where(Model.id.in_(round_.policies))
            .order_by(Model.created_at.desc(), Model.id.desc())
        ).all()
        if len(by_age) < 2:
            return None
        pair = [by_age[0], by_age[-1]]
    return Contestants(candidate=pair[0], baseline=pair[1], policies=list(round_.policies))


def get_contestants(session: Session, round_: Round) -> Contestants:
    """The same; `Conflict` for a round of fewer than two policies."""
    found = find_contestants(session, round_)
    if found is None:
        raise Conflict(
            "This round has completions of one policy only: there is nothing to compare.",
            code="nothing_to_compare",
        )
    return found


def choose_contestants(
    session: Session, round_: Round, candidate: str | None, baseline: str | None
) -> Contestants:
    """Two policies of the round to set against each other; what is None is the round's own.

    Raises:
        Conflict: `nothing_to_compare` for a round of fewer than two policies.
        Invalid: one of them has no part in the round, or both are the same; `fields` names which.
    """
    own = get_contestants(session, round_)
    candidate, baseline = candidate or own.candidate.id, baseline or own.baseline.id
    for name, policy in (("candidate", candidate), ("baseline", baseline)):
        if policy not in own.policies:
            raise Invalid(
                f"{policy} has no part in round {round_.number}.",
                fields={name: f"one of {', '.join(own.policies)}"},
            )
    if candidate == baseline:
        raise Invalid(
            "A policy cannot be compared with itself.", fields={"baseline": "another policy"}
        )
    return Contestants(
        candidate=session.get_one(Model, candidate),
        baseline=session.get_one(Model, baseline),
        policies=own.policies,
    )


def find_judge(session: Session, candidate: Model) -> Model | None:
    """The reward model to hold against the people: the one that the candidate was tuned against,
    or the one that judged its figures, or else the newest of its project."""
    named = candidate.reward_model_id or candidate.metrics.get("judge")
    if named is not None:
        return session.get(Model, named)
    return session.scalar(
        select(Model)
        .where(
            Model.kind == ModelKind.REWARD_MODEL,
            Model.project_id == candidate.project_id,
            Model.archived_at.is_(None),
        )
        .order_by(Model.created_at.desc())
        .limit(1)
    )


def load_outcomes(session: Session, round_: Round, judge: Model | None) -> list[Outcome]:
    """Every ranking of the round that counts, by task and age; repeats have no second say."""
    tasks = load_judged_tasks(session, round_.project_id, PairFilters(round_id=round_.id))
    prompts = dict(
        session.execute(select(Task.id, Task.prompt_id).where(Task.round_id == round_.id)).all()
    )
    written = load_written(session, round_.id, judge.id if judge else None)
    return [
        _outcome(task, judgement, prompts[task.id], written)
        for task in tasks
        for judgement in task.firsts
    ]


def load_written(session: Session, round_id: str, judge_id: str | None) -> dict[str, Written]:
    """The completions of a round by their ids, with what the reward model gave them."""
    rewards = (
        select(CompletionReward.completion_id, CompletionReward.reward)
        .where(CompletionReward.model_id == judge_id)
        .subquery()
    )
    rows = session.execute(
        select(Completion.id, Completion.model_id, func.length(Completion.text), rewards.c.reward)
        .join(Task, Task.id == Completion.task_id)
        .outerjoin(rewards, rewards.c.completion_id == Completion.id)
        .where(Task.round_id == round_id)
    )
    return {
        completion_id: Written(
            completion_id=completion_id, policy=policy or "", length=length, reward=reward
        )
        for completion_id, policy, length, reward in rows
    }


def _outcome(
    task: JudgedTask, judgement: Judgement, prompt_id: str, written: dict[str, Written]
) -> Outcome:
    completions = [written[one] for one in task.completion_ids]
    return Outcome(
        task_id=task.id,
        prompt_id=prompt_id,
        ranking_id=judgement.ranking_id,
        labeler=judgement.labeler,
        simulated=judgement.simulated,
        created_at=judgement.created_at,
        ranked=[
            (one, rank)
            for one, rank in zip(completions, judgement.ranks, strict=True)
            if rank is not None
        ],
        first=completions[judgement.shown[0]].policy if judgement.shown else None,
    )


def votes_of(outcomes: Collection[Outcome], candidate: str, baseline: str) -> list[Vote]:
    """One vote of each ranking that ranked both policies."""
    shares = [(one.prompt_id, one.share(candidate, baseline)) for one in outcomes]
    return [Vote(prompt_id=prompt, share=share) for prompt, share in shares if share is not None]


def whole_prompts_of(
    outcomes: Collection[Outcome], candidate: str, baseline: str, votes_each: int
) -> list[float]:
    """The mean share of each prompt that has as many votes as it should, over the first so many.

    Which prompts count, and what they say, must not depend on when somebody looked.
    """
    shares: dict[str, list[float]] = defaultdict(list)
    for one in sorted(outcomes, key=lambda outcome: outcome.created_at):
        share = one.share(candidate, baseline)
        if share is not None:
            shares[one.prompt_id].append(share)
    return [
        sum(given[:votes_each]) / votes_each
        for given in shares.values()
        if len(given) >= votes_each
    ]


def sized_votes_of(outcomes: Collection[Outcome], candidate: str, baseline: str) -> list[SizedVote]:
    """The pairs of the two policies with the difference of their lengths."""
    return [
        SizedVote(prompt_id=one.prompt_id, share=share, longer_by=our.length - their.length)
        for one in outcomes
        for share, our, their in one.pairs(candidate, baseline)
    ]


def judged_pairs_of(
    outcomes: Collection[Outcome], candidate: str, baseline: str
) -> list[JudgedPair]:
    """The pairs of the two policies of which the reward model knows both texts."""
    return [
        JudgedPair(
            prompt_id=one.prompt_id, share=share, reward_difference=our.reward - their.reward
        )
        for one in outcomes
        for share, our, their in one.pairs(candidate, baseline)
        if our.reward is not None and their.reward is not None
    ]


def win_tables_of(outcomes: Collection[Outcome], policies: list[str]) -> list[list[list[float]]]:
    """Of each prompt, how often policy i was ranked above policy j, a tie being half each way.

    A ranking of several completions of each gives the mean over their pairs.
    """
    place = {policy: number for number, policy in enumerate(policies)}
    tables: dict[str, list[list[float]]] = defaultdict(lambda: [[0.0] * len(place) for _ in place])
    for one in outcomes:
        for first in policies:
            for second in policies[place[first] + 1 :]:
                share = one.share(first, second)
                if share is not None:
                    tables[one.prompt_id][place[first]][place[second]] += share
                    tables[one.prompt_id][place[second]][place[first]] += 1 - share
    return list(tables.values())
