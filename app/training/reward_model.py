"""Train a reward model on ranked completions (InstructGPT §3.5).

    for each batch of tasks:
        s_k ← r(prompt, completion_k)                      K forwards, one per completion
        L   ← mean over tasks of mean over pairs −log σ(s_i − s_j)
        AdamW step on L, gradient clipped
    b ← b − mean of s over the training completions        rewards then average 0

All K completions of a task are one element of the batch, so that K forwards give the C(K,2) pair
losses of every ranking of the task. Dropout is off: it would make two equal texts differ.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from app.inference.formatting import EncodedPair, encode_pair, length_batches, pad_pairs
from app.inference.loading import best_device
from app.training.checkpoint import Checkpoints, save_folder
from app.training.configs import RewardModelConfig
from app.training.losses import pairwise_ranking_loss
from app.training.ranked_task import RankedTask, split_tasks
from app.training.report import Report, TrainingError
from app.training.reward_metrics import evaluate_rewards
from app.training.schedules import scheduled_rate
from app.training.seeds import permutation

GRADIENT_CLIP = 1.0
# The head starts from noise on a pretrained trunk, and an epoch over a first round has some ten
# steps. The factor is a judgement: with and without were not compared on otherwise equal runs.
HEAD_RATE = 10.0
EVALUATIONS = 4
SHOWN_TASKS = 3
# Padded tokens of one forward pass in training and in scoring. A batch is split into groups of
# whole tasks below this, with the same gradient: 72 texts of 256 tokens would need 40 GB with a
# 135M-parameter causal backbone.
TRAIN_TOKENS = 4096
SCORE_TOKENS = 8192


@dataclass(frozen=True)
class RewardModelResult:
    """The finished model's folder and the report on its held-out prompts."""

    model_dir: Path
    metrics: dict[str, Any]


def train_reward_model(
    config: RewardModelConfig,
    backbone_dir: Path,
    tasks: Sequence[RankedTask],
    run_dir: Path,
    report: Report,
) -> RewardModelResult:
    """Train, evaluate, centre and save; run again on the same `run_dir` it goes on where it was.

    Reports `loss`, `pair_accuracy`, `learning_rate` and `grad_norm` at every step, and
    `eval_accuracy` and `eval_log_loss` before the first step, after the last and in between.

    Raises:
        TrainingError: nothing to train on, a backbone that cannot be used, a loss that is not
            finite.
        Cancelled: the run was asked to stop.
    """
    report.progress(0.0, "Loading the backbone")
    train, held_out = split_tasks(tasks, config.eval_fraction, config.seed)
    tokenizer, model = load_backbone(backbone_dir, config.seed)
    optimizer = torch.optim.AdamW(_parameter_groups(model), lr=config.learning_rate)
    batches = list(_batches(len(train), config))
    checkpoints = Checkpoints(run_dir / "checkpoints", asdict(config), report)
    evaluate_at = {round(len(batches) * k / EVALUATIONS) for k in range(EVALUATIONS + 1)}
    meter = _WorkMeter(train, held_out, config.epochs, len(evaluate_at))
    report.log(
        f"Training on {len(train)} tasks, holding out {len(held_out)} "
        f"({len(tasks) - len(train) - len(held_out)} without a pair left out), "
        f"{len(batches)} steps."
    )

    done = 0
    if (saved := checkpoints.load()) is not None:
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        done = saved["step"]
        meter.skip_training(batches[:done], train)
        report.log(f"Going on after step {done} of {len(batches)}.")

    def state() -> dict[str, Any]:
        return {"model": model.state_dict(), "optimizer": optimizer.state_dict()}

    def evaluate(step: int) -> dict[str, Any]:
        report.progress(meter.fraction, "Scoring held-out prompts", meter.eta_seconds)
        rewards = score_tasks(model, tokenizer, held_out, config.max_length)
        if not all(torch.isfinite(scores).all() for scores in rewards):
            raise TrainingError(
                f"The rewards are not finite after step {step}; try a lower learning rate."
            )
        meter.scored(held_out)
        metrics = evaluate_rewards(held_out, rewards)
        live = {f"eval_{name}": metrics[name] for name in ("accuracy", "log_loss")}
        report.metrics(step, {name: value for name, value in live.items() if value is not None})
        report.samples(step, _sample_rows(held_out[:SHOWN_TASKS], rewards))
        return metrics

    if done == 0:
        evaluate(0)
    for step, batch in enumerate(batches[done:], start=done + 1):
        report.check_cancelled()
        started = time.monotonic()
        learning_rate = scheduled_rate(config.learning_rate, step, len(batches))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * group["rate_factor"]
        chosen = [train[index] for index in batch]
        loss, accuracy = _accumulate_gradients(model, tokenizer, chosen, config.max_length)
        gradient_norm = nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_CLIP).item()
        if not torch.isfinite(torch.tensor([loss, gradient_norm])).all():
            raise TrainingError(
                f"The loss is not finite at step {step}; try a lower learning rate."
            )
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        meter.trained(chosen)
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
    rewards = score_tasks(model, tokenizer, train, config.max_length)
    shift_rewards(model, -torch.cat(rewards).mean().item())
    metrics = evaluate(len(batches))
    metrics |= {
        "train_tasks": len(train),
        "train_pairs": sum(task.pair_count() for task in train),
        "skipped_tasks": len(tasks) - len(train) - len(held_out),
    }
    if not held_out:
        report.log("All pairs belong to one prompt, so nothing could be held out.")
    model_dir = run_dir / "model"
    model.config.podium_max_length = config.max_length

    def write(folder: Path) -> None:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    save_folder(model_dir, write)
    report.progress(1.0, "Done", 0.0)
    return RewardModelResult(model_dir, metrics)


def load_backbone(backbone_dir: Path, seed: int) -> tuple[Any, Any]:
    """Tokenizer and model with one output; a backbone without a head gets one from `seed`.

    Raises:
        TrainingError: the folder holds no usable backbone, or its tokenizer can neither pad nor
            end a text.
    """
    torch.manual_seed(seed)  # the new head is drawn from the global generator
    try:
        tokenizer = AutoTokenizer.from_pretrained(backbone_dir, local_files_only=True)
        model = AutoModelForSequenceClassification.from_pretrained(
            backbone_dir, num_labels=1, dtype=torch.float32, local_files_only=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise TrainingError(f"Cannot load the backbone {backbone_dir.name}: {reason}") from error
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token is None:
            raise TrainingError(f"The tokenizer of {backbone_dir.name} has no padding token.")
        tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id
    model.config.problem_type = "regression"
    return tokenizer, model.to(best_device()).eval()


def score_tasks(
    model: nn.Module, tokenizer: Any, tasks: Sequence[RankedTask], max_length: int
) -> list[Tensor]:
    """The reward of every completion: one [K] float tensor per task, without gradient."""
    pairs = [pair for task in tasks for pair in _encode(tokenizer, task, max_length)]
    rewards = torch.empty(len(pairs))
    with torch.no_grad():
        for rows in length_batches([len(pair) for pair in pairs], SCORE_TOKENS):
            rewards[rows] = _forward(model, tokenizer, [pairs[row] for row in rows])
    return list(torch.split(rewards, [len(task.completions) for task in tasks]))


def shift_rewards(model: nn.Module, offset: float) -> None:
    """Add `offset` to every reward the model will give, in its head's bias.

    A head without a bias (Llama's `score`) gets the offset in the config instead, as
    `podium_reward_offset`, which scoring adds.
    """
    head = _find_head(model)
    if head is not None and head.bias is not None:
        with torch.no_grad():
            head.bias.add_(offset)
    else:
        config: Any = model.config
        config.podium_reward_offset = getattr(config, "podium_reward_offset", 0.0) + offset


def _find_head(model: nn.Module) -> nn.Linear | None:
    """The linear layer that makes the reward: the last one with a single output."""
    heads = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features == 1]
    return heads[-1] if heads else None


def _parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Trunk and head; the head, which starts from noise, learns `HEAD_RATE` times as fast."""
    head = _find_head(model)
    head_weights = [] if head is None else list(head.parameters())
    ids = {id(weight) for weight in head_weights}
    trunk = [weight for weight in model.parameters() if id(weight) not in ids]
    groups: list[dict[str, Any]] = [{"params": trunk, "rate_factor": 1.0}]
    if head_weights:
        groups.append({"params": head_weights, "rate_factor": HEAD_RATE})
    return groups


def _accumulate_gradients(
    model: nn.Module, tokenizer: Any, tasks: Sequence[RankedTask], max_length: int
) -> tuple[float, float]:
    """Gradients of the batch's loss, added up over groups of whole tasks of like length.

    Returns the loss, the mean over tasks, and the share of the batch's pairs ordered rightly.
    """
    encoded = [_encode(tokenizer, task, max_length) for task in tasks]
    total = 0.0
    right: list[Tensor] = []
    for group in _task_groups(encoded, TRAIN_TOKENS):
        pairs = [pair for index in group for pair in encoded[index]]
        scores = torch.split(
            _forward(model, tokenizer, pairs), [len(encoded[index]) for index in group]
        )
        losses = []
        for index, task_scores in zip(group, scores, strict=True):
            task = tasks[index]
            preferred = task.preferences()
            weights = None if task.weights is None else torch.tensor(task.weights)
            losses.append(pairwise_ranking_loss(task_scores, preferred, weights))
            margins = (task_scores[:, None] - task_scores[None, :]).detach().expand_as(preferred)
            right.append((margins[preferred].sign() + 1) / 2)
        loss = torch.stack(losses).sum() / len(tasks)
        torch.autograd.backward(loss)
        total += loss.item()
    return total, torch.cat(right).mean().item()


def _forward(model: nn.Module, tokenizer: Any, pairs: Sequence[EncodedPair]) -> Tensor:
    """The rewards of these texts, float32 [len(pairs)], on the CPU wherever the model is."""
    inputs = pad_pairs(pairs, tokenizer.pad_token_id, next(model.parameters()).device)
    logits: Tensor = model(**inputs).logits
    offset: float = getattr(model.config, "podium_reward_offset", 0.0)
    return logits[:, 0].float().cpu() + offset


def _encode(tokenizer: Any, task: RankedTask, max_length: int) -> list[EncodedPair]:
    return [encode_pair(tokenizer, task.messages, text, max_length) for text in task.completions]


def _task_groups(encoded: Sequence[Sequence[EncodedPair]], max_tokens: int) -> Iterator[list[int]]:
    """Indices of tasks in groups of like length, each at most `max_tokens` when padded."""
    longest = [max(len(pair) for pair in pairs) for pairs in encoded]
    group: list[int] = []
    texts = width = 0
    for index in sorted(range(len(encoded)), key=lambda index: -longest[index]):
        if group and (texts + len(encoded[index])) * width > max_tokens:
            yield group
            group, texts = [], 0
        if not group:
            width = longest[index]
        group.append(index)
        texts += len(encoded[index])
    if group:
        yield group


def _batches(tasks: int, config: RewardModelConfig) -> Iterator[list[int]]:
    """The task indices of every step; a function of the seed, so that a resumed run meets them."""
    for epoch in range(config.epochs):
        order = permutation(tasks, config.seed, "tasks", epoch)
        yield from (rows.tolist() for rows in torch.split(order, config.tasks_per_batch))


def _sample_rows(tasks: Sequence[RankedTask], rewards: Sequence[Tensor]) -> list[dict[str, object]]:
    return [
        {
            "prompt": task.messages[-1]["content"],
            "completion": text,
            "reward": scores[k].item(),
            "rank": task.rankings[0][k],
        }
        for task, scores in zip(tasks, rewards, strict=False)
        for k, text in enumerate(task.completions)
    ]


class _WorkMeter:
    """How far a run is and when it will end, counted in forward passes of one completion.

    Training on a completion costs three of them (the backward pass is two), scoring one.
    """

    def __init__(
        self,
        train: Sequence[RankedTask],
        held_out: Sequence[RankedTask],
        epochs: int,
        evaluations: int,
    ) -> None:
        self._done = 0
        self._at_start = 0
        centring = _completions(train)
        self._total = (3 * epochs + 1) * centring + evaluations * _completions(held_out)
        self._started = time.monotonic()

    def trained(self, tasks: Sequence[RankedTask]) -> None:
        self._done += 3 * _completions(tasks)

    def scored(self, tasks: Sequence[RankedTask]) -> None:
        self._done += _completions(tasks)

    def skip_training(self, batches: Sequence[Sequence[int]], train: Sequence[RankedTask]) -> None:
        for batch in batches:
            self.trained([train[index] for index in batch])
        self._at_start = self._done

    @property
    def fraction(self) -> float:
        return min(0.99, self._done / self._total)

    @property
    def eta_seconds(self) -> float | None:
        done = self._done - self._at_start
        if not done:
            return None
        elapsed = time.monotonic() - self._started
        return max(0.0, elapsed / done * (self._total - self._done))


def _completions(tasks: Sequence[RankedTask]) -> int:
    return sum(len(task.completions) for task in tasks)
