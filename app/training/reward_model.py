"""Train a reward model on ranked completions (InstructGPT §3.5).

    for each batch of tasks:
        s_k ← r(prompt, completion_k)                      K forwards, one per completion
        L   ← mean over tasks of mean over pairs −log σ(s_i − s_j)
        AdamW step on L, gradient clipped
    b ← b − mean of s over the training completions        rewards then average 0

All K completions of a task are one element of the batch, so that K forwards give the C(K,2) pair
losses of every ranking of the task. Dropout is off: it would make two equal texts differ. An
ensemble has H heads on one trunk: each takes the loss of its own scores, with weights of its own
for the tasks (the Bayesian bootstrap, Rubin 1981), and the reward is their mean.
"""

import hashlib
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from app.inference.formatting import EncodedPair
from app.training.checkpoint import Checkpoints, save_folder
from app.training.configs import RewardModelConfig
from app.training.losses import pairwise_ranking_loss
from app.training.ranked_task import RankedTask, hold_out_labelers, split_tasks, weigh_labelers
from app.training.report import Report, TrainingError
from app.training.reward_metrics import evaluate_rewards
from app.training.reward_network import RewardNetwork, load_network
from app.training.reward_report import Scored, describe_rewards
from app.training.schedules import scheduled_rate, task_batches
from app.training.seeds import derive_seed
from app.training.work_meter import TRAINING_COST, WorkMeter

GRADIENT_CLIP = 1.0
# The head starts from noise on a pretrained trunk, and an epoch over a first round has some ten
# steps. The factor is a judgement: with and without were not compared on otherwise equal runs.
HEAD_RATE = 10.0
EVALUATIONS = 4
SHOWN_TASKS = 3
SCORED_TASKS = 256
"""Tasks encoded and scored at once, so that memory does not grow with their number."""


@dataclass(frozen=True)
class RewardModelResult:
    """The finished model's folder and the report on its held-out prompts.

    Of an ensemble, `uncertainty` has by task id the standard deviation over the heads of the margin
    between the task's two best completions.
    """

    model_dir: Path
    metrics: dict[str, Any]
    uncertainty: dict[str, float] = field(default_factory=dict)


def train_reward_model(
    config: RewardModelConfig,
    backbone_dir: Path,
    tasks: Sequence[RankedTask],
    run_dir: Path,
    report: Report,
    to_score: Sequence[RankedTask] = (),
) -> RewardModelResult:
    """Train, evaluate, centre and save; run again on the same `run_dir` it goes on where it was.

    Reports `loss`, `pair_accuracy`, `learning_rate` and `grad_norm` at every step, and
    `eval_accuracy` and `eval_log_loss` before the first step, after the last and in between. An
    ensemble says of the tasks in `to_score` how unsure it is.

    Raises:
        TrainingError: nothing to train on, a backbone that cannot be used, a loss or reward that is
            not finite, a full disk.
        Cancelled: the run was asked to stop.
    """
    report.progress(0.0, "Loading the backbone")
    train, held_out = split_tasks(tasks, config.eval_fraction, config.seed)
    skipped = len(tasks) - len(train) - len(held_out)
    train, unseen = hold_out_labelers(train, config.eval_labelers, config.seed)
    if config.labeler_weights == "agreement":
        train = weigh_labelers(train)
    to_score = to_score if config.heads > 1 else ()
    network = load_network(backbone_dir, config)
    optimizer = torch.optim.AdamW(
        network.parameter_groups(HEAD_RATE), lr=config.learning_rate, fused=True
    )
    batches = list(task_batches(len(train), config.epochs, config.tasks_per_batch, config.seed))
    head_weights = _head_weights(len(train), config)
    checkpoints = Checkpoints(run_dir / "checkpoints", asdict(config), report)
    evaluate_at = {round(len(batches) * k / EVALUATIONS) for k in range(EVALUATIONS + 1)}
    meter = WorkMeter(
        TRAINING_COST * config.epochs * _completions(train)
        + len(evaluate_at) * _completions(held_out)
        + _completions([*train, *unseen, *to_score])
    )
    report.log(
        f"Training on {len(train)} tasks, holding out {len(held_out)} "
        f"({skipped} without a pair left out), {len(batches)} steps."
    )
    _log_choices(report, network, config, unseen)

    done = 0
    digest = _digest(train, held_out)
    saved = checkpoints.load()
    if saved is not None and saved.get("tasks") != digest:
        report.log("The rankings are not those of the last checkpoint: starting again.")
        checkpoints.forget()
        saved = None
    if saved is not None:
        network.load_trained_state(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        done = saved["step"]
        read = [train[index] for batch in batches[:done] for index in batch]
        meter.skip(TRAINING_COST * _completions(read))
        report.log(f"Going on after step {done} of {len(batches)}.")

    def state() -> dict[str, Any]:
        return {
            "model": network.trained_state(),
            "optimizer": optimizer.state_dict(),
            "tasks": digest,
        }

    def score(which: Sequence[RankedTask], step: int) -> list[Tensor]:
        rewards = score_tasks(network, which)
        if not all(torch.isfinite(scores).all() for scores in rewards):
            raise TrainingError(
                f"The rewards are not finite after step {step}; try a lower learning rate."
            )
        meter.work(_completions(which))
        return rewards

    def evaluate(step: int) -> list[Tensor]:
        report.progress(meter.fraction, "Scoring held-out prompts", meter.eta_seconds)
        scores = score(held_out, step)
        rewards = [heads.mean(dim=1) for heads in scores]
        metrics = evaluate_rewards(held_out, rewards)
        live = {f"eval_{name}": metrics[name] for name in ("accuracy", "log_loss")}
        report.metrics(step, {name: value for name, value in live.items() if value is not None})
        shown = zip(held_out[:SHOWN_TASKS], rewards, strict=False)
        report.samples(step, [row for task, given in shown for row in task.sample_rows(given)])
        return scores

    if done == 0:
        evaluate(0)
    for step, batch in enumerate(batches[done:], start=done + 1):
        report.check_cancelled()
        started = time.monotonic()
        learning_rate = scheduled_rate(config.learning_rate, step, len(batches))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * group["rate_factor"]
        chosen = [train[index] for index in batch]
        loss, accuracy = accumulate_gradients(network, chosen, head_weights[batch], config)
        gradient_norm = nn.utils.clip_grad_norm_(network.model.parameters(), GRADIENT_CLIP).item()
        if not (math.isfinite(loss) and math.isfinite(gradient_norm)):
            raise TrainingError(
                f"The loss is not finite at step {step}; try a lower learning rate."
            )
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        meter.work(TRAINING_COST * _completions(chosen))
        report.metrics(
            step,
            {
                "loss": loss,
                "pair_accuracy": accuracy,
                "learning_rate": learning_rate,
                "grad_norm": gradient_norm,
                "step_seconds": time.monotonic() - started,
            },
        )
        report.progress(meter.fraction, f"Step {step} of {len(batches)}", meter.eta_seconds)
        if step in evaluate_at and step < len(batches):
            evaluate(step)
        checkpoints.save_if_due(step, state)

    report.check_cancelled()
    if len(batches) > done:
        checkpoints.save(len(batches), state())
    report.progress(meter.fraction, "Centring rewards", meter.eta_seconds)
    total = 0.0
    # In parts: ten thousand small tensors at once are 17 MB.
    for start in range(0, len(train), SCORED_TASKS):
        part = score(train[start : start + SCORED_TASKS], len(batches))
        total += torch.cat(part).double().mean(dim=1).sum().item()
    network.shift(-total / _completions(train))
    metrics = describe_rewards(
        Scored(held_out, evaluate(len(batches))), Scored(unseen, score(unseen, len(batches)))
    )
    metrics |= {
        "train_tasks": len(train),
        "train_pairs": sum(task.pair_count() for task in train),
        "skipped_tasks": skipped,
    }
    if not held_out:
        report.log("All pairs belong to one prompt, so nothing could be held out.")
    if metrics["collapsed"]:
        report.log("The reward model collapsed: it gives all completions nearly the same reward.")
    if to_score:
        report.progress(meter.fraction, "Asking where the model is unsure", meter.eta_seconds)
    uncertainty = measure_uncertainty(to_score, score(to_score, len(batches)))
    model_dir = run_dir / "model"
    save_folder(model_dir, network.save)
    report.progress(1.0, "Done", 0.0)
    return RewardModelResult(model_dir, metrics, uncertainty)


def score_tasks(network: RewardNetwork, tasks: Sequence[RankedTask]) -> list[Tensor]:
    """What every head says of every completion: one [K, H] float tensor a task, no gradient."""
    rewards: list[Tensor] = []
    for start in range(0, len(tasks), SCORED_TASKS):
        encoded = [network.encode(task) for task in tasks[start : start + SCORED_TASKS]]
        scores = network.rewards([pair for pairs in encoded for pair in pairs])
        rewards.extend(torch.split(scores, [len(pairs) for pairs in encoded]))
    return rewards


def measure_uncertainty(tasks: Sequence[RankedTask], rewards: Sequence[Tensor]) -> dict[str, float]:
    """By task id the standard deviation over the heads of the margin between the two best.

    Which two are best the mean of the heads decides; the deviation is the sample's (H − 1).
    """
    uncertainty = {}
    for task, scores in zip(tasks, rewards, strict=True):
        if len(scores) > 1:
            first, second = scores.mean(dim=1).topk(2).indices.tolist()
            uncertainty[task.task_id] = (scores[first] - scores[second]).std().item()
    return uncertainty


def accumulate_gradients(
    network: RewardNetwork,
    tasks: Sequence[RankedTask],
    head_weights: Tensor,
    config: RewardModelConfig,
) -> tuple[float, float]:
    """Gradients of the batch's loss, added up over groups of whole tasks of like length.

    Args:
        network: gets the gradients.
        tasks: B tasks of a batch.
        head_weights: [B, H] float, what each head makes of each task.
        config: of the loss.

    Returns:
        The loss, the mean over tasks and heads, and the share of the batch's pairs that the mean
        of the heads orders rightly.
    """
    encoded = [network.encode(task) for task in tasks]
    total = 0.0
    right: list[Tensor] = []
    for group in _task_groups(encoded, network.group_tokens):
        pairs = [pair for index in group for pair in encoded[index]]
        scores = torch.split(network.train_rewards(pairs), [len(encoded[index]) for index in group])
        losses = []
        for index, task_scores in zip(group, scores, strict=True):
            task = tasks[index]
            preferred = task.preferences()
            loss = pairwise_ranking_loss(
                task_scores.T,
                preferred,
                None if task.weights is None else torch.tensor(task.weights),
                margins=task.margins(config.margin),
                label_smoothing=config.label_smoothing,
                centring=config.centring,
            )
            losses.append((loss * head_weights[index]).mean())
            mean = task_scores.detach().mean(dim=1)
            margins = (mean[:, None] - mean[None, :]).expand_as(preferred)
            right.append((margins[preferred].sign() + 1) / 2)
        group_loss = torch.stack(losses).sum() / len(tasks)
        torch.autograd.backward(group_loss)
        total += group_loss.item()
    return total, torch.cat(right).mean().item()


def _task_groups(encoded: Sequence[Sequence[EncodedPair]], max_tokens: int) -> Iterator[list[int]]:
    """Indices of tasks in groups of like length, each of at most `max_tokens` or one task."""
    tokens = [sum(len(pair) for pair in pairs) for pairs in encoded]
    group: list[int] = []
    room = max_tokens
    for index in sorted(range(len(encoded)), key=lambda index: -tokens[index]):
        if group and tokens[index] > room:
            yield group
            group, room = [], max_tokens
        group.append(index)
        room -= tokens[index]
    if group:
        yield group


def _digest(train: Sequence[RankedTask], held_out: Sequence[RankedTask]) -> str:
    """Of what is trained on and what is not: with other rankings both are others."""
    digest = hashlib.sha256()
    for tasks in (train, held_out):
        digest.update(f"{len(tasks)}\n".encode())
        for task in tasks:
            digest.update(json.dumps(asdict(task)).encode())
    return digest.hexdigest()


def _completions(tasks: Sequence[RankedTask]) -> int:
    return sum(len(task.completions) for task in tasks)


def _head_weights(tasks: int, config: RewardModelConfig) -> Tensor:
    """How much each head makes of each task, [tasks, H]: 1, or for an ensemble around 1."""
    weights = torch.ones(tasks, config.heads)
    if config.heads > 1:
        generator = torch.Generator().manual_seed(derive_seed(config.seed, "bootstrap"))
        weights.exponential_(generator=generator)
    return weights


def _log_choices(
    report: Report,
    network: RewardNetwork,
    config: RewardModelConfig,
    unseen: Sequence[RankedTask],
) -> None:
    """Say what was decided by the data, the backbone and the machine."""
    if unseen:
        people = len({name for task in unseen for name in task.labelers or ()})
        rankings = sum(len(task.rankings) for task in unseen)
        report.log(f"Holding out the {rankings} rankings of {people} of the labelers too.")
    if network.max_length < config.max_length:
        report.log(f"The backbone takes {network.max_length} tokens; longer texts are cut there.")
    if network.reads_plain_text:
        report.log("The backbone has no chat template: it reads prompts as plain text.")
    if network.share_prompts:
        report.log("Completions of a prompt share its computation.")
    if network.precision is not None:
        report.log("Training passes compute in bfloat16.")
