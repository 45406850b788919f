"""Agreement beyond what chance would give: Cohen's κ and Krippendorff's α, from sums over tasks.

Both are functions of sums, so that a resample of tasks needs no more than adding up. It needs
numpy, so it is imported where it is used.
"""

from collections.abc import Sequence

import numpy
from numpy.typing import NDArray

UNITS_AT_ONCE = 5_000
PACKAGE_CELLS = 2_000_000
"""The `krippendorff` package holds three matrices of units × values × values at once: more cells
than this are left to the same formula over sums, whose memory does not grow."""


def cohen_kappa(sums: NDArray[numpy.float64]) -> NDArray[numpy.float64]:
    """κ = (p_o − p_e) / (1 − p_e) on better, equal, worse (Cohen 1960), [..., 4] → [...].

    The sums are those over completion pairs: on how many both labelers say the same, how many
    there are, how many the first ties, how many the second does. Every pair of completions counts
    in both orientations, (i, j) and (j, i), or κ would depend on which completion happens to come
    first. A labeler's better and worse are then equally frequent, (1 − t) / 2 each, t being the
    share of ties, and chance follows from the ties alone: p_e = t_a·t_b + (1 − t_a)(1 − t_b) / 2.
    Without ties κ = 2 p_o − 1. nan where there are no pairs or both tie all of them.
    """
    agreed, pairs, ties_a, ties_b = numpy.moveaxis(sums, -1, 0)
    with numpy.errstate(divide="ignore", invalid="ignore"):
        observed, tied_a, tied_b = agreed / pairs, ties_a / pairs, ties_b / pairs
        expected = tied_a * tied_b + (1 - tied_a) * (1 - tied_b) / 2
        return numpy.asarray((observed - expected) / (1 - expected))


def task_coincidences(
    value_counts: NDArray[numpy.float64], first_units: Sequence[int]
) -> NDArray[numpy.float64]:
    """Coincidences of each task, [units, V] → [tasks, V, V]; the tasks begin at `first_units`.

    o_ck = Σ_u n_uc (n_uk − [c = k]) / (m_u − 1) over the units of the task with m_u ≥ 2 values
    (Krippendorff 2011, section C); every task has at least one unit.
    """
    values = value_counts.shape[1]
    starts = numpy.asarray(first_units)
    sums = numpy.zeros((len(starts), values, values))
    tasks = numpy.searchsorted(starts, numpy.arange(len(value_counts)), side="right") - 1
    for start in range(0, len(value_counts), UNITS_AT_ONCE):
        counts = value_counts[start : start + UNITS_AT_ONCE]
        pairable = counts.sum(axis=1)
        weight = numpy.where(pairable >= 2, 1 / numpy.maximum(pairable - 1, 1), 0.0)
        products = counts[:, :, None] * (counts * weight[:, None])[:, None, :]
        diagonal = numpy.arange(values)
        products[:, diagonal, diagonal] -= counts * weight[:, None]
        numpy.add.at(sums, tasks[start : start + UNITS_AT_ONCE], products)
    return sums


def ordinal_alpha(coincidences: NDArray[numpy.float64]) -> NDArray[numpy.float64]:
    """α with the ordinal metric, [..., V, V] → [...]; nan where D_e is 0.

    δ_ck = Σ_{g=c..k} n_g − (n_c + n_k) / 2 with n_c = Σ_k o_ck (Krippendorff 2011, section E).
    """
    marginals = coincidences.sum(axis=-1)
    # The sum from c to k less half of both ends is a difference of sums that end half-way.
    upto = marginals.cumsum(axis=-1) - marginals / 2
    distances = (upto[..., :, None] - upto[..., None, :]) ** 2
    return alpha_from_distances(coincidences, distances)


def alpha_from_distances(
    coincidences: NDArray[numpy.float64], distances: NDArray[numpy.float64]
) -> NDArray[numpy.float64]:
    """α = 1 − D_o / D_e for squared distances δ² between values, both [..., V, V] → [...].

    D_o = Σ_ck o_ck δ²_ck and D_e = Σ_ck n_c n_k δ²_ck / (n − 1) with n_c = Σ_k o_ck and n = Σ n_c
    (Krippendorff 2011, section D); nan where D_e is 0.
    """
    marginals = coincidences.sum(axis=-1)
    products = marginals[..., :, None] * marginals[..., None, :]
    observed = (coincidences * distances).sum(axis=(-2, -1))
    with numpy.errstate(divide="ignore", invalid="ignore"):
        expected = (products * distances).sum(axis=(-2, -1)) / (marginals.sum(axis=-1) - 1)
        return numpy.asarray(1 - observed / expected)


def krippendorff_alpha(
    value_counts: NDArray[numpy.float64], coincidences: NDArray[numpy.float64]
) -> float | None:
    """Ordinal α of all units by the `krippendorff` package; None where it is undefined.

    `coincidences` are those of `task_coincidences`: what is too large for the package's memory is
    computed from them.
    """
    values = value_counts.shape[1]
    if values < 2:
        return None
    if value_counts.size * values > PACKAGE_CELLS:
        alpha = float(ordinal_alpha(coincidences.sum(axis=0)))
    else:
        import krippendorff

        with numpy.errstate(divide="ignore", invalid="ignore"):
            alpha = float(
                krippendorff.alpha(value_counts=value_counts, level_of_measurement="ordinal")
            )
    return None if numpy.isnan(alpha) else alpha
