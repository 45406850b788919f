import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.preferences.pairs import collapse_pairs, expand_ranking, pair_weight

RANKS = st.lists(st.none() | st.integers(1, 9), min_size=0, max_size=9)


def test_two_one_three_gives_the_three_pairs_best_first() -> None:
    # Shown 1st, 2nd, 3rd are ranked 2, 1, 3: the 2nd beats the 1st and the 3rd, the 1st the 3rd.
    assert expand_ranking([2, 1, 3]) == [(1, 0), (1, 2), (0, 2)]


@given(st.permutations(range(1, 8)))
def test_distinct_ranks_give_n_choose_2_pairs(ranks: list[int]) -> None:
    assert len(expand_ranking(ranks)) == 7 * 6 // 2


@given(RANKS)
def test_every_pair_is_preferred_first_and_nothing_is_missing(ranks: list[int | None]) -> None:
    expected = {
        (i, j)
        for i, better in enumerate(ranks)
        for j, worse in enumerate(ranks)
        if better is not None and worse is not None and better < worse
    }
    pairs = expand_ranking(ranks)
    assert set(pairs) == expected
    assert len(pairs) == len(expected)


@given(RANKS, st.randoms(use_true_random=False))
def test_display_order_changes_no_pair(ranks: list[int | None], random: object) -> None:
    order = list(range(len(ranks)))
    random.shuffle(order)  # type: ignore[attr-defined]
    shown = [ranks[index] for index in order]
    told = {(order[chosen], order[rejected]) for chosen, rejected in expand_ranking(shown)}
    assert told == set(expand_ranking(ranks))


@given(st.integers(1, 9), st.integers(0, 9), st.integers(0, 9))
def test_ties_and_unranked_completions_give_no_pair(rank: int, tied: int, unranked: int) -> None:
    assert expand_ranking([rank] * tied + [None] * unranked) == []


@given(RANKS)
def test_only_the_order_of_ranks_counts(ranks: list[int | None]) -> None:
    stretched = [None if rank is None else rank * 10 + 3 for rank in ranks]
    assert expand_ranking(stretched) == expand_ranking(ranks)


def test_weights_of_a_strict_ranking_add_up_to_one() -> None:
    assert pair_weight(4) * len(expand_ranking([3, 1, 4, 2])) == pytest.approx(1)


@given(st.integers(2, 9).flatmap(lambda count: st.permutations(range(1, count + 1))))
def test_collapsing_what_was_expanded_gives_the_strict_ranking_back(ranks: list[int]) -> None:
    pairs = expand_ranking(ranks)
    assert collapse_pairs(pairs, len(ranks)) == ranks
    assert expand_ranking(collapse_pairs(pairs[::-1], len(ranks))) == pairs


@pytest.mark.parametrize("pairs", [[(0, 1), (1, 2), (2, 0)], [(0, 1)], []])
def test_pairs_of_no_strict_ranking_cannot_be_collapsed(pairs: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="one strict ranking"):
        collapse_pairs(pairs, 3)
