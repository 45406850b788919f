"""Log-probabilities of all completions of a task, its prompt computed once for all of them.

    prompt | completion 1 | completion 2 | …        one row; a completion sees the prompt and itself

A mask of blocks keeps the completions from seeing each other, and each one's positions go on from
the prompt's end, so that every token gets what it would get in a row of its own (as in
`app.inference.shared_prompts`). Where a model cannot be used so, or where the prompt is too short
to pay for the longer row, every completion has a row with its own copy of the prompt.

Shape letters: B rows, T tokens of the longest row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from app.inference.shared_prompts import (
    ATTENTION,
    PADDING,
    PROBE_TOLERANCE,
    has_windows,
    lay_out,
    row_cost,
    run_rows,
)
from app.training.logprobs import token_logprobs


@dataclass(frozen=True)
class EncodedTask:
    """Token ids of one prompt and of its completions, end-of-turn tokens included.

    `shared` says whether the completions go behind one copy of the prompt.
    """

    prompt: list[int]
    completions: list[list[int]]
    shared: bool = False

    @property
    def lengths(self) -> list[int]:
        """Tokens of each completion."""
        return [len(completion) for completion in self.completions]

    @property
    def rows(self) -> list[list[list[int]]]:
        """The completions of each row that the task takes."""
        return [self.completions] if self.shared else [[one] for one in self.completions]

    @property
    def width(self) -> int:
        """Tokens of its longest row."""
        return len(self.prompt) + (sum if self.shared else max)(self.lengths)

    @property
    def tokens(self) -> int:
        """Tokens of all its rows."""
        return len(self.rows) * len(self.prompt) + sum(self.lengths)

    def sharing(self, hidden_size: int) -> "EncodedTask":
        """The same task with one row, if that costs less than a row for each completion."""
        together = row_cost(len(self.prompt) + sum(self.lengths), hidden_size)
        apart = sum(row_cost(len(self.prompt) + length, hidden_size) for length in self.lengths)
        return replace(self, shared=together < apart)


def completion_logprobs(
    model: Any, tasks: Sequence[EncodedTask], pad_token_id: int
) -> list[list[Tensor]]:
    """The log-probability of every completion token at temperature 1, on the CPU.

    Never holds more logits than `token_logprobs` does. Differentiable where gradients are on.

    Args:
        model: a causal language model whose logits are its head times its last hidden state.
        tasks: prompts of at least one token; completions may not be empty.
        pad_token_id: any token of the vocabulary.

    Returns:
        Of each task, of each completion, a float32 tensor [C] of its C tokens.
    """
    rows = [(task.prompt, completions) for task in tasks for completions in task.rows]
    layout = lay_out(rows, pad_token_id)
    width = layout.input_ids.shape[1]
    # Of each token the place, among all tokens of all rows, of the one whose state predicts it.
    predictors: list[int] = []
    tokens: list[int] = []
    for row, (prompt, completions) in enumerate(rows):
        for start, completion in zip(layout.starts[row], completions, strict=True):
            # The prompt's last state predicts a completion's first token, whatever stands between.
            first = row * width + len(prompt) - 1
            begin = row * width + start
            predictors += [first, *range(begin, begin + len(completion) - 1)]
            tokens += completion
    device = next(model.parameters()).device
    if any(task.shared for task in tasks):
        hidden = run_rows(model, layout)
    else:
        hidden = model.base_model(
            input_ids=layout.input_ids.to(device),
            attention_mask=(layout.segments != PADDING).to(device),
            position_ids=layout.positions.to(device),
            use_cache=False,
        ).last_hidden_state
    head = model.get_output_embeddings()
    logprobs = token_logprobs(
        hidden.flatten(0, 1)[torch.tensor(predictors, device=device)],
        head.weight,
        torch.tensor(tokens, device=device),
        bias=getattr(head, "bias", None),
    )
    parts = iter(torch.split(logprobs.cpu(), [n for task in tasks for n in task.lengths]))
    return [[next(parts) for _ in task.completions] for task in tasks]


def can_share_prompts(model: Any) -> bool:
    """Whether the model gives the same in shared rows as in plain ones: it is tried.

    Models with a recurrent state, positions of their own making or sliding windows do not.
    """
    config = model.config.get_text_config()
    if model.config._attn_implementation not in ATTENTION or has_windows(config):
        return False
    ids = [(7 * n + 3) % config.vocab_size for n in range(12)]
    task = EncodedTask(ids[:5], [ids[5:8], ids[8:10], ids[10:12]])
    with torch.no_grad():
        plain = completion_logprobs(model, [task], 0)
        try:
            together = completion_logprobs(model, [replace(task, shared=True)], 0)
        except (RuntimeError, ValueError, TypeError, IndexError):
            return False
    return torch.allclose(
        torch.cat(together[0]), torch.cat(plain[0]), atol=PROBE_TOLERANCE, rtol=PROBE_TOLERANCE
    )


def task_groups(tasks: Sequence[EncodedTask], max_tokens: int) -> Iterator[list[int]]:
    """Indices of tasks in groups of like length, each at most `max_tokens` when padded.

    A task larger than that makes a group of its own: its pairs need all its scores at once.
    """
    group: list[int] = []
    rows = width = 0
    for index in sorted(range(len(tasks)), key=lambda index: -tasks[index].width):
        task = tasks[index]
        if group and (rows + len(task.rows)) * width > max_tokens:
            yield group
            group, rows = [], 0
        if not group:
            width = task.width
        group.append(index)
        rows += len(task.rows)
    if group:
        yield group
