"""The interval that may be looked at after every ranking: what it is, and that it holds."""

import random
from math import log, sqrt

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.evaluation.always_valid import ERROR, log_capital, measure_always
from app.evaluation.win_rates import Vote, measure_rate

SHARES = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=60)


def left_out(shares: list[float], mean: float) -> bool:
    values, counts = numpy.unique(shares, return_counts=True)
    return log_capital(values, counts, mean) >= log(1 / ERROR)


def test_nothing_is_said_of_nothing() -> None:
    assert measure_always([]) is None


def test_one_win_rules_out_next_to_nothing() -> None:
    """The bets' mean is one half: K(m) = 0.5 / m, which is 20 at 0.025."""
    found = measure_always([1.0])
    assert found.low == pytest.approx(0.025)
    assert found.high == 1.0


def test_two_wins() -> None:
    """K(m) = E q² / m², and E q² = 0.25 + 0.25 / 11 for a Beta(5, 5)."""
    found = measure_always([1.0, 1.0])
    assert found.low == pytest.approx(sqrt((0.25 + 0.25 / 11) / 20), rel=1e-3)


def test_one_tie() -> None:
    """K(m) = (0.5 / m + 0.5 / (1 − m)) / 2 = 1 / (4 m (1 − m)): 20 where m (1 − m) = 1 / 80."""
    found = measure_always([0.5])
    edge = (1 - sqrt(1 - 4 / 80)) / 2
    assert (found.low, found.high) == (pytest.approx(edge), pytest.approx(1 - edge))


@given(SHARES)
def test_it_holds_the_mean_mirrors_and_knows_no_order(shares: list[float]) -> None:
    found = measure_always(shares)
    mirrored = measure_always([1 - share for share in shares])
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert mirrored.low == pytest.approx(1 - found.high, abs=1e-9)
    assert measure_always(shares[::-1]) == found


@given(SHARES, st.floats(0.01, 0.99))
def test_it_is_every_mean_that_no_bet_grew_rich_against(shares: list[float], mean: float) -> None:
    found = measure_always(shares)
    inside = found.low < mean < found.high
    assert inside != left_out(shares, mean) or min(
        abs(mean - found.low), abs(mean - found.high)
    ) == pytest.approx(0, abs=1e-9)


def first_look_that_leaves_out(drawn: list[int], values: list[float], mean: float) -> int:
    """Of shares that come one by one, how many had come; one more than all where it never does."""
    counts = numpy.zeros(len(values), dtype=int)
    for look, which in enumerate(drawn, start=1):
        counts[which] += 1
        if log_capital(numpy.array(values), counts, mean) >= log(1 / ERROR):
            return look
    return len(drawn) + 1


@pytest.mark.parametrize(
    ("values", "weights"),
    [([0.0, 1.0], [0.5, 0.5]), ([0.0, 1.0], [0.3, 0.7]), ([0.0, 0.5, 1.0], [0.2, 0.4, 0.4])],
)
def test_the_truth_is_seldom_left_out_at_any_look(
    values: list[float], weights: list[float]
) -> None:
    """Looks after each of 150 prompts, 250 times: at most 5% may ever leave it out, give or take
    three standard errors (0.041)."""
    generator = random.Random(7)
    truth = sum(value * weight for value, weight in zip(values, weights, strict=True))
    places = range(len(values))
    misled = sum(
        first_look_that_leaves_out(generator.choices(places, weights, k=150), values, truth) <= 150
        for _ in range(250)
    )
    assert misled / 250 < 0.05 + 0.041


def test_the_plain_interval_misleads_who_looks_again_and_again() -> None:
    """It leaves an even split out at one of 96 looks in more than 15 of 100 rounds of coins."""
    generator = random.Random(7)
    misled = 0
    for _ in range(60):
        votes = [
            Vote(prompt_id=str(number), share=float(generator.random() < 0.5))
            for number in range(100)
        ]
        rates = (measure_rate(votes[:look]) for look in range(5, 101))
        misled += any(not rate.low <= 0.5 <= rate.high for rate in rates)
    assert misled / 60 > 0.15


def test_looking_always_costs_about_as_many_rankings_again() -> None:
    """197 planned rankings tell 10 points from a coin 8 times of 10. Looking after every ranking,
    half of the rounds have told it by then, and nearly all by twice as many."""
    generator = random.Random(3)
    told = [
        first_look_that_leaves_out(generator.choices([0, 1], [0.4, 0.6], k=400), [0.0, 1.0], 0.5)
        for _ in range(100)
    ]
    assert 0.4 < sum(look <= 197 for look in told) / 100 < 0.7
    assert sum(look <= 400 for look in told) / 100 > 0.8


def test_ties_are_known_to_vary_little() -> None:
    decided = measure_always([1.0, 0.0] * 50)
    tied = measure_always([1.0, 0.0] * 10 + [0.5] * 80)
    assert tied.high - tied.low < 0.8 * (decided.high - decided.low)
