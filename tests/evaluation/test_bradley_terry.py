"""Strengths of several policies, against choix and closed forms."""

import random

import choix
import numpy
import pytest

from app.evaluation.bradley_terry import PRIOR_WINS, fit_bradley_terry, linked_with


def draw_tables(prompts: int, strengths: list[float], seed: int = 1) -> list[list[list[float]]]:
    """A ranking of all policies on each prompt, by strength and noise, as tables of wins."""
    generator = random.Random(seed)
    tables = []
    for _ in range(prompts):
        table = [[0.0] * len(strengths) for _ in strengths]
        for i, first in enumerate(strengths):
            for j in range(i):
                chance = 1 / (1 + numpy.exp(strengths[j] - first))
                winner, loser = (i, j) if generator.random() < chance else (j, i)
                table[winner][loser] += 1.0
        tables.append(table)
    return tables


@pytest.mark.parametrize("count", [3, 4, 6])
def test_strengths_are_those_of_choix(count: int) -> None:
    tables = draw_tables(60, [0.4 * place for place in range(count)], seed=count)
    comparisons = [
        (i, j)
        for table in tables
        for i, row in enumerate(table)
        for j, won in enumerate(row)
        for _ in range(int(won))
    ]
    expected = choix.opt_pairwise(count, comparisons, alpha=0.0, method="BFGS", tol=1e-10)
    mm = choix.mm_pairwise(count, comparisons, alpha=0.0, max_iter=100_000)
    found = fit_bradley_terry(tables, baseline=1, resamples=50)
    values = [one.value for one in found.strengths]
    assert not found.bounded
    assert values == pytest.approx(list(expected - expected[1]), abs=1e-4)
    assert values == pytest.approx(list(mm - mm[1]), abs=1e-4)


def test_two_policies_are_the_log_odds_of_their_wins() -> None:
    """ln(15 / 5) = 1.0986: of 20 prompts 14 won, 4 lost, 2 tied."""
    won, lost, tied = [[0, 1], [0, 0]], [[0, 0], [1, 0]], [[0, 0.5], [0.5, 0]]
    found = fit_bradley_terry([won] * 14 + [lost] * 4 + [tied] * 2, baseline=1)
    first, second = found.strengths
    assert first.value == pytest.approx(1.098612, abs=1e-6)
    assert first.beats_baseline == pytest.approx(0.75)
    assert (second.value, second.low, second.high) == (0.0, 0.0, 0.0)
    assert second.beats_baseline == 0.5


def test_a_policy_that_never_lost_has_a_bounded_strength_that_says_so() -> None:
    """(10 + 0.1) / 0.1 = 101 to 1."""
    found = fit_bradley_terry([[[0, 1], [0, 0]]] * 10, baseline=1)
    assert found.bounded
    assert found.strengths[0].value == pytest.approx(numpy.log((10 + PRIOR_WINS) / PRIOR_WINS))


def test_policies_never_compared_have_no_strengths() -> None:
    first = [[0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]]
    second = [[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]]
    assert fit_bradley_terry([first, second] * 5) is None


def test_who_can_be_placed_beside_a_policy() -> None:
    """0 met 1 and 1 met 2, over a tie; 3 met nobody."""
    tables = [
        [[0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
        [[0, 0, 0, 0], [0, 0, 0.5, 0], [0, 0.5, 0, 0], [0, 0, 0, 0]],
    ]
    assert linked_with(tables, 2) == [0, 1, 2]
    assert linked_with(tables, 3) == [3]
    assert linked_with([], 1) == [1]


def test_one_prompt_says_nothing_of_others() -> None:
    assert fit_bradley_terry([[[0, 3], [1, 0]]]) is None


def test_compared_by_way_of_a_third_is_compared() -> None:
    """A and C never met; A beats B 3 to 1, B beats C 3 to 1: ln 3 each."""
    tables = [[[0, 3, 0], [1, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 3], [0, 1, 0]]]
    found = fit_bradley_terry(tables, baseline=2)
    assert [one.value for one in found.strengths] == pytest.approx(
        [2 * 1.098612, 1.098612, 0.0], abs=1e-5
    )


def test_intervals_cover_and_narrow_with_the_prompts() -> None:
    truth = [0.0, 0.8, 0.3]
    few = fit_bradley_terry(draw_tables(40, truth), resamples=300)
    many = fit_bradley_terry(draw_tables(640, truth), resamples=300)
    for wide, narrow in zip(few.strengths[1:], many.strengths[1:], strict=True):
        assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(4, rel=0.35)
    covered = 0
    for seed in range(60):
        found = fit_bradley_terry(draw_tables(80, truth, seed), resamples=200).strengths[1]
        covered += found.low <= 0.8 <= found.high
    assert covered >= 51


def test_prompts_that_say_the_same_are_resampled_whole() -> None:
    """Three rankings of a prompt that agree are one prompt's worth."""
    tables = draw_tables(50, [0.0, 0.5])
    alike = [[[3 * won for won in row] for row in table] for table in tables]
    once, thrice = fit_bradley_terry(tables), fit_bradley_terry(alike)
    assert thrice.strengths[1].low == pytest.approx(once.strengths[1].low, abs=1e-9)
