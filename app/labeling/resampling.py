"""The bootstrap's arithmetic. It needs numpy, so it is imported where it is used."""

from collections.abc import Iterator

import numpy
from numpy.typing import NDArray

from app.labeling.estimates import Interval

DRAWS_AT_ONCE = 1_000_000
LOW, HIGH = 0.025, 0.975


def resampled_sums(
    rows: NDArray[numpy.float64], *, resamples: int, seed: int
) -> NDArray[numpy.float64]:
    """Column sums of each resample: rows [T, C] drawn T at a time with replacement → [R, C].

    How often each of T rows is drawn depends on T and the seed alone, so that figures over the
    same tasks meet the same resamples.
    """
    # Not `@`: BLAS would spin a thread on every core of the web process for a millisecond's work.
    columns = numpy.ascontiguousarray(rows.T)
    return numpy.concatenate(
        [
            numpy.einsum("rt,ct->rc", counts, columns)
            for counts in _draw_counts(len(rows), resamples=resamples, seed=seed)
        ]
    )


def _draw_counts(size: int, *, resamples: int, seed: int) -> Iterator[NDArray[numpy.float64]]:
    """How often each row is in each resample [chunk, T], a bounded number at a time.

    T draws and a count of them are a multinomial vector, in a fraction of the time that drawing
    one takes.
    """
    generator = numpy.random.default_rng(seed)
    at_once = max(1, DRAWS_AT_ONCE // size)
    for start in range(0, resamples, at_once):
        chunk = min(at_once, resamples - start)
        drawn = generator.integers(0, size, (chunk, size))
        drawn += numpy.arange(chunk)[:, None] * size
        counts = numpy.bincount(drawn.ravel(), minlength=chunk * size)
        yield counts.reshape(chunk, size).astype(numpy.float64)


def percentile_intervals(values: NDArray[numpy.float64]) -> list[Interval]:
    """The central 95% of each column [R, F], between the two nearest resamples in proportion.

    Resamples in which a figure is undefined (nan) are left out; one that always is has none.
    """
    ordered = numpy.sort(values, axis=0)
    last = numpy.count_nonzero(~numpy.isnan(ordered), axis=0) - 1
    ends = [_quantile(ordered, last, share) for share in (LOW, HIGH)]
    return [
        (None, None) if defined < 0 else (float(low), float(high))
        for low, high, defined in zip(*ends, last, strict=True)
    ]


def _quantile(
    ordered: NDArray[numpy.float64], last: NDArray[numpy.intp], share: float
) -> NDArray[numpy.float64]:
    """Linear interpolation in each sorted column [R, F], whose nans come after `last`."""
    position = share * numpy.maximum(last, 0)
    below = numpy.floor(position).astype(int)
    above = numpy.minimum(below + 1, numpy.maximum(last, 0))
    columns = numpy.arange(ordered.shape[1])
    lower, upper = ordered[below, columns], ordered[above, columns]
    return numpy.asarray(lower + (position - below) * (upper - lower))
