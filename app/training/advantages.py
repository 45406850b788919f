"""From scores and KL to per-token rewards, advantages and returns.

Shape letters: B completions, C completion tokens, right-padded. Masks: True means "counts".
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RewardScale:
    """Mean and standard deviation of the scores under the starting policy.

    Ziegler et al. 2019 §2.1 train on rewards of mean 0 and variance 1 under the starting policy.
    A reward model's scale is an accident of its training, and without this `kl_coef`, the value
    clipping and the end-of-turn penalty would mean something else for each of them. Taken from the
    first rollout, before any update, and kept for the whole run.
    """

    mean: float
    std: float

    @classmethod
    def of(cls, scores: Tensor, completions_per_prompt: int = 1) -> "RewardScale":
        """The scale of these scores, [B]; scores that are all alike are only shifted.

        With several completions of each prompt, which stand beside each other in `scores`, the
        deviation is that within a prompt: a pairwise-trained reward model says nothing about the
        difference between two prompts, and a policy cannot choose its prompt.
        """
        groups = scores.view(
            -1, completions_per_prompt if completions_per_prompt > 1 else len(scores)
        )
        std = groups.var(dim=1).mean().sqrt().item() if groups.shape[1] > 1 else 0.0
        return cls(scores.mean().item(), std if std > 1e-6 else 1.0)

    def normalize(self, scores: Tensor) -> Tensor:
        """Scores in standard deviations from the starting policy's mean, [B]."""
        return (scores - self.mean) / self.std


def leave_one_out(scores: Tensor, completions_per_prompt: int) -> Tensor:
    """Each score minus the mean score of the other completions of its prompt.

    s_i − 1/(n−1) · sum_{j≠i} s_j

    Ahmadian et al. 2024, equation 4 (RLOO). What is subtracted does not depend on the completion
    itself, so that the expected gradient stays the same, and the value head has not to learn first
    how hard each prompt is (with the starter models most of the scores' variance was between
    prompts).

    Args:
        scores: [B] float, the completions of one prompt beside each other.
        completions_per_prompt: n; with 1 the scores come back as they are.
    """
    if completions_per_prompt == 1:
        return scores
    groups = scores.view(-1, completions_per_prompt)
    others = (groups.sum(dim=1, keepdim=True) - groups) / (completions_per_prompt - 1)
    return (groups - others).view(-1)


def token_rewards(
    scores: Tensor,
    logprobs: Tensor,
    ref_logprobs: Tensor,
    completion_mask: Tensor,
    kl_coef: float,
) -> Tensor:
    """Per-token rewards: a KL penalty at every token, the score at the last real one.

    r_t = −β·(logπ(t) − logπ_ref(t)) + [t is the last token]·score

    Ziegler et al. 2019, equation 2, with the KL spread over the tokens as in their code.

    Args:
        scores: [B] float, the reward of each whole completion.
        logprobs, ref_logprobs: [B, C] float at the sampling temperature.
        completion_mask: [B, C] bool, contiguous from the left.
        kl_coef: β.

    Returns:
        [B, C] float, 0 where `completion_mask` is False. A row without a real token stays 0.
    """
    rewards = torch.where(completion_mask, -kl_coef * (logprobs - ref_logprobs), 0.0)
    lengths = completion_mask.sum(dim=1)
    rows = lengths.nonzero().squeeze(1)
    rewards[rows, lengths[rows] - 1] += scores[rows]
    return rewards


def penalize_unfinished(scores: Tensor, finished: Tensor, penalty: float) -> Tensor:
    """Subtract `penalty` from the score of every completion that did not end by itself.

    Ziegler et al. 2019 §2.1 *replace* the score of a completion without its end by a constant. We
    subtract, as TRL's `missing_eos_penalty` does: with a short token budget most completions
    are cut, and replacing would leave nothing to tell a good one from a bad one.

    Args:
        scores: [B] float.
        finished: [B] bool, True where an end-of-turn token was sampled.
        penalty: in the unit of the scores; 0 leaves them as they are.
    """
    return scores - penalty * (~finished).to(scores.dtype)


def gae(
    rewards: Tensor, values: Tensor, completion_mask: Tensor, gae_lambda: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation with γ = 1, and the returns the value head learns.

    δ_t = r_t + V_{t+1} − V_t,   A_t = δ_t + λ·A_{t+1},   R_t = A_t + V_t

    Schulman et al. 2016, equation 16. The value after the last real token is 0: the episode ends.

    Args:
        rewards, values: [B, C] float; padding is ignored.
        completion_mask: [B, C] bool, contiguous from the left.
        gae_lambda: λ.

    Returns:
        Advantages and returns, [B, C] float each, 0 where `completion_mask` is False.
    """
    rewards = torch.where(completion_mask, rewards, 0.0)
    values = torch.where(completion_mask, values, 0.0)
    advantages = torch.zeros_like(rewards)
    following_advantage = torch.zeros_like(rewards[:, 0])
    following_value = torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + following_value - values[:, t]
        following_advantage = delta + gae_lambda * following_advantage
        following_value = values[:, t]
        advantages[:, t] = following_advantage
    return advantages, torch.where(completion_mask, advantages + values, 0.0)


def masked_whiten(values: Tensor, mask: Tensor) -> Tensor:
    """Shift and scale to mean 0 and (unbiased) variance 1 over the True tokens of the rollout.

    Over the whole rollout, not over a minibatch: a minibatch of four completions has too noisy a
    mean, and would give the same token another advantage depending on its neighbours.

    Args:
        values: [B, C] float.
        mask: [B, C] bool.

    Returns:
        [B, C] float, 0 where `mask` is False. With fewer than two True tokens only the shift.
    """
    count = mask.sum()
    mean = torch.where(mask, values, 0.0).sum() / count.clamp(min=1)
    centred = torch.where(mask, values - mean, 0.0)
    if count < 2:
        return centred
    variance = centred.square().sum() / (count - 1)
    return centred * torch.rsqrt(variance + 1e-8)
