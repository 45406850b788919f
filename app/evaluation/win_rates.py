"""How often one policy is ranked above another, with an interval that few rankings deserve.

Pure. What is counted are votes: one ranking of one prompt, whose share is the part of its
(candidate, baseline) pairs that the candidate won, a tie being half. The prompts are a sample of
what people may ask, and the votes on one prompt are alike: so prompts are the clusters.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import fsum, sqrt

NORMAL_95 = 1.959964
PRIOR_PROMPTS = 4
"""Half of them won and half of them lost, added before an interval is taken."""


@dataclass(frozen=True, kw_only=True)
class Vote:
    """What one ranking says of two policies on one prompt."""

    prompt_id: str
    share: float
    """Of its pairs that the candidate won, 0 to 1, a tie being half."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A share with its 95% interval; None where nobody has voted."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    """Votes."""
    prompts: int
    vote_variance: float
    """Variance of the mean times the votes: what one vote is worth, votes of one prompt being
    alike. A quarter for coins, which is also taken where nobody has voted."""


COIN_VARIANCE = 0.25
NO_RATE = Rate(value=None, low=None, high=None, n=0, prompts=0, vote_variance=COIN_VARIANCE)


def measure_rate(votes: Sequence[Vote]) -> Rate:
    """The mean of the votes with its interval.

    p = Σw / Σn over prompts with w won of n votes. For the interval two prompts that were won and
    two that were lost are added, each of as many votes as the mean prompt (the plus-four rule of
    Agresti and Coull 1998, The American Statistician 52, with prompts as trials), and then
    Var(p) = c / (c − 1) · Σ(w − p·n)² / (Σn)² over the c prompts (linearisation, Cochran 1977,
    Sampling Techniques, equation 6.13), which takes votes of one prompt for as alike as they are.
    Without the four, 4 wins of 4 would have the interval [1, 1]; with them it is about that of
    Wilson, and it always holds the mean of the votes.
    """
    if not votes:
        return NO_RATE
    shares: dict[str, list[float]] = defaultdict(list)
    for vote in votes:
        shares[vote.prompt_id].append(vote.share)
    won = {prompt_id: fsum(given) for prompt_id, given in shares.items()}
    prompts, total = len(shares), len(votes)
    mean_votes = total / prompts
    parts = [*won.values(), *[mean_votes] * (PRIOR_PROMPTS // 2), *[0.0] * (PRIOR_PROMPTS // 2)]
    wholes = [*(float(len(given)) for given in shares.values()), *[mean_votes] * PRIOR_PROMPTS]
    whole = fsum(wholes)
    center = fsum(parts) / whole
    squares = fsum((part - center * of) ** 2 for part, of in zip(parts, wholes, strict=True))
    clusters = len(wholes)
    variance = clusters / (clusters - 1) * squares / whole**2
    reach = NORMAL_95 * sqrt(variance)
    value = fsum(won.values()) / total
    return Rate(
        value=value,
        low=max(0.0, min(center - reach, value)),
        high=min(1.0, max(center + reach, value)),
        n=total,
        prompts=prompts,
        vote_variance=variance * whole,
    )


def mirror_rate(rate: Rate) -> Rate:
    """The same votes as the other policy sees them."""
    return replace(
        rate,
        value=None if rate.value is None else 1 - rate.value,
        low=None if rate.high is None else 1 - rate.high,
        high=None if rate.low is None else 1 - rate.low,
    )
