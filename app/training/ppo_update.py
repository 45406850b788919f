"""One PPO update: all epochs of clipped steps on one rollout."""

import math

import torch
from torch import Tensor, nn

from app.training.advantages import gae, masked_whiten, token_rewards
from app.training.configs import PPOConfig
from app.training.losses import clipped_policy_loss, clipped_value_loss, masked_mean
from app.training.policy import Policy
from app.training.report import Report, TrainingError
from app.training.rollouts import Rollout, row_groups
from app.training.seeds import permutation
from app.training.work_sizes import tokens_to_train

# Weight of the value loss beside the policy loss (Ziegler et al.'s code, and TRL's).
VALUE_COEF = 0.1
GRADIENT_CLIP = 1.0


def update_policy(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    rollout: Rollout,
    scores: Tensor,
    kl_coef: float,
    config: PPOConfig,
    iteration: int,
    report: Report,
) -> dict[str, float]:
    """All epochs of clipped updates on one rollout; the losses are means over the minibatches.

    Args:
        scores: [B] float, what each completion is worth: normalised, penalised, relative.
        kl_coef: β of the per-token KL penalty.

    Raises:
        TrainingError: a loss or gradient that is not finite; the weights are left as before it.
        Cancelled: the run was asked to stop; asked before every minibatch.
    """
    sequences, mask = rollout.sequences, rollout.sequences.completion_mask
    rewards = token_rewards(scores, rollout.logprobs, rollout.ref_logprobs, mask, kl_coef)
    advantages, returns = gae(rewards, rollout.values, mask, config.gae_lambda)
    advantages = masked_whiten(advantages, mask)
    each = config.completions_per_prompt
    max_tokens = tokens_to_train(policy.model, policy.device)
    trained = [weight for group in optimizer.param_groups for weight in group["params"]]
    history: list[dict[str, float]] = []
    for epoch in range(config.epochs):
        for minibatch in draw_minibatches(len(sequences), config, iteration, epoch):
            report.check_cancelled()
            tokens = mask[minibatch].sum()
            figures: dict[str, float] = {}
            # In parts, with the gradient added up: memory does not grow with the minibatch.
            for rows in row_groups(policy, sequences, max_tokens, each, minibatch):
                part = sequences.select(rows)
                width = part.tokens.shape[1]
                output = policy(part, config.temperature)
                policy_loss = clipped_policy_loss(
                    output.logprobs,
                    rollout.logprobs[rows, :width],
                    advantages[rows, :width],
                    part.completion_mask,
                    config.clip_range,
                )
                value_loss = clipped_value_loss(
                    output.values,
                    rollout.values[rows, :width],
                    returns[rows, :width],
                    part.completion_mask,
                    config.clip_range,
                )
                share = part.completion_mask.sum() / tokens
                loss = share * (policy_loss.loss + VALUE_COEF * value_loss)
                torch.autograd.backward(loss)
                for name, figure in (
                    ("loss", policy_loss.loss + VALUE_COEF * value_loss),
                    ("policy_loss", policy_loss.loss),
                    ("value_loss", value_loss),
                    ("clip_fraction", policy_loss.clip_fraction),
                    ("approx_kl", policy_loss.approx_kl),
                    ("entropy", masked_mean(output.entropies, part.completion_mask)),
                ):
                    figures[name] = figures.get(name, 0.0) + (share * figure).item()
            figures["grad_norm"] = nn.utils.clip_grad_norm_(trained, GRADIENT_CLIP).item()
            if not (math.isfinite(figures["loss"]) and math.isfinite(figures["grad_norm"])):
                raise TrainingError(
                    f"Iteration {iteration}: the loss is not finite; try a lower learning rate."
                )
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            history.append(figures)
    return {name: sum(step[name] for step in history) / len(history) for name in history[0]}


def draw_minibatches(rows: int, config: PPOConfig, iteration: int, epoch: int) -> list[Tensor]:
    """The rows of each minibatch: the completions of a prompt stay together, so that its tokens are
    computed once for all of them, and what they are compared with is in the same step."""
    each = config.completions_per_prompt
    prompts = rows // each
    order = permutation(prompts, config.seed, "minibatches", iteration, epoch)
    return [
        (part[:, None] * each + torch.arange(each)).flatten()
        for part in order.tensor_split(min(config.minibatches, prompts))
    ]
