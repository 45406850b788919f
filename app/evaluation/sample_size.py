"""How many rankings tell a difference of a given size, and what a planned round can tell. Pure."""

from dataclasses import dataclass
from math import ceil, sqrt

from app.evaluation.win_rates import NORMAL_95, Rate

POWER_80 = 0.841621
"""The standard normal quantile of 80%."""
DIFFERENCES = (0.05, 0.10, 0.15)
"""From an even split, as pages show them: 5, 10 and 15 points."""
LIKENESS = 0.45
"""How alike two rankings of one prompt are taken to be before there are any: labelers who agree
72.6% of the time on which text is better (Ouyang et al. 2022, InstructGPT, section 3.4), and
2 · 0.726 − 1 = 0.45."""


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


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a round can be expected to tell before anybody has ranked."""

    prompts: int
    rankings: int
    tellable: float
    """The difference from an even split that it tells 8 times of 10, at the 5% level; above one
    half, which is the largest there is, it tells nothing."""
    prompts_needed: dict[float, int]
    """For each of `DIFFERENCES`, with as many labelers and completions of each prompt."""


def plan_round(*, prompts: int, labelers: int, completions: int) -> Plan:
    """What so many prompts, each ranked by so many labelers, can tell of two policies.

    The mean vote on a prompt varies by V = ¼ · (ρ + (1 − ρ) · (2c + 1) / (3c²) / l): ρ = `LIKENESS`
    is the part that all rankings of a prompt share; the rest is divided by the l labelers, and by
    what c completions of each policy are worth, the mean of c² pairs of independent texts having
    (2c + 1) / (3c²) of the variance of one pair (Mann and Whitney 1947). One of each is a coin's ¼.

    Raises:
        ValueError: a number is below 1.
    """
    if min(prompts, labelers, completions) < 1:
        raise ValueError("a round has a prompt, a labeler and a completion of each policy at least")
    own = (2 * completions + 1) / (3 * completions**2) / labelers
    variance = 0.25 * (LIKENESS + (1 - LIKENESS) * own)
    reach = NORMAL_95 + POWER_80
    return Plan(
        prompts=prompts,
        rankings=prompts * labelers,
        tellable=reach * sqrt(variance / prompts),
        prompts_needed={
            difference: ceil(reach**2 * variance / difference**2 - 1e-9)
            for difference in DIFFERENCES
        },
    )


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
