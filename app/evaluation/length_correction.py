"""What the win rate would be if both policies wrote texts of one length. Pure.

People and models take a longer text for a better one, and tuning finds that out. As in
length-controlled AlpacaEval (Dubois, Galambosi, Liang and Hashimoto 2024, arXiv:2404.04475, section
3), a logistic regression of who won on the difference in length is asked what it says at none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.evaluation.win_rates import NORMAL_95, PRIOR_PROMPTS

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

FEWEST_PROMPTS = 3
PENALTY = 1e-3
"""Holds the coefficients finite where length tells every winner; too weak to be seen elsewhere."""
STEPS = 100
LONGEST_STEP = 2.0
TOLERANCE = 1e-10


@dataclass(frozen=True, kw_only=True)
class SizedVote:
    """One ranking's verdict on a pair, and how much longer the candidate's text was."""

    prompt_id: str
    share: float
    """1 for a win of the candidate, 0.5 for a tie, 0 for a loss; a mean of those over pairs."""
    longer_by: float
    """Characters; negative where the candidate's text is shorter."""


@dataclass(frozen=True, kw_only=True)
class CorrectedRate:
    """The win rate at equal lengths, and what length is worth."""

    value: float
    low: float
    high: float
    n: int
    """Votes."""
    length_effect: float
    """φ: what the tanh of one standard deviation more length adds, in logits per unit."""
    mean_longer_by: float
    """Characters by which the candidate's texts are longer."""


def correct_for_length(votes: Sequence[SizedVote]) -> CorrectedRate | None:
    """logit P(win) = θ + φ · tanh(d / s) with s the standard deviation of the d; σ(θ) is asked for.

    d is the difference in length. Ties are half a win (a fractional logit, Papke and Wooldridge
    1996). The interval is that of θ by the sandwich over prompts (Liang and Zeger 1986,
    Biometrika 73), after adding two prompts won and two lost at equal lengths, for the reason
    that `measure_rate` gives. None for fewer than three prompts. Where no text is longer than its
    rival there is nothing to correct, and φ is 0.
    """
    import numpy

    prompts = sorted({vote.prompt_id for vote in votes})
    if len(prompts) < FEWEST_PROMPTS:
        return None
    place = {prompt_id: number for number, prompt_id in enumerate(prompts)}
    cluster = numpy.array([place[vote.prompt_id] for vote in votes])
    won = numpy.array([vote.share for vote in votes], dtype=float)
    longer = numpy.array([vote.longer_by for vote in votes], dtype=float)
    spread = float(numpy.sqrt(numpy.mean((longer - longer.mean()) ** 2)))
    # Texts that all differ by the same length say nothing of what length is worth.
    slope = numpy.tanh(longer / spread) if spread > 0 else numpy.zeros_like(longer)
    terms = numpy.column_stack([numpy.ones_like(slope), slope])
    theta, phi = _fit(terms, won, numpy.ones_like(won))

    added = numpy.arange(PRIOR_PROMPTS)
    wide_terms = numpy.vstack([terms, numpy.tile([1.0, 0.0], (PRIOR_PROMPTS, 1))])
    wide_won = numpy.concatenate([won, (added < PRIOR_PROMPTS // 2).astype(float)])
    weight = numpy.concatenate(
        [numpy.ones_like(won), numpy.full(PRIOR_PROMPTS, len(won) / len(prompts))]
    )
    wide_cluster = numpy.concatenate([cluster, len(prompts) + added])
    center, _ = wide = _fit(wide_terms, wide_won, weight)
    error = _standard_error(wide_terms, wide_won, weight, wide_cluster, wide)
    low, value, high = (
        float(_sigmoid(numpy.array(at)))
        for at in (center - NORMAL_95 * error, theta, center + NORMAL_95 * error)
    )
    return CorrectedRate(
        value=value,
        low=min(low, value),
        high=max(high, value),
        n=len(votes),
        length_effect=float(phi),
        mean_longer_by=float(longer.mean()),
    )


def _sigmoid(logits: "NDArray[numpy.float64]") -> "NDArray[numpy.float64]":
    import numpy

    return numpy.asarray(0.5 * (1 + numpy.tanh(logits / 2)))


def _fit(
    terms: "NDArray[numpy.float64]", won: "NDArray[numpy.float64]", weight: "NDArray[numpy.float64]"
) -> "NDArray[numpy.float64]":
    """The coefficients [2] that maximise the penalised likelihood, by Newton's method."""
    import numpy

    found = numpy.zeros(2)
    for _ in range(STEPS):
        chance = _sigmoid(terms @ found)
        gradient = terms.T @ (weight * (won - chance)) - PENALTY * found
        step = numpy.linalg.solve(_information(terms, chance, weight), gradient)
        longest = float(numpy.abs(step).max())
        found = found + step * min(1.0, LONGEST_STEP / longest if longest else 1.0)
        if longest < TOLERANCE:
            break
    return found


def _information(
    terms: "NDArray[numpy.float64]",
    chance: "NDArray[numpy.float64]",
    weight: "NDArray[numpy.float64]",
) -> "NDArray[numpy.float64]":
    import numpy

    curvature = weight * chance * (1 - chance)
    return numpy.asarray((terms.T * curvature) @ terms + PENALTY * numpy.eye(2))


def _standard_error(
    terms: "NDArray[numpy.float64]",
    won: "NDArray[numpy.float64]",
    weight: "NDArray[numpy.float64]",
    cluster: "NDArray[numpy.intp]",
    found: "NDArray[numpy.float64]",
) -> float:
    """Of θ: H⁻¹ (c / (c − 1) · Σ s sᵀ) H⁻¹ with s the summed scores of each of c prompts."""
    import numpy

    chance = _sigmoid(terms @ found)
    scores = terms * (weight * (won - chance))[:, None]
    clusters = int(cluster.max()) + 1
    summed = numpy.zeros((clusters, 2))
    numpy.add.at(summed, cluster, scores)
    bread = numpy.linalg.inv(_information(terms, chance, weight))
    middle = clusters / (clusters - 1) * summed.T @ summed
    return float(numpy.sqrt((bread @ middle @ bread)[0, 0]))
