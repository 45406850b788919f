"""Log-probabilities of all completions of a task, its prompt computed once for all of them.

    prompt | completion 1 | completion 2 | …        one row; a completion sees the prompt and itself

A mask of blocks keeps the completions from seeing each other, and each one's positions go on from
the prompt's end, so that every token gets what it would get in a row of its own. Where a model
cannot be used so, every completion has a row with its own copy of the prompt.

Shape letters: B rows, T tokens of the longest row, N completion tokens of all rows, H hidden size.
Masks: True means "may be seen".
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from app.training.logprobs import token_logprobs

PADDING = -1
PROMPT = 0


@dataclass(frozen=True)
class EncodedTask:
    """Token ids of one prompt and of its completions, end-of-turn tokens included."""

    prompt: list[int]
    completions: list[list[int]]

    @property
    def lengths(self) -> list[int]:
        """Tokens of each completion."""
        return [len(completion) for completion in self.completions]

    def rows(self, shared: bool) -> list[tuple[list[int], list[list[int]]]]:
        """A prompt with all completions in one row, or with one completion in each."""
        if shared:
            return [(self.prompt, self.completions)]
        return [(self.prompt, [completion]) for completion in self.completions]

    def tokens(self, shared: bool) -> int:
        """How many tokens its rows have."""
        prompts = 1 if shared else len(self.completions)
        return prompts * len(self.prompt) + sum(self.lengths)


def completion_logprobs(
    model: Any, tasks: Sequence[EncodedTask], pad_token_id: int, *, shared: bool
) -> list[list[Tensor]]:
    """The log-probability of every completion token at temperature 1, on the CPU.

    Never holds more logits than `token_logprobs` does. Differentiable where gradients are on.

    Args:
        model: a causal language model whose logits are its head times its last hidden state.
        tasks: prompts of at least one token; completions may not be empty.
        pad_token_id: any token of the vocabulary.
        shared: whether the completions of a task share one row.

    Returns:
        Of each task, of each completion, a float32 tensor [C] of its C tokens.
    """
    rows = [row for task in tasks for row in task.rows(shared)]
    width = max(len(prompt) + sum(map(len, completions)) for prompt, completions in rows)
    ids = torch.full((len(rows), width), pad_token_id)
    positions = torch.zeros_like(ids)
    segments = torch.full_like(ids, PADDING)
    predictors: list[int] = []
    tokens: list[int] = []
    for row, (prompt, completions) in enumerate(rows):
        ids[row, : len(prompt)] = torch.tensor(prompt)
        positions[row, : len(prompt)] = torch.arange(len(prompt))
        segments[row, : len(prompt)] = PROMPT
        start = len(prompt)
        for segment, completion in enumerate(completions, start=1):
            place = slice(start, start + len(completion))
            ids[row, place] = torch.tensor(completion)
            positions[row, place] = torch.arange(len(prompt), len(prompt) + len(completion))
            segments[row, place] = segment
            # The prompt's last state predicts a completion's first token, whatever stands between.
            first = row * width + len(prompt) - 1
            predictors += [first, *range(row * width + start, row * width + place.stop - 1)]
            tokens += completion
            start = place.stop
    device = next(model.parameters()).device
    mask = _block_mask(segments) if shared else segments != PADDING
    hidden: Tensor = model.base_model(
        input_ids=ids.to(device),
        attention_mask=mask.to(device),
        position_ids=positions.to(device),
        use_cache=False,
    ).last_hidden_state
    head = model.get_output_embeddings()
    logprobs, _ = token_logprobs(
        hidden.flatten(0, 1)[torch.tensor(predictors, device=device)],
        head.weight,
        torch.tensor(tokens, device=device),
        bias=getattr(head, "bias", None),
    )
    parts = iter(torch.split(logprobs.cpu(), [n for task in tasks for n in task.lengths]))
    return [[next(parts) for _ in task.completions] for task in tasks]


def _block_mask(segments: Tensor) -> Tensor:
    """What each token may not see, as numbers to add to the attention scores: [B, 1, T, T] float.

    A token sees what stands before it of the prompt and of its own completion. Padding sees itself
    alone, for a row without anything to see would be NaN.
    """
    width = segments.shape[1]
    seen, seeing = segments[:, None, :], segments[:, :, None]
    allowed = ((seen == PROMPT) | (seen == seeing)) & (seen != PADDING)
    allowed &= torch.ones(width, width, dtype=torch.bool).tril()
    allowed |= torch.eye(width, dtype=torch.bool)
    mask = torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)
    return mask[:, None]


def can_share_prompts(model: Any, longest: int) -> bool:
    """Whether the model gives the same in shared rows as in plain ones: it is tried.

    Models with a recurrent state or positions of their own making do not, nor do those that look
    back over a window shorter than `longest` tokens, the longest prompt with its completion.
    """
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    if window and window < longest:
        return False
    size = config.vocab_size
    ids = [(7 * n + 3) % size for n in range(12)]
    task = EncodedTask(ids[:5], [ids[5:8], ids[8:10], ids[10:12]])
    with torch.no_grad():
        plain = completion_logprobs(model, [task], 0, shared=False)
        try:
            together = completion_logprobs(model, [task], 0, shared=True)
        except (RuntimeError, ValueError, TypeError, IndexError):
            return False
    return torch.allclose(torch.cat(together[0]), torch.cat(plain[0]), atol=1e-4, rtol=1e-4)


def task_groups(tasks: Sequence[EncodedTask], shared: bool, max_tokens: int) -> Iterator[list[int]]:
    """Indices of tasks in groups of like length, each at most `max_tokens` when padded.

    A task larger than that makes a group of its own: its pairs need all its scores at once.
    """
    shapes = []
    for task in tasks:
        rows = task.rows(shared)
        shapes.append((max(len(p) + sum(map(len, c)) for p, c in rows), len(rows)))
    group: list[int] = []
    rows_in_group = width = 0
    for index in sorted(range(len(tasks)), key=lambda index: -shapes[index][0]):
        task_width, task_rows = shapes[index]
        if group and (rows_in_group + task_rows) * width > max_tokens:
            yield group
            group, rows_in_group = [], 0
        if not group:
            width = task_width
        group.append(index)
        rows_in_group += task_rows
    if group:
        yield group
