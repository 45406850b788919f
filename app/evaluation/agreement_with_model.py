"""Whether a reward model says of pairs what people say of them. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.evaluation.win_rates import Rate, Vote, measure_rate


@dataclass(frozen=True, kw_only=True)
class JudgedPair:
    """One (candidate, baseline) pair of one ranking, with what the reward model gave its texts."""

    prompt_id: str
    share: float
    """1 where the person put the candidate above, 0.5 for a tie, 0 where below."""
    reward_difference: float
    """Reward of the candidate's text less that of the baseline's."""


@dataclass(frozen=True, kw_only=True)
class ModelAgreement:
    """A reward model beside the people who ranked the same pairs."""

    agreement: Rate
    """Of the pairs that a person decided, the share that the model decides the same way; equal
    rewards are half."""
    tied_by_people: int
    """Pairs that a person called equal: no reward model says that, so they are left out above."""
    model_win_rate: Rate
    """Of all these pairs, the share in which the model prefers the candidate."""


def compare_with_model(pairs: Sequence[JudgedPair]) -> ModelAgreement:
    """How far the model agrees, and its own verdict; intervals over prompts (`measure_rate`)."""
    decided = [pair for pair in pairs if pair.share != 0.5]
    return ModelAgreement(
        agreement=measure_rate(
            [
                Vote(prompt_id=pair.prompt_id, share=1 - abs(pair.share - _verdict(pair)))
                for pair in decided
            ]
        ),
        tied_by_people=len(pairs) - len(decided),
        model_win_rate=measure_rate(
            [Vote(prompt_id=pair.prompt_id, share=_verdict(pair)) for pair in pairs]
        ),
    )


def _verdict(pair: JudgedPair) -> float:
    difference = pair.reward_difference
    return 1.0 if difference > 0 else 0.0 if difference < 0 else 0.5
