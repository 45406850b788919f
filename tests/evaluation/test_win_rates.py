"""Win rates: the plus-four interval over prompts, what it covers, and what it takes to tell."""

import random
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.evaluation.sample_size import plan_round, rankings_needed, tellable_difference
from app.evaluation.win_rates import NO_RATE, NORMAL_95, Vote, measure_rate, mirror_rate


def votes_of(*prompts: tuple[float, ...]) -> list[Vote]:
    return [
        Vote(prompt_id=str(number), share=share)
        for number, shares in enumerate(prompts)
        for share in shares
    ]


def test_nobody_voted() -> None:
    assert measure_rate([]) == NO_RATE == mirror_rate(NO_RATE)


def test_ties_are_half_a_win() -> None:
    rate = measure_rate(votes_of((1.0,), (0.5,), (0.5,), (0.0,), (0.0,)))
    assert rate.value == pytest.approx(0.4)
    assert (rate.n, rate.prompts) == (5, 5)


def test_four_wins_of_four_are_not_certain() -> None:
    """Plus four: (4 + 2) / 8 = 0.75; Σ(w − 0.75)² = 6 · 0.0625 + 2 · 0.5625 = 1.5;
    Var = 8/7 · 1.5 / 64 = 0.026786, so the reach is 1.959964 · 0.163663 = 0.320774.
    Wilson's interval is from 0.51."""
    rate = measure_rate(votes_of((1.0,), (1.0,), (1.0,), (1.0,)))
    assert rate.value == 1.0
    assert rate.low == pytest.approx(0.75 - 0.320774, abs=1e-5)
    assert rate.high == 1.0


def test_ties_alone_are_not_certain_either() -> None:
    """c = 8, Σ(w − 0.5)² = 4 · 0.25 = 1, Var = 8/7 / 64."""
    rate = measure_rate(votes_of((0.5,), (0.5,), (0.5,), (0.5,)))
    reach = NORMAL_95 * sqrt(8 / 7 / 64)
    assert (rate.low, rate.high) == (pytest.approx(0.5 - reach), pytest.approx(0.5 + reach))


def test_many_single_votes_give_the_interval_of_agresti_and_coull() -> None:
    """With every prompt ranked once and no ties, Σ(w − p)² = n p (1 − p)."""
    won, lost = 640, 360
    rate = measure_rate(votes_of(*[(1.0,)] * won, *[(0.0,)] * lost))
    center = (won + 2) / 1004
    reach = NORMAL_95 * sqrt(center * (1 - center) / 1003)
    assert rate.low == pytest.approx(center - reach)
    assert rate.high == pytest.approx(center + reach)


def test_saying_the_same_of_a_prompt_again_tells_nothing_new() -> None:
    once = measure_rate(votes_of(*[(1.0,)] * 30, *[(0.0,)] * 20))
    thrice = measure_rate(votes_of(*[(1.0, 1.0, 1.0)] * 30, *[(0.0, 0.0, 0.0)] * 20))
    assert thrice.n == 3 * once.n
    assert (thrice.low, thrice.high) == (pytest.approx(once.low), pytest.approx(once.high))


@given(
    st.lists(
        st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=4),
        min_size=1,
        max_size=30,
    )
)
def test_the_interval_holds_the_rate_and_mirrors(prompts: list[list[float]]) -> None:
    rate = measure_rate(votes_of(*map(tuple, prompts)))
    mirrored = measure_rate(votes_of(*[tuple(1 - share for share in one) for one in prompts]))
    assert 0 <= rate.low <= rate.value <= rate.high <= 1
    assert rate.high - rate.low > 0.01
    assert mirrored.low == pytest.approx(1 - rate.high)
    other = mirror_rate(rate)
    assert (other.value, other.low, other.high) == pytest.approx(
        (mirrored.value, mirrored.low, mirrored.high)
    )
    assert (other.n, other.prompts) == (mirrored.n, mirrored.prompts)


@pytest.mark.parametrize("prompts", [6, 15, 60])
@pytest.mark.parametrize("chance", [0.5, 0.7, 0.92])
def test_the_interval_covers_the_truth_as_often_as_it_says(prompts: int, chance: float) -> None:
    """Three votes a prompt which agree more than chance: the prompt's own chance is beta
    distributed with the truth as its mean and an intraclass correlation of 1/3."""
    generator = random.Random(prompts)
    covered = 0
    for _ in range(400):
        drawn = [generator.betavariate(2 * chance, 2 * (1 - chance)) for _ in range(prompts)]
        votes = votes_of(
            *(tuple(float(generator.random() < one) for _ in range(3)) for one in drawn)
        )
        rate = measure_rate(votes)
        covered += rate.low <= chance <= rate.high
    # Three standard errors of 400 draws below 95% are 0.917.
    assert covered / 400 > 0.915


def test_a_coin_needs_the_rankings_of_the_textbook() -> None:
    """(1.959964 + 0.841621)² · 0.25 / 0.05² = 784.9, the table's 785; 10 points: 196.2."""
    needed = rankings_needed(NO_RATE, 0.05)
    assert (needed.rankings, needed.more, needed.prompts) == (785, 785, 785)
    assert rankings_needed(NO_RATE, 0.10).rankings == 197
    assert tellable_difference(NO_RATE) is None


def test_alike_rankings_of_a_prompt_are_needed_more_often() -> None:
    """100 prompts, 50 won and 50 lost by all three: one prompt is one coin. With the four,
    c = 104 and s² = 104/103 · 104 · 9/4 / (3 · 104)² · 312 = 0.757282."""
    alike = measure_rate(votes_of(*[(1.0, 1.0, 1.0)] * 50, *[(0.0, 0.0, 0.0)] * 50))
    needed = rankings_needed(alike, 0.1)
    assert alike.vote_variance == pytest.approx(0.757282, abs=1e-6)
    assert needed.rankings == 595  # 7.848879 · 0.757282 / 0.01 = 594.4
    assert needed.more == 595 - 300
    assert needed.prompts == 199  # three rankings of each


def test_what_is_tellable_now_needs_nothing_more() -> None:
    rate = measure_rate(votes_of(*[(1.0,)] * 60, *[(0.0,)] * 40))
    difference = tellable_difference(rate)
    assert rankings_needed(rate, difference).more == 0
    assert rankings_needed(rate, difference - 0.01).more > 0


def test_ties_make_a_difference_easier_to_tell() -> None:
    decided = measure_rate(votes_of(*[(1.0,)] * 50, *[(0.0,)] * 50))
    tied = measure_rate(votes_of(*[(1.0,)] * 20, *[(0.5,)] * 60, *[(0.0,)] * 20))
    assert rankings_needed(tied, 0.1).rankings < 0.5 * rankings_needed(decided, 0.1).rankings


@pytest.mark.parametrize("difference", [0.0, -0.1, 0.51])
def test_a_difference_lies_between_none_and_one_half(difference: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        rankings_needed(NO_RATE, difference)


@pytest.mark.parametrize(
    ("plan", "points", "for_ten"),
    [
        # 2.801585 · sqrt(¼ / 50), and 2.801585² · ¼ / 0.1² = 196.2 prompts.
        ({"prompts": 50, "labelers": 1, "completions": 1}, 0.198102, 197),
        ({"prompts": 16, "labelers": 1, "completions": 1}, 0.350198, 197),
        # Three labelers: V = ¼ · (0.45 + 0.55 / 3) = 0.158333.
        ({"prompts": 50, "labelers": 3, "completions": 1}, 0.157654, 125),
        # Two completions each: (2 · 2 + 1) / (3 · 4) = 5/12, V = ¼ · (0.45 + 0.55 · 5/12).
        ({"prompts": 50, "labelers": 1, "completions": 2}, 0.163259, 134),
    ],
)
def test_what_a_planned_round_can_tell(plan: dict[str, int], points: float, for_ten: int) -> None:
    found = plan_round(**plan)
    assert found.tellable == pytest.approx(points, abs=1e-5)
    assert found.prompts_needed[0.1] == for_ten
    assert found.rankings == plan["prompts"] * plan["labelers"]


def test_no_number_of_labelers_makes_up_for_prompts() -> None:
    """What rankings of a prompt share stays: 2.801585 · sqrt(¼ · 0.45 / 16) at the very best."""
    found = plan_round(prompts=16, labelers=10_000, completions=4)
    assert found.tellable == pytest.approx(0.234917, abs=1e-4)
    with pytest.raises(ValueError, match="at least"):
        plan_round(prompts=0, labelers=1, completions=1)
