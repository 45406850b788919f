"""The before/after report of a policy: held-out prompts, the same seeds at every call."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

import torch

from app.training.policy import Policy
from app.training.report import Report, TrainingError
from app.training.reward_metrics import bootstrap_interval
from app.training.rollouts import Prompt, Rollout, Scorer, collect_rollout
from app.training.seeds import derive_seed
from app.training.text_diversity import distinct_n, repetition

EVALUATION_BATCH = 64
JUDGES = ("gold", "second_opinion")
"""Who judges beside the reward model, where they are there: the rule that simulated labelers ranked
by, and a reward model that nothing is tuned against."""
NO_JUDGES: Mapping[str, Scorer] = MappingProxyType({})
FIGURES = (
    "reward_mean",
    "reward_ci95",
    "reward_std",
    "kl",
    "length_mean",
    "eos_fraction",
    "distinct_words",
    "distinct_bigrams",
    "repetition",
)


class EvaluationSettings(Protocol):
    """What a job's config says of its before/after report."""

    @property
    def temperature(self) -> float:
        """Of the sampling."""

    @property
    def max_new_tokens(self) -> int:
        """Longest completion."""

    @property
    def seed(self) -> int:
        """Seed of the job."""


def evaluate_policy(
    policy: Policy,
    tokenizer: Any,
    score: Scorer | None,
    prompts: Sequence[Prompt],
    config: EvaluationSettings,
    report: Report,
    judges: Mapping[str, Scorer] = NO_JUDGES,
    *,
    stream: str = "evaluation",
) -> dict[str, Any]:
    """One completion of each held-out prompt, drawn with the same seeds at every call.

    The same random numbers before and after leave less of the difference to chance. Rewards are the
    scorer's own, without normalisation or penalty; without a scorer they are None.

    Args:
        score: the reward model.
        judges: others that see the completions, by name (`JUDGES`).
        stream: calls with another name draw other completions.

    Returns:
        `reward_mean`, `reward_ci95` (bootstrap over prompts), `reward_std`, `kl` and `length_mean`
        per completion, `eos_fraction`, `distinct_words`, `distinct_bigrams`, `repetition`,
        `prompts` and `samples`; `…_mean` and `…_ci95` of every judge. What cannot be had is None.
    """
    rollouts = []
    for start in range(0, len(prompts), EVALUATION_BATCH):
        rollouts.append(
            collect_rollout(
                policy,
                tokenizer,
                score or _no_scores,
                prompts[start : start + EVALUATION_BATCH],
                report,
                temperature=config.temperature,
                max_new_tokens=config.max_new_tokens,
                seed=derive_seed(config.seed, stream, start),
            )
        )
    names = (*FIGURES, *(f"{name}_{figure}" for name in judges for figure in ("mean", "ci95")))
    figures: dict[str, Any] = {**dict.fromkeys(names), "prompts": len(prompts), "samples": []}
    if not rollouts:
        return figures
    rows = [row for rollout in rollouts for row in sample_rows(rollout)]
    texts = [text for rollout in rollouts for text in rollout.texts]
    ids = [prompt.id for prompt in prompts]
    if score is None:
        for row in rows:
            del row["reward"]
    else:
        rewards = torch.cat([rollout.scores for rollout in rollouts])
        figures["reward_mean"] = rewards.mean().item()
        figures["reward_ci95"] = bootstrap_interval(rewards.tolist(), ids)
        figures["reward_std"] = rewards.std(correction=0).item()
    for name, judge in judges.items():
        judged = _ask(name, judge, prompts, texts)
        for row, value in zip(rows, judged, strict=True):
            row[name] = value
        figures |= _judge_figures(name, judged, ids)
    return figures | {
        "kl": torch.cat([rollout.kl for rollout in rollouts]).mean().item(),
        "length_mean": torch.cat([rollout.lengths for rollout in rollouts]).mean().item(),
        "eos_fraction": torch.cat([r.finished for r in rollouts]).float().mean().item(),
        "distinct_words": distinct_n(texts, 1),
        "distinct_bigrams": distinct_n(texts, 2),
        "repetition": repetition(texts),
        "samples": rows,
    }


def best_of_n(
    policy: Policy,
    tokenizer: Any,
    score: Scorer,
    prompts: Sequence[Prompt],
    config: EvaluationSettings,
    report: Report,
    n: int,
    judges: Mapping[str, Scorer] = NO_JUDGES,
) -> dict[str, Any]:
    """The policy as it is, n completions of each prompt, of which the scorer takes the best.

    What tuning has to beat: it needs no training, and costs n times the sampling at every use
    (Stiennon et al. 2020, section 4.3; Gao et al. 2023). The first completion of each prompt is
    the one that `evaluate_policy` draws.

    Returns:
        `n`, `reward_mean`, `reward_ci95` (bootstrap over prompts), `kl` from the policy itself,
        log n − (n − 1)/n, `length_mean` in tokens; `…_mean` and `…_ci95` of every judge.
    """
    rewards: list[float] = []
    lengths: list[float] = []
    texts: list[str] = []
    for start in range(0, len(prompts), EVALUATION_BATCH):
        rollout = collect_rollout(
            policy,
            tokenizer,
            score,
            prompts[start : start + EVALUATION_BATCH],
            report,
            temperature=config.temperature,
            max_new_tokens=config.max_new_tokens,
            seed=derive_seed(config.seed, "evaluation", start),
            completions_per_prompt=n,
        )
        places = rollout.scores.view(-1, n).argmax(dim=1)
        best = (torch.arange(len(places)) * n + places).tolist()
        rewards += rollout.scores[best].tolist()
        lengths += rollout.lengths[best].tolist()
        texts += [rollout.texts[row] for row in best]
    ids = [prompt.id for prompt in prompts]
    figures: dict[str, Any] = {
        "n": n,
        "reward_mean": sum(rewards) / len(rewards),
        "reward_ci95": bootstrap_interval(rewards, ids),
        "kl": math.log(n) - (n - 1) / n,
        "length_mean": sum(lengths) / len(lengths),
    }
    for name, judge in judges.items():
        figures |= _judge_figures(name, _ask(name, judge, prompts, texts), ids)
    return figures


def _ask(name: str, judge: Scorer, prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float]:
    judged = list(judge(prompts, texts))
    if not all(map(math.isfinite, judged)):
        raise TrainingError(
            f"The {name.replace('_', ' ')} gave a reward that is not finite; judge without it."
        )
    return judged


def _judge_figures(name: str, judged: Sequence[float], ids: Sequence[str]) -> dict[str, Any]:
    return {
        f"{name}_mean": sum(judged) / len(judged),
        f"{name}_ci95": bootstrap_interval(judged, ids),
    }


def compare_samples(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """How often the tuned policy's completion beats the starting one's, prompt by prompt.

    Args:
        before, after: `samples` of two calls of `evaluate_policy` with the same prompts.

    Returns:
        `win_rate` under the reward model, `gold_win_rate` under the gold rule and
        `second_opinion_win_rate`, ties half, each with its `_ci95` (bootstrap over prompts); those
        without a judge are left out.
    """
    compared: dict[str, Any] = {}
    for name in ("reward", *JUDGES):
        figure = "win_rate" if name == "reward" else f"{name}_win_rate"
        pairs = [
            (old["prompt_id"], new[name] - old[name])
            for old, new in zip(before, after, strict=True)
            if name in old and name in new
        ]
        if pairs:
            wins = [0.5 if change == 0 else float(change > 0) for _, change in pairs]
            compared[figure] = sum(wins) / len(wins)
            compared[f"{figure}_ci95"] = bootstrap_interval(wins, [prompt for prompt, _ in pairs])
    return compared


def sample_rows(rollout: Rollout) -> list[dict[str, Any]]:
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


def _no_scores(_prompts: Sequence[Prompt], completions: Sequence[str]) -> list[float]:
    return [0.0] * len(completions)
