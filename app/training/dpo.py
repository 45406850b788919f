"""Tune a policy on ranked completions with DPO (Rafailov et al. 2023).

    measure the starting policy on held-out prompts
    log π_ref(y_k|x) of every completion, once                 the reference never changes
    for each batch of tasks:
        d_k ← log π(y_k|x) − log π_ref(y_k|x)                  one pass gives all K of a task
        L   ← mean over tasks of mean over pairs −log σ(β·(d_i − d_j))
        Adam step on L, gradient clipped
    measure the tuned policy on the same prompts with the same seeds

All K completions of a task are one element of the batch, so that K log-ratios give the C(K,2) pair
losses of every ranking of the task, and where the model allows it the prompt is computed once for
all of them. Nothing random is kept in memory, so a run that was killed goes on from its checkpoint
exactly as if nothing had happened.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from app.inference.formatting import encode_prompt
from app.training.checkpoint import Checkpoints, save_folder
from app.training.configs import DPOConfig
from app.training.dpo_data import (
    FORWARD_TOKENS,
    TrainingTask,
    add_reference,
    encode_tasks,
    settle_length,
)
from app.training.dpo_loss import dpo_loss, ipo_loss
from app.training.policy import load_policy
from app.training.policy_evaluation import NO_JUDGES, compare_samples, evaluate_policy
from app.training.ranked_task import RankedTask, useful_tasks
from app.training.report import Report, TrainingError
from app.training.rollouts import Prompt, Scorer
from app.training.schedules import scheduled_rate, task_batches
from app.training.task_logprobs import completion_logprobs, task_groups
from app.training.work_meter import TRAINING_COST, WorkMeter
from app.training.work_sizes import tokens_to_train

GRADIENT_CLIP = 1.0
EVALUATIONS = 4
SHOWN_TASKS = 3
# What sampling a token takes beside reading one in a long row; a rough figure for the progress bar.
SAMPLING_COST = 4
# Log-ratios closer than this are equal: the same weights in another batch differ by rounding.
SAME_LOG_RATIO = 1e-4


@dataclass(frozen=True)
class DPOResult:
    """The tuned policy's folder, and the starting and the tuned policy on held-out prompts.

    `before` and `after` are those of `evaluate_policy`, `comparison` is that of `compare_samples`.
    """

    model_dir: Path
    before: dict[str, Any]
    after: dict[str, Any]
    comparison: dict[str, Any]


def tune_on_rankings(
    config: DPOConfig,
    policy_dir: Path,
    tasks: Sequence[RankedTask],
    eval_prompts: Sequence[Prompt],
    run_dir: Path,
    report: Report,
    *,
    score: Scorer | None = None,
    judges: Mapping[str, Scorer] = NO_JUDGES,
) -> DPOResult:
    """Tune, evaluate and save; run again on the same `run_dir` it goes on where it was.

    Leaves the tuned policy in `run_dir/model`, an ordinary model folder. Tasks of the
    `eval_prompts` are not trained on; their loss and accuracy are measured before the first step,
    after the last and in between, as `eval_loss`, `eval_accuracy` and `eval_margin`. At every step,
    counted from 1: `loss`, `accuracy` (ties half), `margin` (mean difference of the implicit
    rewards β·d of a pair), `chosen_logprobs` and `rejected_logprobs` (of whole completions),
    `chosen_reward`, `rejected_reward`, `kl`, `learning_rate`, `grad_norm` and `step_seconds`.

    `kl` is an estimate per completion from what the snapshot holds, ½·Σ_t (log π − log π_ref)²
    (Schulman 2020, k2: no exponential that one token could blow up). It is near KL where the
    reference wrote the completions and the two are near each other; before and after carry the KL
    on completions of the policy itself.

    Args:
        score: reward model that judges the report; training does not use it.
        judges: others that judge the report, by name.

    Raises:
        TrainingError: nothing to train on, a policy that cannot be used, a loss or log-probability
            that is not finite.
        Cancelled: the run was asked to stop.
    """
    report.progress(0.0, "Loading the policy")
    useful = useful_tasks(tasks)
    tokenizer, policy = load_policy(policy_dir, config.lora_rank, config.seed)
    max_length = settle_length(policy.model, config.max_length, report)
    if not tokenizer.chat_template:
        report.log("The policy has no chat template: it is given the prompt as plain text.")
    encoded = encode_tasks(policy.model, tokenizer, useful, max_length, report)
    held_out_ids = {prompt.id for prompt in eval_prompts}
    train = [task for task in encoded if task.ranked.prompt_id not in held_out_ids]
    held_out = [task for task in encoded if task.ranked.prompt_id in held_out_ids]
    if not train:
        raise TrainingError(
            "No task is left to train on: all are held out or too long. Lower eval_prompts or "
            "raise max_length."
        )
    room = max_length - config.max_new_tokens
    eval_prompts = [
        prompt
        for prompt in eval_prompts
        if 0 < len(encode_prompt(tokenizer, prompt.messages)) <= room
    ][: config.eval_prompts]
    # The value head of the trunk is PPO's; nothing here reaches it.
    trained = [weight for weight in policy.model.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=config.learning_rate)
    batches = list(task_batches(len(train), config.epochs, config.tasks_per_batch, config.seed))
    checkpoints = Checkpoints(run_dir / "checkpoints", asdict(config), report)
    evaluate_at = {round(len(batches) * k / EVALUATIONS) for k in range(EVALUATIONS + 1)}
    report.log(
        f"Tuning {sum(weight.numel() for weight in trained):,} weights on {len(train)} tasks "
        f"({sum(task.ranked.pair_count() for task in train):,} pairs), holding out "
        f"{len(held_out)} tasks and {len(eval_prompts)} prompts ({len(tasks) - len(useful)} tasks "
        f"without a pair left out), {len(batches)} steps; "
        f"{sum(task.encoded.shared for task in encoded)} tasks share one copy of their prompt."
    )
    pad = tokenizer.pad_token_id
    tokens = [sum(task.encoded.tokens for task in part) for part in (train, held_out)]
    meter = WorkMeter(
        (1 + TRAINING_COST * config.epochs) * tokens[0] + (1 + len(evaluate_at)) * tokens[1],
        SAMPLING_COST * len(eval_prompts) * config.max_new_tokens,
    )

    def state() -> dict[str, Any]:
        return {
            "policy": policy.trained_state(),
            "optimizer": optimizer.state_dict(),
            "before": before,
            "measuring_seconds": meter.measuring_seconds,
        }

    saved = checkpoints.load()
    if saved is not None:
        done, before = saved["step"], saved["before"]
        meter.measuring_seconds = saved["measuring_seconds"]
        report.log(f"Going on after step {done} of {len(batches)}.")
    else:
        report.progress(0.0, "Measuring the starting policy")
        started = time.monotonic()
        done = 0
        before = evaluate_policy(policy, tokenizer, score, eval_prompts, config, report, judges)
        meter.measuring_seconds = time.monotonic() - started
        checkpoints.save(0, state())
    meter.measured()
    add_reference(policy, [*train, *held_out], pad, run_dir, config, report, meter)
    if saved is not None:
        policy.load_trained_state(saved["policy"])
        optimizer.load_state_dict(saved["optimizer"])
        read = [train[index] for batch in batches[:done] for index in batch]
        meter.skip(TRAINING_COST * sum(task.encoded.tokens for task in read))

    def look(step: int) -> None:
        if not held_out:
            return
        report.progress(meter.fraction, "Reading held-out rankings", meter.eta_seconds)
        figures, rows = _measure(policy.model, held_out, pad, config, report)
        meter.work(tokens[1])
        if not math.isfinite(figures["loss"]):
            raise TrainingError(
                f"The loss on held-out prompts is not finite after step {step}; try a lower "
                "learning rate."
            )
        report.metrics(
            step, {f"eval_{name}": figures[name] for name in ("loss", "accuracy", "margin")}
        )
        report.samples(step, rows)

    if done == 0:
        look(0)
    for step, batch in enumerate(batches[done:], start=done + 1):
        report.check_cancelled()
        started = time.monotonic()
        learning_rate = scheduled_rate(config.learning_rate, step, len(batches))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        chosen = [train[index] for index in batch]
        figures = _accumulate_gradients(policy.model, chosen, pad, config)
        gradient_norm = nn.utils.clip_grad_norm_(trained, GRADIENT_CLIP).item()
        if not (math.isfinite(figures["loss"]) and math.isfinite(gradient_norm)):
            raise TrainingError(
                f"The loss is not finite at step {step}; try a lower learning rate."
            )
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        meter.work(TRAINING_COST * sum(task.encoded.tokens for task in chosen))
        report.metrics(
            step,
            {
                **figures,
                "learning_rate": learning_rate,
                "grad_norm": gradient_norm,
                "step_seconds": time.monotonic() - started,
            },
        )
        report.progress(meter.fraction, f"Step {step} of {len(batches)}", meter.eta_seconds)
        if step in evaluate_at:
            look(step)
        checkpoints.save_if_due(step, state)

    report.check_cancelled()
    if len(batches) > done:
        checkpoints.save(len(batches), state())
    report.progress(meter.fraction, "Measuring the tuned policy", meter.measuring_seconds)
    after = evaluate_policy(policy, tokenizer, score, eval_prompts, config, report, judges)
    if not eval_prompts:
        report.log("There is no prompt to hold out, so nothing could be compared.")
    report.progress(0.99, "Saving the tuned policy")
    save_folder(run_dir / "model", lambda folder: policy.save(folder, policy_dir))
    report.progress(1.0, "Done", 0.0)
    comparison = compare_samples(before["samples"], after["samples"])
    return DPOResult(run_dir / "model", before, after, comparison)


def _accumulate_gradients(
    model: Any, tasks: Sequence[TrainingTask], pad: int, config: DPOConfig
) -> dict[str, float]:
    """Gradients of the batch's loss, added up over groups of tasks; the figures of the batch."""
    figures = _Figures(config)
    encoded = [task.encoded for task in tasks]
    # Groups of whole tasks give the same gradient, and memory does not grow with the batch.
    device = next(iter(model.parameters())).device
    for group in task_groups(encoded, tokens_to_train(model, device)):
        losses = []
        found = completion_logprobs(model, [encoded[index] for index in group], pad)
        for index, logprobs in zip(group, found, strict=True):
            log_ratios = _log_ratios(tasks[index], logprobs, config)
            losses.append(_task_loss(tasks[index], log_ratios, config))
            figures.add(tasks[index], logprobs, losses[-1])
        torch.autograd.backward(torch.stack(losses).sum() / len(tasks))
    return figures.means()


def _measure(
    model: Any,
    tasks: Sequence[TrainingTask],
    pad: int,
    config: DPOConfig,
    report: Report,
) -> tuple[dict[str, float], list[dict[str, object]]]:
    """The figures of tasks without training on them, and the first of them as rows to look at."""
    figures = _Figures(config)
    encoded = [task.encoded for task in tasks]
    rows: dict[int, list[dict[str, object]]] = {}
    with torch.no_grad():
        for group in task_groups(encoded, FORWARD_TOKENS):
            report.check_cancelled()
            part = [encoded[index] for index in group]
            for index, logprobs in zip(group, completion_logprobs(model, part, pad), strict=True):
                task = tasks[index]
                log_ratios = _log_ratios(task, logprobs, config)
                figures.add(task, logprobs, _task_loss(task, log_ratios, config))
                if index < SHOWN_TASKS:
                    rows[index] = task.ranked.sample_rows(config.beta * log_ratios)
    return figures.means(), [row for index in sorted(rows) for row in rows[index]]


def _log_ratios(task: TrainingTask, logprobs: Sequence[Tensor], config: DPOConfig) -> Tensor:
    """d of each completion, [K] float: over its tokens the sum, or the mean where lengths are
    normalised."""
    ratios = [own - ref for own, ref in zip(logprobs, task.reference, strict=True)]
    if config.length_normalized or config.loss == "ipo":
        return torch.stack([ratio.mean() for ratio in ratios])
    return torch.stack([ratio.sum() for ratio in ratios])


def _task_loss(task: TrainingTask, log_ratios: Tensor, config: DPOConfig) -> Tensor:
    if config.loss == "ipo":
        return ipo_loss(log_ratios, task.preferred, beta=config.beta, weights=task.weights)
    return dpo_loss(
        log_ratios,
        task.preferred,
        beta=config.beta,
        label_smoothing=config.label_smoothing,
        weights=task.weights,
    )


class _Figures:
    """What a chart shows of a set of tasks, added up task by task."""

    def __init__(self, config: DPOConfig) -> None:
        self._config = config
        self._losses: list[float] = []
        self._kl: list[float] = []
        self._pairs: list[Tensor] = []

    def add(self, task: TrainingTask, logprobs: Sequence[Tensor], loss: Tensor) -> None:
        """Take in one task."""
        own = [part.detach() for part in logprobs]
        rewards = self._config.beta * _log_ratios(task, own, self._config)
        totals = torch.stack([part.sum() for part in own])
        _, chosen, rejected = task.preferred.nonzero(as_tuple=True)
        self._losses.append(loss.item())
        self._pairs.append(
            torch.stack([totals[chosen], totals[rejected], rewards[chosen], rewards[rejected]])
        )
        for mine, reference in zip(own, task.reference, strict=True):
            self._kl.append(0.5 * (mine - reference).square().sum().item())

    def means(self) -> dict[str, float]:
        """The loss is the mean over tasks, `kl` over completions, the rest over pairs."""
        pairs = torch.cat(self._pairs, dim=1)
        margins = pairs[2] - pairs[3]
        tied = margins.abs() < SAME_LOG_RATIO * self._config.beta
        wins = torch.where(tied, 0.5, (margins > 0).float())
        chosen, rejected, chosen_reward, rejected_reward = pairs.mean(dim=1).tolist()
        return {
            "loss": sum(self._losses) / len(self._losses),
            "accuracy": wins.mean().item(),
            "margin": margins.mean().item(),
            "chosen_logprobs": chosen,
            "rejected_logprobs": rejected,
            "chosen_reward": chosen_reward,
            "rejected_reward": rejected_reward,
            "kl": sum(self._kl) / len(self._kl),
        }
