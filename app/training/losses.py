"""Losses of reward-model training and of PPO, each a pure function of tensors.

Shape letters: B completions, C completion tokens, K completions of one task, R rankings of it.
A mask is bool and True means "this token counts".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


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
    scores: Tensor, preferred: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Loss of one task: all its preferred-first pairs from K scores.

    L = sum_r w_r · mean_{(i,j) in r} −log σ(s_i − s_j) / sum_r w_r

    InstructGPT (Ouyang et al. 2022) §3.5, equation 1: the mean over the C(K,2) pairs of a ranking.
    Several labelers' rankings of the same task are averaged by weight, so a task counts once
    however many people ranked it; the caller takes the mean over tasks.

    Args:
        scores: [K] float, one reward per completion.
        preferred: [R, K, K] bool from `preference_matrix`.
        weights: [R] float, or None for equal weights. Rankings without a pair do not count.

    Returns:
        A scalar; 0 (with gradient 0) for a task without any pair.
    """
    losses = -functional.logsigmoid(scores[:, None] - scores[None, :])
    return mean_over_rankings(losses, preferred, weights)


def mean_over_rankings(losses: Tensor, preferred: Tensor, weights: Tensor | None = None) -> Tensor:
    """The mean over the pairs of each ranking, then by weight over the rankings of a task.

    Args:
        losses: [K, K] float, (i, j) for i preferred to j.
        preferred: [R, K, K] bool from `preference_matrix`; only its pairs count.
        weights: [R] float, or None for equal weights. Rankings without a pair do not count.

    Returns:
        A scalar; 0 (with gradient 0) for a task without any pair.
    """
    pairs = preferred.sum(dim=(1, 2))
    ranking_losses = (losses * preferred).sum(dim=(1, 2)) / pairs.clamp(min=1)
    counted = (pairs > 0).to(losses.dtype)
    if weights is not None:
        counted = counted * weights
    total = counted.sum()
    return (ranking_losses * counted).sum() / torch.where(total > 0, total, torch.ones_like(total))


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
