"""Strengths of several policies from who was ranked above whom. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

RESAMPLES = 1000
SEED = 0
PRIOR_WINS = 0.1
"""Of each policy over each other, added where the maximum would lie at infinity."""
STEPS = 200
LONGEST_STEP = 1.0
TOLERANCE = 1e-10


@dataclass(frozen=True, kw_only=True)
class Strength:
    """How strong a policy is, on a scale on which a difference is a logit."""

    value: float
    """0 for the baseline."""
    low: float
    high: float
    beats_baseline: float
    """The chance to be ranked above the baseline: the logistic function of the value."""
    beats_low: float
    beats_high: float


@dataclass(frozen=True, kw_only=True)
class Strengths:
    """The strengths of policies in their order."""

    strengths: list[Strength]
    prompts: int
    bounded: bool
    """Some policy never won, or never lost, against the rest: its strength has no bound, and a
    tenth of a win each way was added to every two policies."""


def fit_bradley_terry(
    wins: Sequence[Sequence[Sequence[float]]],
    *,
    baseline: int = 0,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Strengths | None:
    """Strengths θ that maximise Σ_ij w_ij log σ(θ_i − θ_j) (Bradley and Terry 1952, Biometrika 39).

    `wins` has the shape [prompts, K, K]: of each prompt, how often policy i was ranked above policy
    j, a tie being half each way. The maximum is finite just where every policy can be reached from
    every other over wins (Ford 1957); elsewhere `PRIOR_WINS` are added. Intervals are the central
    95% over resamples of the prompts, among which those without that property get the same help.
    None where some policies were never compared, even by way of others, and for a single prompt.
    """
    import numpy

    from app.labeling.resampling import percentile_intervals, resampled_sums

    table = numpy.array(wins, dtype=float)
    if len(table) < 2:
        return None
    total = table.sum(axis=0)
    if not _connected(total + total.T):
        return None
    bounded = not _connected(total)
    found = _fit(total[None])[0]
    count = total.shape[0]
    sums = resampled_sums(table.reshape(len(table), -1), resamples=resamples, seed=seed)
    fitted = _fit(sums.reshape(resamples, count, count))
    values = found - found[baseline]
    intervals = percentile_intervals(fitted - fitted[:, baseline : baseline + 1])
    return Strengths(
        strengths=[
            _strength(float(value), low or 0.0, high or 0.0)
            for value, (low, high) in zip(values, intervals, strict=True)
        ],
        prompts=len(table),
        bounded=bounded,
    )


def linked_with(wins: Sequence[Sequence[Sequence[float]]], policy: int) -> list[int]:
    """The policies that were compared with this one, or by way of others, and itself; in order."""
    import numpy

    if not len(wins):
        return [policy]
    total = numpy.array(wins, dtype=float).sum(axis=0)
    return sorted(_reached(total + total.T > 0, policy))


def _strength(value: float, low: float, high: float) -> Strength:
    low, high = min(low, value), max(high, value)
    chances = [_sigmoid(one) for one in (value, low, high)]
    return Strength(
        value=value,
        low=low,
        high=high,
        beats_baseline=chances[0],
        beats_low=chances[1],
        beats_high=chances[2],
    )


def _sigmoid(logit: float) -> float:
    from math import tanh

    return 0.5 * (1 + tanh(logit / 2))


def _connected(wins: "NDArray[numpy.float64]") -> bool:
    """Whether every policy can be reached from every other over wins [K, K]."""
    return all(len(_reached(edges)) == len(wins) for edges in (wins > 0, wins.T > 0))


def _reached(edges: "NDArray[numpy.bool_]", start: int = 0) -> set[int]:
    """The policies that can be reached from one of them."""
    reached, ahead = {start}, [start]
    while ahead:
        for other in edges[ahead.pop()].nonzero()[0].tolist():
            if other not in reached:
                reached.add(other)
                ahead.append(other)
    return reached


def _fit(wins: "NDArray[numpy.float64]") -> "NDArray[numpy.float64]":
    """Strengths [R, K] of R tables [R, K, K], the mean of each 0, by Newton's method.

    The likelihood is concave, and a step that is too long is shortened.
    """
    import numpy

    count = wins.shape[1]
    apart = 1 - numpy.eye(count)
    loose = numpy.array([not _connected(table) for table in wins])
    won = (wins + PRIOR_WINS * loose[:, None, None]) * apart
    met = won + won.transpose(0, 2, 1)
    strengths = numpy.zeros(wins.shape[:2])
    for _ in range(STEPS):
        chance = 0.5 * (1 + numpy.tanh((strengths[:, :, None] - strengths[:, None, :]) / 2))
        gradient = (won - met * chance).sum(axis=2)
        curvature = met * chance * (1 - chance)
        hessian = numpy.eye(count) * curvature.sum(axis=2)[:, :, None] - curvature
        # Strengths are determined up to a constant: the ones fix it, their sum staying 0.
        step = numpy.linalg.solve(hessian + 1 / count, gradient[:, :, None])[:, :, 0]
        longest = numpy.abs(step).max(axis=1)
        if longest.max() < TOLERANCE:
            break
        strengths += (
            step * numpy.minimum(1.0, LONGEST_STEP / numpy.maximum(longest, TOLERANCE))[:, None]
        )
    return strengths
