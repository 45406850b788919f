from itertools import combinations
from math import nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from app.labeling.comparing import (
    agreements,
    gold_score,
    kendall_tau_b,
    kendall_w,
    pair_signs,
    slot_wins,
    ties,
)

RANK = st.integers(1, 5)
COMPLETE_PAIR = st.integers(2, 9).flatmap(
    lambda count: st.tuples(*[st.lists(RANK, min_size=count, max_size=count)] * 2)
)
PARTIAL_PAIR = st.integers(2, 9).flatmap(
    lambda count: st.tuples(*[st.lists(st.none() | RANK, min_size=count, max_size=count)] * 2)
)


def tau_b(a, b):
    return kendall_tau_b(pair_signs(a), pair_signs(b))


@settings(deadline=None)
@given(st.integers(2, 9).flatmap(lambda count: st.permutations(range(1, count + 1))))
def test_an_exact_reversal_is_minus_one_and_the_same_order_is_one(order):
    reversed_order = [len(order) + 1 - rank for rank in order]
    assert tau_b(order, reversed_order) == -1
    assert tau_b(order, order) == 1
    agreed, pairs = agreements(pair_signs(order), pair_signs(reversed_order))
    assert (agreed, pairs) == (0, len(order) * (len(order) - 1) // 2)


@settings(deadline=None)
@given(COMPLETE_PAIR)
def test_tau_b_is_what_scipy_computes_ties_included(orders):
    a, b = orders
    expected = kendalltau(a, b).statistic
    ours = tau_b(a, b)
    assert (nan if ours is None else ours) == pytest.approx(expected, nan_ok=True, abs=1e-12)


@settings(deadline=None)
@given(PARTIAL_PAIR)
def test_what_either_left_unranked_is_left_out(orders):
    a, b = orders
    both = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    kept_a, kept_b = [x for x, _ in both], [y for _, y in both]
    assert tau_b(a, b) == tau_b(kept_a, kept_b)
    for compare in (agreements, ties):
        full = compare(pair_signs(a), pair_signs(b))
        assert full == compare(pair_signs(kept_a), pair_signs(kept_b))


@settings(deadline=None)
@given(PARTIAL_PAIR)
def test_agreement_counts_pairs_on_which_both_say_the_same(orders):
    def sign(order, i, j):
        return (order[i] > order[j]) - (order[i] < order[j])

    a, b = orders
    known = [
        (i, j) for i, j in combinations(range(len(a)), 2) if None not in (a[i], a[j], b[i], b[j])
    ]
    same = sum(sign(a, i, j) == sign(b, i, j) for i, j in known)
    assert agreements(pair_signs(a), pair_signs(b)) == (same, len(known))
    tied = tuple(sum(sign(order, i, j) == 0 for i, j in known) for order in orders)
    assert ties(pair_signs(a), pair_signs(b)) == tied


@settings(deadline=None)
@given(PARTIAL_PAIR, st.randoms())
def test_the_order_of_completions_makes_no_difference(orders, random):
    places = list(range(len(orders[0])))
    random.shuffle(places)
    moved = [[order[place] for place in places] for order in orders]
    assert tau_b(*moved) == tau_b(*orders)
    assert agreements(*map(pair_signs, moved)) == agreements(*map(pair_signs, orders))
    moved_w, w = kendall_w(moved), kendall_w(orders)
    assert (moved_w is None) == (w is None)
    assert w is None or moved_w == pytest.approx(w)
    assert gold_score(*moved) == gold_score(*orders)


def test_tau_b_is_undefined_where_one_ties_all():
    assert tau_b([1, 1, 1], [1, 2, 3]) is None
    assert tau_b([1, 1, None], [1, 2, 3]) is None
    assert tau_b([1, 2], [None, 1]) is None
    # "Equal" agrees with nothing here but is an answer all the same.
    assert agreements(pair_signs([1, 1, 1]), pair_signs([1, 2, 3])) == (0, 3)


def test_kendall_w_by_hand_with_ties():
    """Three labelers, four completions, as mid-ranks:

    A 1 2 3 4      B 1.5 1.5 3 4 (one tie of 2: T = 2³ − 2 = 6)      C 2 1 3.5 3.5 (T = 6)
    Sums 4.5 4.5 9.5 11.5, mean 7.5, squared deviations 9 + 9 + 4 + 16 = 38.
    W = 12 · 38 / (3² (4³ − 4) − 3 · (6 + 6)) = 456 / 504 = 19/21.
    """
    orders = [[1, 2, 3, 4], [1, 1, 2, 3], [2, 1, 3, 3]]
    assert kendall_w(orders) == pytest.approx(19 / 21)


def test_kendall_w_at_its_ends():
    assert kendall_w([[1, 2, 3], [1, 2, 3], [1, 2, 3]]) == 1
    assert kendall_w([[1, 1, 2], [1, 1, 2]]) == 1
    assert kendall_w([[1, 2, 3], [3, 2, 1]]) == 0
    assert kendall_w([[1, 1, 1], [1, 1, 1]]) is None
    assert kendall_w([[1, 2, 3]]) is None
    # Only completions that all ranked count: the last two here, on which they agree.
    assert kendall_w([[1, 2, 3], [None, 1, 2]]) == 1
    assert kendall_w([[1, None], [None, 1]]) is None


def test_w_of_two_labelers_is_half_of_one_more_than_the_mean_rank_correlation():
    """W = (ρ + 1) / 2 for two labelers without ties (Kendall 1948, chapter 6)."""
    from scipy.stats import spearmanr

    for order in ([1, 2, 3, 4, 5], [2, 1, 4, 3, 5], [5, 3, 1, 2, 4]):
        rho = spearmanr([1, 2, 3, 4, 5], order).statistic
        assert kendall_w([[1, 2, 3, 4, 5], order]) == pytest.approx((rho + 1) / 2)


def test_gold_counts_its_strict_pairs_and_half_of_a_tie():
    assert gold_score([1, 2, 3], [1, 2, 3]) == (3, 3)
    assert gold_score([3, 2, 1], [1, 2, 3]) == (0, 3)
    assert gold_score([1, 1, 2], [1, 2, 3]) == (2.5, 3)
    # Gold ties the first two: what a labeler says of them is neither right nor wrong.
    assert gold_score([2, 1, 3], [1, 1, 2]) == (2, 2)
    assert gold_score([None, 1, 2], [1, 2, 3]) == (1, 1)
    assert gold_score([1, 1, 1], [1, 1, 1]) == (0, 0)


def test_slot_wins_by_hand():
    # Shown in the order 2, 0, 1 with ranks 1, 3, 2: the page reads 1, 3, 2 from the top.
    assert slot_wins([3, 2, 1], [2, 0, 1]) == ((2, 2), (0, 2), (1, 2))
    assert slot_wins([1, 1, 2], [0, 1, 2]) == ((1.5, 2), (1.5, 2), (0, 2))
    # The first one shown is unranked: it wins and loses nothing, nor does anybody against it.
    assert slot_wins([None, 1, 2], [0, 1, 2]) == ((0, 0), (1, 1), (0, 1))
    assert slot_wins([1, 2], []) == ()
