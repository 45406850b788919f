"""How many rankings tell a difference of a given size. Pure."""

from dataclasses import dataclass
from math import ceil, sqrt

from app.evaluation.win_rates import NORMAL_95, Rate

POWER_80 = 0.841621
"""The standard normal quantile of 80%."""
DIFFERENCES = (0.05, 0.10, 0.15)
"""From an even split, as pages show them: 5, 10 and 15 points."""


@dataclass(frozen=True, kw_only=True)
class Needed:
    """What a difference takes to be told from an even split, 8 times of 10, at the 5% level."""

    difference: float
    """Of the win rate from one half: 0.05 is 55% against 50%."""
    rankings: int
    """In all, with as many rankings of each prompt as there are now."""
    more: int
    """Of those, the ones still missing."""
    prompts: int
    """Prompts that those rankings spread over; more rankings of the same few tell less."""


def rankings_needed(rate: Rate, difference: float) -> Needed:
    """n = (z₀.₉₇₅ + z₀.₈)² · s² / d², s² being what one ranking varies by, measured here.

    s² holds the likeness of rankings of one prompt as well as the ties (see `measure_rate`); where
    nobody has ranked yet it is that of a coin (Cohen 1988, Statistical Power Analysis, for one
    proportion: 785 for 5 points).

    Raises:
        ValueError: the difference is not above 0 and at most one half.
    """
    if not 0 < difference <= 0.5:
        raise ValueError(f"a difference from an even split is above 0, at most 0.5: {difference}")
    rankings = ceil((NORMAL_95 + POWER_80) ** 2 * rate.vote_variance / difference**2 - 1e-9)
    per_prompt = rate.n / rate.prompts if rate.prompts else 1.0
    return Needed(
        difference=difference,
        rankings=rankings,
        more=max(0, rankings - rate.n),
        prompts=ceil(rankings / per_prompt - 1e-9),
    )


def tellable_difference(rate: Rate) -> float | None:
    """The difference that the rankings so far tell 8 times of 10; None where there is none yet.

    Above one half, which is the largest there is, they tell nothing.
    """
    if not rate.n:
        return None
    return (NORMAL_95 + POWER_80) * sqrt(rate.vote_variance / rate.n)
