"""The before/after report of a policy: held-out prompts, the same seeds at every call."""

from collections.abc import Sequence
from typing import Any

import torch

from app.training.configs import PPOConfig
from app.training.policy import Policy
from app.training.report import Report
from app.training.reward_metrics import bootstrap_interval
from app.training.rollouts import Prompt, Rollout, Scorer, collect_rollout
from app.training.seeds import derive_seed

EVALUATION_BATCH = 16


def evaluate_policy(
    policy: Policy,
    tokenizer: Any,
    score: Scorer,
    prompts: Sequence[Prompt],
    config: PPOConfig,
    report: Report,
) -> dict[str, Any]:
    """One completion of each held-out prompt, drawn with the same seeds at every call.

    The same random numbers before and after leave less of the difference to chance. Rewards are the
    scorer's own, without normalisation or penalty. Figures are None where there is no prompt.
    """
    rollouts = []
    for start in range(0, len(prompts), EVALUATION_BATCH):
        rollouts.append(
            collect_rollout(
                policy,
                tokenizer,
                score,
                prompts[start : start + EVALUATION_BATCH],
                report,
                temperature=config.temperature,
                max_new_tokens=config.max_new_tokens,
                seed=derive_seed(config.seed, "evaluation", start),
            )
        )
    if not rollouts:
        names = ("reward_mean", "reward_ci95", "reward_std", "kl", "length_mean", "eos_fraction")
        return {**dict.fromkeys(names), "prompts": 0, "samples": []}
    scores = torch.cat([rollout.scores for rollout in rollouts])
    return {
        "reward_mean": scores.mean().item(),
        "reward_ci95": bootstrap_interval(scores.tolist(), [prompt.id for prompt in prompts]),
        "reward_std": scores.std(correction=0).item(),
        "kl": torch.cat([rollout.kl for rollout in rollouts]).mean().item(),
        "length_mean": torch.cat([rollout.lengths for rollout in rollouts]).mean().item(),
        "eos_fraction": torch.cat([r.finished for r in rollouts]).float().mean().item(),
        "prompts": len(prompts),
        "samples": [row for rollout in rollouts for row in sample_rows(rollout)],
    }


def sample_rows(rollout: Rollout) -> list[dict[str, object]]:
    """The rollout as rows to look at: prompt, completion, reward, kl, tokens, finished."""
    return [
        {
            "prompt_id": prompt.id,
            "prompt": prompt.messages[-1]["content"],
            "completion": text,
            "reward": reward,
            "kl": kl,
            "tokens": int(length),
            "finished": finished,
        }
        for prompt, text, reward, kl, length, finished in zip(
            rollout.prompts,
            rollout.texts,
            rollout.scores.tolist(),
            rollout.kl.tolist(),
            rollout.lengths.tolist(),
            rollout.finished.tolist(),
            strict=True,
        )
    ]
