"""Rankings as preferred-first pairs. Nothing here touches the database."""

from collections.abc import Sequence
from itertools import combinations
from math import comb


def expand_ranking(ranks: Sequence[int | None]) -> list[tuple[int, int]]:
    """Every (chosen, rejected) pair of indices that a ranking tells of, best first.

    Rank 1 is best. "2, 1, 3" gives (second over first), (second over third), (first over third):
    N distinct ranks give N(N-1)/2 pairs. Equal ranks and unranked (None) completions give none.
    """
    order = sorted((rank, index) for index, rank in enumerate(ranks) if rank is not None)
    return [
        (chosen, rejected)
        for (better, chosen), (worse, rejected) in combinations(order, 2)
        if better < worse
    ]


def collapse_pairs(pairs: Sequence[tuple[int, int]], completions: int) -> list[int]:
    """The ranks of a strict ranking from its (chosen, rejected) pairs: undoes `expand_ranking`.

    A completion is one rank below for every completion that was preferred to it.

    Raises:
        ValueError: the pairs are not those of one order of all `completions`.
    """
    ranks = [1] * completions
    for _, rejected in pairs:
        ranks[rejected] += 1
    if sorted(expand_ranking(ranks)) != sorted(pairs) or len(set(ranks)) != completions:
        raise ValueError("the pairs are not those of one strict ranking")
    return ranks


def pair_weight(completions: int) -> float:
    """1/C(N, 2): with it every ranking counts the same, whatever its number of completions.

    InstructGPT (Ouyang et al. 2022), section 3.5, equation 1.
    """
    return 1 / comb(completions, 2)
