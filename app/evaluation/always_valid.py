"""A win rate whose interval may be looked at after every ranking. Pure.

An ordinary 95% interval is right 19 times of 20 at one look. Who looks at it while rankings come
in, and stops when it leaves out an even split, is misled far more often. A confidence sequence
holds the truth at every look at once, 19 times of 20: one may stop whenever it says enough.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import fsum, log
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

ERROR = 0.05
"""The chance that the truth is ever left out, over all looks together."""
BETS = 199
CONCENTRATION = 5.0
"""Of the bets around an even split: where the differences lie that people look for. Half of the
time 10 points are told by fewer than 180 single rankings."""
HALVINGS = 50


@dataclass(frozen=True, kw_only=True)
class AlwaysValidRate:
    """A win rate with an interval that holds however often it is looked at."""

    value: float
    low: float
    high: float
    n: int
    """Votes behind it."""
    prompts: int
    """Those that had all of their votes; the others do not count yet."""


def measure_always(shares: Sequence[float], *, votes_each: int = 1) -> AlwaysValidRate | None:
    """The mean of the shares, one for each prompt, and the m that no bet has grown rich against.

    Somebody who believes that the mean is q puts q on a win and 1 − q on a loss, at the odds of m:
    K(m) = Σ_j w_j Π_i (x_i q_j / m + (1 − x_i)(1 − q_j) / (1 − m)). Where m is the true mean, K
    is a martingale that starts at 1 and stays below 1 / 0.05 for ever with a chance of 95% (Ville
    1939). The interval is {m: K(m) < 20}: betting on bounded means as in Waudby-Smith and Ramdas
    2024 (JRSS B 86, theorem 1), written as a horse race with a mixture of fixed bets as in Ryu and
    Bhatt 2024 (arXiv:2207.12382), the mixture being that of a Beta(5, 5), on 199 places. Ties cost
    no bet against one half anything, so that the interval knows how little they vary.

    It takes prompts to come in an order that has nothing to do with their answers, and nothing
    else: neither a distribution nor a number of prompts. None where there is no share.
    """
    import numpy

    if not shares:
        return None
    values, counts = numpy.unique(numpy.array(shares, dtype=float), return_counts=True)
    value = fsum(shares) / len(shares)

    def holds(mean: float) -> bool:
        return log_capital(values, counts, mean) < log(1 / ERROR)

    return AlwaysValidRate(
        value=value,
        low=_edge(holds, value, 0.0),
        high=_edge(holds, value, 1.0),
        n=len(shares) * votes_each,
        prompts=len(shares),
    )


def log_capital(
    values: "NDArray[numpy.float64]", counts: "NDArray[numpy.int64]", mean: float
) -> float:
    """log K(m) of the values [U], each of which came as often as its count [U]; 0 < m < 1."""
    import numpy

    bets = (numpy.arange(BETS) + 0.5) / BETS
    weights = (bets * (1 - bets)) ** (CONCENTRATION - 1)
    paid = values * bets[:, None] / mean + (1 - values) * (1 - bets[:, None]) / (1 - mean)
    grown = numpy.log(weights / weights.sum()) + numpy.log(paid) @ counts
    most = grown.max()
    return float(most + numpy.log(numpy.exp(grown - most).sum()))


def _edge(holds: Callable[[float], bool], inside: float, outside: float) -> float:
    """Where K reaches 20 between the mean and an end: log K is convex, at most 0 at the mean of the
    shares, and without bound at an end that is not the mean."""
    if inside == outside:
        return outside
    for _ in range(HALVINGS):
        middle = (inside + outside) / 2
        if holds(middle):
            inside = middle
        else:
            outside = middle
    return outside
