"""A number with its interval: percentile bootstrap over tasks (Efron 1979), always the same seed.

Tasks are what is resampled, because the judgements of one task are not independent: its labelers
read the same texts, and a completion takes part in several pairs.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import fsum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

RESAMPLES = 1000
SEED = 0
CELLS_AT_ONCE = 2_000_000
"""How many numbers of several figures are resampled together."""

Columns = Sequence["Sequence[float] | NDArray[numpy.float64]"]
"""What a figure sums over tasks: columns of one number for each task."""
Interval = tuple[float | None, float | None]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure, its 95% interval, and of how many things it is; None where there is nothing.

    `low` and `high` are None for fewer than two tasks, which cannot be resampled.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    """Of what the docstring of the figure says: pairs, tasks, …"""


NO_ESTIMATE = Estimate(value=None, low=None, high=None, n=0)


def ratio_estimate(
    numerators: Sequence[float],
    denominators: Sequence[float],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Estimate:
    """Sum over sum, one numerator and one denominator for each task; n = sum of denominators.

    Tasks whose denominator is 0 say nothing and are left out, of the resampling too.
    """
    return ratio_estimates([(numerators, denominators)], resamples=resamples, seed=seed)[0]


def mean_estimate(
    values: Sequence[float], *, resamples: int = RESAMPLES, seed: int = SEED
) -> Estimate:
    """The mean of one value for each task; n = how many there are."""
    return ratio_estimate(values, [1] * len(values), resamples=resamples, seed=seed)


def ratio_estimates(
    figures: Sequence[tuple[Sequence[float], Sequence[float]]],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> list[Estimate]:
    """`ratio_estimate` of each; figures of equally many tasks are resampled together."""
    kept = [_without_empty(*figure) for figure in figures]
    intervals = bootstrap_intervals(
        kept, lambda sums: sums[..., 0] / sums[..., 1], resamples=resamples, seed=seed
    )
    estimates = []
    for (numerators, denominators), (low, high) in zip(kept, intervals, strict=True):
        total = fsum(denominators)
        value = fsum(numerators) / total if total else None
        estimates.append(Estimate(value=value, low=low, high=high, n=round(total)))
    return estimates


def _without_empty(numerators: Sequence[float], denominators: Sequence[float]) -> Columns:
    rows = [row for row in zip(numerators, denominators, strict=True) if row[1]]
    return [top for top, _ in rows], [bottom for _, bottom in rows]


def bootstrap_intervals(
    figures: Sequence[Columns],
    statistic: Callable[["NDArray[numpy.float64]"], "NDArray[numpy.float64]"],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> list[Interval]:
    """The 95% interval of a statistic of column sums, for each of several figures.

    All figures have C columns, each figure its own number of tasks. The statistic is given the
    sums of every resample, [resamples, figures, C], and gives [resamples, figures]; nan where it
    is undefined.
    """
    alike: dict[int, list[int]] = defaultdict(list)
    for place, columns in enumerate(figures):
        alike[len(columns[0])].append(place)
    intervals: list[Interval] = [(None, None)] * len(figures)
    for tasks, places in alike.items():
        if tasks < 2:
            continue
        at_once = max(1, CELLS_AT_ONCE // (len(figures[0]) * max(tasks, resamples)))
        for start in range(0, len(places), at_once):
            some = places[start : start + at_once]
            found = _resample([figures[place] for place in some], statistic, resamples, seed)
            for place, interval in zip(some, found, strict=True):
                intervals[place] = interval
    return intervals


def _resample(
    figures: Sequence[Columns],
    statistic: Callable[["NDArray[numpy.float64]"], "NDArray[numpy.float64]"],
    resamples: int,
    seed: int,
) -> list[Interval]:
    import numpy

    from app.labeling.resampling import percentile_intervals, resampled_sums

    rows = numpy.array([column for columns in figures for column in columns], dtype=float).T
    sums = resampled_sums(rows, resamples=resamples, seed=seed)
    with numpy.errstate(divide="ignore", invalid="ignore"):
        values = statistic(sums.reshape(resamples, len(figures), -1))
    return percentile_intervals(values)
