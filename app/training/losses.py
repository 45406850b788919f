"""Losses of reward-model training and of PPO, each a pure function of tensors.

Shape letters: B completions, C completion tokens, K completions of one task, R rankings of it.
A mask is bool and True means "this token counts".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

LEAST_RATING, MOST_RATING = 1, 7


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of `values` where `mask` is True, over all dimensions; 0 where nothing counts.

    Normalising by the number of real tokens of the whole batch, and not first by completion, gives
    every token the same weight (PPO2 and TRL do the same).

    Args:
        values: [...] float.
        mask: [...] bool of the same shape.
    """
    return (values * mask).sum() / mask.sum().clamp(min=1)


def preference_matrix(
    rankings: Sequence[Sequence[int | None]],
    completions: Sequence[str] | None = None,
    length_difference: Sequence[int | None] = (None, None),
) -> Tensor:
    """Which completion each ranking puts before which: [R, K, K] bool, (r, i, j) for i before j.

    Equal ranks are ties and give no pair, and so does a completion without a rank. Where
    `completions` are given, two identical texts give no pair either: nobody can prefer one; and
    of `length_difference` (least, most), only pairs count whose preferred text is so many
    characters longer than the other one.

    Raises:
        ValueError: rankings of different lengths.
    """
    sizes = {len(ranks) for ranks in rankings}
    if len(sizes) > 1:
        raise ValueError(f"rankings of one task differ in length: {sorted(sizes)}")
    unranked = float("nan")  # every comparison with NaN is False
    ranks = torch.tensor(
        [[unranked if rank is None else float(rank) for rank in row] for row in rankings]
    )
    preferred = ranks[:, :, None] < ranks[:, None, :]
    if completions is not None:
        different = torch.tensor([[a != b for b in completions] for a in completions])
        preferred &= different
        least, most = length_difference
        lengths = torch.tensor([len(text) for text in completions])
        longer = lengths[:, None] - lengths[None, :]
        if least is not None:
            preferred &= longer >= least
        if most is not None:
            preferred &= longer <= most
    return preferred


def pairwise_ranking_loss(
    scores: Tensor,
    preferred: Tensor,
    weights: Tensor | None = None,
    *,
    margins: Tensor | None = None,
    label_smoothing: float = 0.0,
    centring: float = 0.0,
) -> Tensor:
    """Loss of one task: all its preferred-first pairs from K scores.

    L = sum_r w_r · mean_{(i,j) in r} ℓ_ij / sum_r w_r
    ℓ_ij = −(1−ε) log σ(s_i − s_j − m_ij) − ε log σ(s_j − s_i + m_ij) + λ (s_i + s_j)²

    InstructGPT (Ouyang et al. 2022) §3.5, equation 1: the mean over the C(K,2) pairs of a ranking.
    Several labelers' rankings of the same task are averaged by weight, so a task counts once
    however many people ranked it; the caller takes the mean over tasks. The margin m is Llama 2's
    (Touvron et al. 2023, equation 2), the centring λ that of Eisenstein et al. 2023, and ε takes a
    share of the preferences to be the wrong way round (Wang et al. 2024, §3.2).

    Args:
        scores: [..., K] float, one reward per completion; heads of an ensemble come first.
        preferred: [R, K, K] bool from `preference_matrix`.
        weights: [R] float, or None for equal weights. Rankings without a pair do not count.
        margins: [R, K, K] float from `rank_margins` or `rating_margins`, or None for 0.
        label_smoothing: ε, from 0 to below ½.
        centring: λ.

    Returns:
        [...]: a scalar for each head; 0 (with gradient 0) for a task without any pair.
    """
    difference = scores[..., None, :, None] - scores[..., None, None, :]  # [..., 1, K, K]
    if margins is not None:
        difference = difference - margins
    losses = -functional.logsigmoid(difference)
    if label_smoothing:
        wrong = -functional.logsigmoid(-difference)
        losses = (1 - label_smoothing) * losses + label_smoothing * wrong
    if centring:
        sums = scores[..., None, :, None] + scores[..., None, None, :]
        losses = losses + centring * sums.square()
    return mean_over_rankings(losses, preferred, weights)


def mean_over_rankings(losses: Tensor, preferred: Tensor, weights: Tensor | None = None) -> Tensor:
    """The mean over the pairs of each ranking, then by weight over the rankings of a task.

    Args:
        losses: [..., K, K] or [..., R, K, K] float, (i, j) for i preferred to j.
        preferred: [R, K, K] bool from `preference_matrix`; only its pairs count.
        weights: [R] float, or None for equal weights. Rankings without a pair do not count.

    Returns:
        [...]; 0 (with gradient 0) for a task without any pair.
    """
    pairs = preferred.sum(dim=(1, 2))
    ranking_losses = (losses * preferred).sum(dim=(-2, -1)) / pairs.clamp(min=1)  # [..., R]
    counted = (pairs > 0).to(losses.dtype)
    if weights is not None:
        counted = counted * weights
    total = counted.sum()
    total = torch.where(total > 0, total, torch.ones_like(total))
    return (ranking_losses * counted).sum(dim=-1) / total


def rank_margins(rankings: Sequence[Sequence[int | None]]) -> Tensor:
    """How clearly each ranking prefers i to j, by the levels between them: [R, K, K] float.

    m_ij = (levels from i down to j) / (levels of the ranking − 1), so 1 from the best to the worst
    and, with four ranks, ⅓ between neighbours. Equal ranks are one level; what is unranked, or not
    preferred, has 0.
    """
    margins = torch.zeros(len(rankings), len(rankings[0]), len(rankings[0]))
    for r, ranks in enumerate(rankings):
        levels = {rank: level for level, rank in enumerate(sorted({k for k in ranks if k}))}
        for i, j in product(range(len(ranks)), repeat=2):
            better, worse = ranks[i], ranks[j]
            if better and worse and better < worse:
                margins[r, i, j] = (levels[worse] - levels[better]) / (len(levels) - 1)
    return margins


def rating_margins(ratings: Sequence[Sequence[int | None]]) -> Tensor:
    """How much better each labeler rated i than j: [R, K, K] float from 0 to 1.

    m_ij = (rating_i − rating_j) / 6 on the scale from 1 to 7; 0 where one is not rated, and where
    the ratings say the opposite of the ranking.
    """
    scale = float(MOST_RATING - LEAST_RATING)
    unrated = float("nan")
    values = torch.tensor(
        [[unrated if rating is None else float(rating) for rating in row] for row in ratings]
    )
    difference = (values[:, :, None] - values[:, None, :]) / scale
    return difference.nan_to_num(0.0).clamp(min=0.0)


@dataclass(frozen=True)
class PolicyLoss:
    """The clipped policy loss with its diagnostics; only `loss` carries a gradient."""

    loss: Tensor
    clip_fraction: Tensor
    approx_kl: Tensor


def clipped_policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    completion_mask: Tensor,
    clip_range: float,
) -> PolicyLoss:
    """PPO's clipped surrogate, to be minimised.

    L = mean_t max(−A_t·ρ_t, −A_t·clip(ρ_t, 1−ε, 1+ε)),  ρ_t = exp(logπ(t) − logπ_old(t))

    Schulman et al. 2017, equation 7. `approx_kl` is half the mean squared difference of the
    logprobs (Schulman 2020, estimator k2 of KL(old ‖ new)); `clip_fraction` is the share of tokens
    at which the clipped branch is the larger loss.

    Args:
        logprobs, old_logprobs, advantages: [B, C] float; only `logprobs` carries a gradient.
        completion_mask: [B, C] bool, True where a token was sampled. The mean is over these.
        clip_range: ε.
    """
    # Padding may hold anything, infinities too: 0 before exp keeps NaN out of the gradient.
    difference = torch.where(completion_mask, logprobs - old_logprobs, 0.0)
    ratio = difference.exp()
    unclipped = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - clip_range, 1 + clip_range)
    return PolicyLoss(
        loss=masked_mean(torch.maximum(unclipped, clipped), completion_mask),
        clip_fraction=masked_mean((clipped > unclipped).float(), completion_mask).detach(),
        approx_kl=0.5 * masked_mean(difference.square(), completion_mask).detach(),
    )


def clipped_value_loss(
    values: Tensor,
    old_values: Tensor,
    returns: Tensor,
    completion_mask: Tensor,
    clip_range: float,
) -> Tensor:
    """Half the clipped squared error of the value head.

    L = ½ · mean_t max((V_t − R_t)², (clip(V_t, V_old−ε, V_old+ε) − R_t)²)

    The clipping is that of OpenAI baselines' PPO2 (it is not in the paper).

    Args:
        values, old_values, returns: [B, C] float; only `values` carries a gradient.
        completion_mask: [B, C] bool; the mean is over its True tokens.
        clip_range: ε.
    """
    clipped = torch.clamp(values, old_values - clip_range, old_values + clip_range)
    worst = torch.maximum((values - returns).square(), (clipped - returns).square())
    return 0.5 * masked_mean(worst, completion_mask)
