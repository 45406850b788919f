"""The win rate at equal lengths, against scipy's optimiser and invented worlds."""

import math
import random

import numpy
import pytest
from scipy.optimize import minimize

from app.evaluation.length_correction import PENALTY, SizedVote, correct_for_length


def draw_votes(
    count: int, *, theta: float, phi: float, shift: float, seed: int = 1
) -> list[SizedVote]:
    """Votes of a world in which P(win) = σ(θ + φ tanh(d / 100)), d about `shift`."""
    generator = random.Random(seed)
    votes = []
    for number in range(count):
        longer = generator.gauss(shift, 100)
        chance = 1 / (1 + math.exp(-theta - phi * math.tanh(longer / 100)))
        share = float(generator.random() < chance)
        votes.append(SizedVote(prompt_id=str(number), share=share, longer_by=longer))
    return votes


def test_a_policy_that_only_writes_longer_is_no_better() -> None:
    votes = draw_votes(4000, theta=0.0, phi=2.0, shift=120)
    raw = sum(vote.share for vote in votes) / len(votes)
    found = correct_for_length(votes)
    assert raw > 0.75
    assert found.low < 0.5 < found.high
    assert found.value == pytest.approx(0.5, abs=0.04)
    assert found.length_effect == pytest.approx(2.0, abs=0.3)


def test_a_policy_that_is_better_stays_better() -> None:
    """σ(1) = 0.731."""
    found = correct_for_length(draw_votes(4000, theta=1.0, phi=1.0, shift=-50))
    assert found.value == pytest.approx(0.731, abs=0.03)
    assert found.mean_longer_by == pytest.approx(-50, abs=6)


def test_the_fit_is_the_one_scipy_finds() -> None:
    votes = draw_votes(200, theta=0.4, phi=-0.8, shift=30, seed=3)
    votes[:40] = [
        SizedVote(prompt_id=vote.prompt_id, share=0.5, longer_by=vote.longer_by)
        for vote in votes[:40]
    ]
    longer = numpy.array([vote.longer_by for vote in votes])
    won = numpy.array([vote.share for vote in votes])
    slope = numpy.tanh(longer / longer.std())

    def loss(at: numpy.ndarray) -> float:
        logits = at[0] + at[1] * slope
        likelihood = won * -numpy.log1p(numpy.exp(-logits))
        likelihood += (1 - won) * -numpy.log1p(numpy.exp(logits))
        return float(-likelihood.sum() + PENALTY * (at**2).sum() / 2)

    best = minimize(loss, [0.0, 0.0], method="BFGS", tol=1e-10).x
    found = correct_for_length(votes)
    assert found.value == pytest.approx(1 / (1 + math.exp(-best[0])), abs=1e-5)
    assert found.length_effect == pytest.approx(best[1], abs=1e-4)


def test_equal_lengths_leave_the_win_rate_as_it_is() -> None:
    votes = [
        SizedVote(prompt_id=str(number), share=float(number < 14), longer_by=0.0)
        for number in range(20)
    ]
    found = correct_for_length(votes)
    assert found.value == pytest.approx(0.7, abs=1e-3)
    assert (found.length_effect, found.mean_longer_by) == (0.0, 0.0)


def test_length_that_tells_every_winner_gives_a_number_all_the_same() -> None:
    votes = [
        SizedVote(
            prompt_id=str(number), share=float(number % 2), longer_by=100.0 * (-1) ** (number + 1)
        )
        for number in range(20)
    ]
    found = correct_for_length(votes)
    assert found.value == pytest.approx(0.5, abs=0.01)
    assert found.low < 0.4
    assert found.high > 0.6
    assert found.length_effect > 5


def test_wins_alone_are_not_certain() -> None:
    votes = [
        SizedVote(prompt_id=str(number), share=1.0, longer_by=float(number)) for number in range(4)
    ]
    found = correct_for_length(votes)
    assert found.low < 0.75
    assert found.high >= found.value > 0.95


def test_votes_of_one_prompt_count_as_one() -> None:
    votes = draw_votes(60, theta=0.3, phi=0.5, shift=10, seed=5)
    once, thrice = correct_for_length(votes), correct_for_length(votes * 3)
    assert thrice.n == 180
    assert thrice.value == pytest.approx(once.value, abs=1e-3)
    assert thrice.high - thrice.low == pytest.approx(once.high - once.low, abs=2e-3)


def test_two_prompts_are_too_few() -> None:
    assert correct_for_length(draw_votes(2, theta=0, phi=0, shift=0)) is None


def test_the_interval_covers_the_truth() -> None:
    covered = 0
    for seed in range(200):
        found = correct_for_length(draw_votes(80, theta=0.5, phi=1.0, shift=60, seed=seed))
        covered += found.low <= 1 / (1 + math.exp(-0.5)) <= found.high
    assert covered / 200 > 0.9
