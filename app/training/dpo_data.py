"""Ranked tasks as DPO sees them: token ids, preferences, and what the reference says of them."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from app.inference.formatting import encode_prompt
from app.inference.stopping import closing_token, end_of_turn_ids
from app.training.checkpoint import Checkpoints
from app.training.configs import DPOConfig
from app.training.policy import Policy
from app.training.ranked_task import RankedTask
from app.training.report import Report, TrainingError
from app.training.task_logprobs import (
    EncodedTask,
    can_share_prompts,
    completion_logprobs,
    task_groups,
)
from app.training.work_meter import WorkMeter

# Padded tokens of one forward pass without gradient.
FORWARD_TOKENS = 8192


@dataclass
class TrainingTask:
    """One task ready to train on, K completions.

    `preferred` bool [R, K, K] is its `preference_matrix`; `reference` holds the reference's
    log-probabilities of each completion's C tokens, float32 [C], once they were computed.
    """

    ranked: RankedTask
    encoded: EncodedTask
    preferred: Tensor
    weights: Tensor | None
    reference: list[Tensor] = field(default_factory=list)


def settle_length(model: Any, wanted: int, report: Report) -> int:
    """`wanted` tokens, or as many as the model can take."""
    context: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if context is None or context >= wanted:
        return wanted
    report.log(f"The policy takes {context} tokens at most: max_length is lowered to that.")
    return context


def encode_tasks(
    model: Any, tokenizer: Any, tasks: Sequence[RankedTask], max_length: int, report: Report
) -> list[TrainingTask]:
    """The tasks as token ids, laid out as in rollouts and serving; those that do not fit are left
    out.

    A completion that ended has the end-of-turn token behind it. One that is longer than the prompt
    leaves room for is cut, without that token: its beginning was preferred as part of the whole. A
    prompt that leaves no room is never cut, for it would ask something else.
    """
    hidden_size = model.config.get_text_config().hidden_size
    sharing = can_share_prompts(model)
    end = closing_token(tokenizer, end_of_turn_ids(model, tokenizer))
    encoded: list[TrainingTask] = []
    cut = 0
    for task in tasks:
        prompt = encode_prompt(tokenizer, task.messages)
        room = max_length - len(prompt)
        if not prompt or room < 1:
            continue
        finished = task.finished or [True] * len(task.completions)
        completions = []
        for text, ended in zip(task.completions, finished, strict=True):
            ids = list(tokenizer.encode(text, add_special_tokens=False))
            if ended or not ids:
                ids.append(end)
            cut += len(ids) > room
            completions.append(ids[:room])
        ids_of_task = EncodedTask(prompt, completions)
        if sharing:
            ids_of_task = ids_of_task.sharing(hidden_size)
        weights = None if task.weights is None else torch.tensor(task.weights)
        encoded.append(TrainingTask(task, ids_of_task, task.preferences(), weights))
    if cut:
        report.log(f"Cut {cut:,} completions that reach past {max_length} tokens.")
    if len(encoded) < len(tasks):
        report.log(
            f"Left out {len(tasks) - len(encoded):,} of {len(tasks):,} tasks whose prompt is empty "
            f"or fills {max_length} tokens."
        )
    return encoded


def add_reference(
    policy: Policy,
    tasks: Sequence[TrainingTask],
    pad_token_id: int,
    run_dir: Path,
    config: DPOConfig,
    report: Report,
    meter: WorkMeter,
) -> None:
    """Give every task the reference's log-probabilities, computed once and kept in `run_dir`.

    Raises:
        TrainingError: one of them is not finite.
        Cancelled: the run was asked to stop.
    """
    ids = [(task.encoded.prompt, task.encoded.completions) for task in tasks]
    digest = hashlib.sha256(json.dumps(ids).encode()).hexdigest()
    lengths = [length for task in tasks for length in task.encoded.lengths]
    kept = Checkpoints(run_dir / "reference", asdict(config), report)
    saved = kept.load()
    # Rankings may have been erased between two attempts: then what was kept is of other tasks.
    if saved is not None and saved["tasks"] == digest:
        parts = iter(torch.split(saved["logprobs"], lengths))
        for task in tasks:
            task.reference = [next(parts) for _ in task.encoded.completions]
            meter.skip(task.encoded.tokens)
        return
    encoded = [task.encoded for task in tasks]
    with torch.no_grad(), policy.reference() as model:
        for group in task_groups(encoded, FORWARD_TOKENS):
            report.check_cancelled()
            found = completion_logprobs(model, [encoded[index] for index in group], pad_token_id)
            for index, logprobs in zip(group, found, strict=True):
                tasks[index].reference = logprobs
                meter.work(encoded[index].tokens)
            report.progress(
                meter.fraction, "Reading the rankings with the reference", meter.eta_seconds
            )
    everything = torch.cat([part for task in tasks for part in task.reference])
    if not torch.isfinite(everything).all():
        raise TrainingError(
            "The starting policy gives a log-probability that is not finite: its weights are "
            "broken."
        )
    kept.save(0, {"tasks": digest, "logprobs": everything})
