"""Several labelers' orders of one task made into one. Pure.

An order is a list of ranks as in `app.labeling.comparing`. Every labeler weighs the same. A
completion that nobody ranked stays unranked.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from math import exp, log1p

from app.labeling.comparing import Ranks

PRIOR_WINS = 0.1
"""Bradley–Terry: each of two completions is taken to have beaten the other this many times more
than labelers said. A tenth of one opinion bounds the strengths where all labelers agree, and is
too little to turn an order that the counts give."""
SAME_STRENGTH = 1e-6
GRADIENT_TOLERANCE = 1e-10
MOST_STEPS = 200

HalfWins = list[list[int]]
"""[i][j]: twice how many labelers put completion i above completion j, a tie being half."""


class ConsensusMethod(StrEnum):
    """How several orders are made into one."""

    MAJORITY = "majority"
    BORDA = "borda"
    BRADLEY_TERRY = "bradley-terry"


@dataclass(frozen=True, kw_only=True)
class Consensus:
    """The order of a task that its labelers come to together."""

    ranks: list[int | None]
    """Dense, 1 is best, equal scores share a rank."""
    scores: list[float | None]
    """What it was ordered by, higher is better; see the methods."""


def aggregate(orders: Sequence[Ranks], method: ConsensusMethod) -> Consensus:
    """One order of the completions from those of several labelers, at least one of them."""
    exact = _METHODS[method](orders)
    return Consensus(
        ranks=_dense_ranks(exact),
        scores=[None if score is None else float(score) for score in exact],
    )


def majority_scores(orders: Sequence[Ranks]) -> list[Fraction | None]:
    """Copeland's: the other completions that a majority puts below, an even split being half.

    Without a cycle of majorities and without even splits this is the order of the majorities.
    The completions of a cycle (A over B, B over C, C over A) share a rank when they do equally
    well against the rest. Where nobody ranked both, the pair is an even split.
    """
    wins = _count_wins(orders)
    ranked = _ranked(orders)
    return [
        sum((_verdict(wins[i][j], wins[j][i]) for j in ranked if j != i), Fraction(0))
        if i in ranked
        else None
        for i in range(len(wins))
    ]


def _verdict(won: int, lost: int) -> Fraction:
    return Fraction(1) if won > lost else Fraction(1, 2) if won == lost else Fraction(0)


def borda_scores(orders: Sequence[Ranks]) -> list[Fraction | None]:
    """Borda's: the mean over labelers of the share of other completions put below, ties half.

    For labelers who rank everything it gives the order of the mean ranks. A labeler who left a
    completion out has no say on it, nor does one who ranked nothing else.
    """
    shares: list[list[Fraction]] = [[] for _ in orders[0]]
    for order in orders:
        ranked = [rank for rank in order if rank is not None]
        if len(ranked) < 2:
            continue
        for place, rank in enumerate(order):
            if rank is not None:
                below = sum(rank < other for other in ranked)
                tied = ranked.count(rank) - 1
                shares[place].append((below + Fraction(tied, 2)) / (len(ranked) - 1))
    ranked_places = _ranked(orders)
    return [
        sum(given, Fraction(0)) / len(given)
        if given
        else (Fraction(1, 2) if place in ranked_places else None)
        for place, given in enumerate(shares)
    ]


def bradley_terry_scores(orders: Sequence[Ranks]) -> list[float | None]:
    """Log-strengths θ, their mean 0, that maximise Σ_ij w_ij log σ(θ_i − θ_j).

    w_ij counts the labelers who put i above j, a tie being half each way, and `PRIOR_WINS` more
    (Bradley and Terry 1952): with a sweep the maximum would lie at infinity. The sum is strictly
    concave, so Newton's method with halved steps finds the one maximum. Strengths that differ by
    less than `SAME_STRENGTH` share a rank.
    """
    counted = _count_wins(orders)
    places = sorted(_ranked(orders))
    strengths = _fit_strengths(
        [[0.0 if i == j else counted[i][j] / 2 + PRIOR_WINS for j in places] for i in places]
    )
    scores: list[float | None] = [None] * len(counted)
    previous: float | None = None
    # The nearly equal are made equal, from the weakest up.
    for strength, place in sorted(zip(strengths, places, strict=True)):
        if previous is None or strength - previous > SAME_STRENGTH:
            previous = strength
        scores[place] = previous
    return scores


def _fit_strengths(wins: Sequence[Sequence[float]]) -> list[float]:
    """The maximum of the log-likelihood; every two must have beaten each other at least a bit."""
    import numpy

    count = len(wins)
    won = numpy.array(wins, dtype=float)
    met = won + won.T
    strengths = numpy.zeros(count)
    likelihood = _log_likelihood(wins, strengths.tolist())
    for _ in range(MOST_STEPS):
        chance = 1 / (1 + numpy.exp(strengths[None, :] - strengths[:, None]))
        gradient = (won - met * chance).sum(axis=1)
        if numpy.abs(gradient).max(initial=0.0) < GRADIENT_TOLERANCE:
            break
        curvature = met * chance * chance.T
        # Strengths are determined up to a constant: the ones fix it, their sum staying 0.
        hessian = numpy.diag(curvature.sum(axis=1)) - curvature + 1 / count
        step = numpy.linalg.solve(hessian, gradient)
        while (better := _log_likelihood(wins, (strengths + step).tolist())) < likelihood:
            step /= 2
            if numpy.abs(step).max() < GRADIENT_TOLERANCE:
                return [float(strength) for strength in strengths]
        strengths, likelihood = strengths + step, better
    return [float(strength) for strength in strengths]


def _log_likelihood(wins: Sequence[Sequence[float]], strengths: Sequence[float]) -> float:
    total = 0.0
    for i, row in enumerate(wins):
        for j, count in enumerate(row):
            if count:
                difference = strengths[j] - strengths[i]
                # log σ(−x) without overflow.
                total -= count * (max(difference, 0.0) + log1p(exp(-abs(difference))))
    return total


def _count_wins(orders: Sequence[Ranks]) -> HalfWins:
    count = len(orders[0])
    wins = [[0] * count for _ in range(count)]
    for order in orders:
        for i, first in enumerate(order):
            for j, second in enumerate(order):
                if i != j and first is not None and second is not None and first <= second:
                    wins[i][j] += 2 if first < second else 1
    return wins


def _ranked(orders: Sequence[Ranks]) -> set[int]:
    """Places of the completions that anybody ranked."""
    return {place for order in orders for place, rank in enumerate(order) if rank is not None}


def _dense_ranks(scores: Sequence[Fraction | float | None]) -> list[int | None]:
    best_first = sorted({score for score in scores if score is not None}, reverse=True)
    rank = {score: number for number, score in enumerate(best_first, start=1)}
    return [None if score is None else rank[score] for score in scores]


_METHODS: dict[ConsensusMethod, Callable[[Sequence[Ranks]], Sequence[Fraction | float | None]]] = {
    ConsensusMethod.MAJORITY: majority_scores,
    ConsensusMethod.BORDA: borda_scores,
    ConsensusMethod.BRADLEY_TERRY: bradley_terry_scores,
}
