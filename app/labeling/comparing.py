"""Two orders of the same completions, compared. Pure: no database, no numpy.

An order is a list of ranks, one for each completion and always in the same order of completions:
1 is best, equal ranks are a tie, None is unranked. What an order says of a pair of completions
(better, equal or worse) is its sign; a pair with an unranked completion has none and is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import sqrt

Ranks = Sequence[int | None]


@dataclass(frozen=True, slots=True)
class PairSigns:
    """What an order says of every pair of completions: bit sets over the pairs (i, j), i < j."""

    better: int
    """Pairs of which the earlier completion is better."""
    equal: int
    worse: int

    @property
    def known(self) -> int:
        """Pairs of which it says anything."""
        return self.better | self.equal | self.worse


def pair_signs(ranks: Ranks) -> PairSigns:
    """The signs of all pairs of completions."""
    return _pair_signs(tuple(ranks))


@lru_cache(maxsize=8192)
def _pair_signs(ranks: tuple[int | None, ...]) -> PairSigns:
    better = equal = worse = 0
    for bit, (first, second) in enumerate(combinations(ranks, 2)):
        if first is None or second is None:
            continue
        if first < second:
            better |= 1 << bit
        elif first > second:
            worse |= 1 << bit
        else:
            equal |= 1 << bit
    return PairSigns(better, equal, worse)


def agreements(a: PairSigns, b: PairSigns) -> tuple[int, int]:
    """On how many pairs both say the same, and of how many pairs both say anything."""
    same = (a.better & b.better) | (a.equal & b.equal) | (a.worse & b.worse)
    return same.bit_count(), (a.known & b.known).bit_count()


def kendall_tau_b(a: PairSigns, b: PairSigns) -> float | None:
    """τ_b = (C − D) / √(S_a · S_b), from −1 (reversed) to 1; None where one of them ties all.

    C and D count the pairs ordered the same and the opposite way, S_a and S_b those that a and b
    do not tie, among the pairs of which both say anything (Kendall 1945).
    """
    common = a.known & b.known
    strict_a = ((a.better | a.worse) & common).bit_count()
    strict_b = ((b.better | b.worse) & common).bit_count()
    if strict_a == 0 or strict_b == 0:
        return None
    concordant = ((a.better & b.better) | (a.worse & b.worse)).bit_count()
    discordant = ((a.better & b.worse) | (a.worse & b.better)).bit_count()
    return (concordant - discordant) / sqrt(strict_a * strict_b)


def ties(a: PairSigns, b: PairSigns) -> tuple[int, int]:
    """How many pairs a ties and how many b does, among those of which both say anything."""
    return (a.equal & b.known).bit_count(), (b.equal & a.known).bit_count()


def kendall_w(orders: Sequence[Ranks]) -> float | None:
    """Kendall's W of one task, corrected for ties: 1 when all labelers give the same order.

    W = 12 Σ (R_i − R̄)² / (m² (n³ − n) − m Σ T_j) with R_i the sum of the mid-ranks of completion
    i, m labelers, n completions and T_j = Σ (t³ − t) over the groups of t tied completions of
    labeler j (Kendall 1948, chapter 6). Only completions that all of them ranked count; None for
    fewer than two of those or of labelers, and where every labeler ties all.
    """
    kept = [column for column in zip(*orders, strict=True) if None not in column]
    labelers, completions = len(orders), len(kept)
    if labelers < 2 or completions < 2:
        return None
    sums = [0.0] * completions
    correction = 0
    for order in zip(*kept, strict=True):
        mid_ranks, tied = _mid_ranks(order)
        correction += tied
        for place, value in enumerate(mid_ranks):
            sums[place] += value
    mean = labelers * (completions + 1) / 2
    spread = sum((value - mean) ** 2 for value in sums)
    most = labelers**2 * (completions**3 - completions) - labelers * correction
    return 12 * spread / most if most else None


@lru_cache(maxsize=8192)
def _mid_ranks(order: tuple[int, ...]) -> tuple[tuple[float, ...], int]:
    """The mid-rank of each completion (those before it, and half of those it shares its place
    with) and Σ (t³ − t) over the groups of t tied ones."""
    same = [order.count(rank) for rank in order]
    below = [sum(other < rank for other in order) for rank in order]
    mid_ranks = tuple(less + (tied + 1) / 2 for less, tied in zip(below, same, strict=True))
    # A group of t adds t³ − t in t equal parts.
    return mid_ranks, sum(tied * tied - 1 for tied in same)


def gold_score(ranks: Ranks, gold: Ranks) -> tuple[float, int]:
    """Of the pairs that gold orders strictly, how many are ordered the same, a tie being half,
    and how many the labeler ranked both completions of."""
    given, right = pair_signs(ranks), pair_signs(gold)
    strict = (right.better | right.worse) & given.known
    same = (given.better & right.better) | (given.worse & right.worse)
    tied = given.equal & strict
    return same.bit_count() + tied.bit_count() / 2, strict.bit_count()


def slot_wins(ranks: Ranks, shown: Sequence[int]) -> tuple[tuple[float, int], ...]:
    """For each place on the page, the pairs won by the completion shown there, a tie being half,
    and the pairs it was in; empty where the order shown is unknown."""
    return _order_wins(tuple(ranks[place] for place in shown))


@lru_cache(maxsize=8192)
def _order_wins(order: tuple[int | None, ...]) -> tuple[tuple[float, int], ...]:
    ranked = [rank for rank in order if rank is not None]
    wins = []
    for rank in order:
        if rank is None:
            wins.append((0.0, 0))
            continue
        tied = ranked.count(rank) - 1
        won = sum(rank < other for other in ranked)
        wins.append((won + tied / 2, len(ranked) - 1))
    return tuple(wins)
