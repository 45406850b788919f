"""The texts behind the numbers: tasks of an A/B round with who said what of them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.evaluation.outcomes import Outcome
from app.evaluation.results import Evaluation
from app.models import Completion, Prompt, Task


class Said(StrEnum):
    """Which rankings to show."""

    WON = "won"
    TIED = "tied"
    LOST = "lost"
    AGAINST_MODEL = "against_model"
    """A person decided the other way than the reward model."""


@dataclass(frozen=True, kw_only=True)
class Opinion:
    """What one ranking says of a task."""

    ranking_id: str
    labeler: str
    simulated: bool
    said: Said


@dataclass(frozen=True, kw_only=True)
class TextPair:
    """A text of each policy, of the same turn; rewards by the reward model, where known."""

    candidate: str
    baseline: str
    candidate_reward: float | None
    baseline_reward: float | None


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A prompt with what both policies wrote and what people said."""

    task_id: str
    prompt: Prompt
    texts: list[TextPair]
    opinions: list[Opinion]


def choose_outcomes(
    evaluation: Evaluation, said: Said | None, labeler: str | None
) -> dict[str, list[Outcome]]:
    """The rankings that say so, by task; tasks in the order of their ids."""
    candidate, baseline = evaluation.contestants.candidate.id, evaluation.contestants.baseline.id
    chosen: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in evaluation.outcomes:
        if labeler is not None and outcome.labeler != labeler:
            continue
        fits = (
            _contradicts_model(outcome, candidate, baseline)
            if said == Said.AGAINST_MODEL
            else said in (None, say(outcome, candidate, baseline))
        )
        if fits:
            chosen[outcome.task_id].append(outcome)
    return dict(sorted(chosen.items()))


def say(outcome: Outcome, candidate: str, baseline: str) -> Said:
    """Who won a ranking; of several pairs by their mean."""
    share = outcome.share(candidate, baseline)
    assert share is not None, "an evaluation holds rankings of both policies only"
    return Said.WON if share > 0.5 else Said.LOST if share < 0.5 else Said.TIED


def load_samples(
    session: Session, evaluation: Evaluation, chosen: dict[str, list[Outcome]]
) -> list[Sample]:
    """The texts of these tasks, and what their chosen rankings say, in the order given."""
    candidate, baseline = evaluation.contestants.candidate.id, evaluation.contestants.baseline.id
    texts: dict[str, list[Completion]] = defaultdict(list)
    for completion in session.scalars(
        select(Completion)
        .where(Completion.task_id.in_(chosen), Completion.model_id.in_((candidate, baseline)))
        .order_by(Completion.task_id, Completion.position)
    ):
        texts[completion.task_id].append(completion)
    asked = select(Task.id, Prompt).join(Prompt, Prompt.id == Task.prompt_id)
    prompts = dict(session.execute(asked.where(Task.id.in_(chosen))).all())
    rewards = {
        written.completion_id: written.reward
        for outcomes in chosen.values()
        for outcome in outcomes
        for written, _ in outcome.ranked
    }
    return [
        Sample(
            task_id=task_id,
            prompt=prompts[task_id],
            texts=_pair_texts(texts[task_id], candidate, rewards),
            opinions=[
                Opinion(
                    ranking_id=outcome.ranking_id,
                    labeler=outcome.labeler,
                    simulated=outcome.simulated,
                    said=say(outcome, candidate, baseline),
                )
                for outcome in outcomes
            ],
        )
        for task_id, outcomes in chosen.items()
    ]


def _pair_texts(
    completions: Sequence[Completion], candidate: str, rewards: dict[str, float | None]
) -> list[TextPair]:
    """The first texts of both, then the second ones, and so on."""
    ours = [one for one in completions if one.model_id == candidate]
    theirs = [one for one in completions if one.model_id != candidate]
    return [
        TextPair(
            candidate=our.text,
            baseline=their.text,
            candidate_reward=rewards.get(our.id),
            baseline_reward=rewards.get(their.id),
        )
        for our, their in zip(ours, theirs, strict=False)
    ]


def _contradicts_model(outcome: Outcome, candidate: str, baseline: str) -> bool:
    return any(
        share != 0.5
        and our.reward is not None
        and their.reward is not None
        and (our.reward - their.reward) * (share - 0.5) < 0
        for share, our, their in outcome.pairs(candidate, baseline)
    )
