"""The hidden states that predict the tokens of completions, each prompt computed once.

Completions of the same prompt go behind one copy of it in one row (see
`app.training.task_logprobs`, which does the same for ranked tasks), where that costs less than a
row for each. States and gradients are those of rows of their own.

Shape letters: B completions, P prompt tokens (padded on the left), C completion tokens (padded on
the right), H hidden size, R rows, T tokens of the longest row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from app.inference.shared_prompts import lay_out, row_cost, run_rows


@dataclass(frozen=True)
class Sequences:
    """Prompts with their sampled completions.

    `prompt_ids` int64 [B, P] and `prompt_mask` bool [B, P], padded on the left; `tokens` int64
    [B, C] and `completion_mask` bool [B, C], padded on the right.
    """

    prompt_ids: Tensor
    prompt_mask: Tensor
    tokens: Tensor
    completion_mask: Tensor

    def __len__(self) -> int:
        return len(self.tokens)

    def to(self, device: torch.device) -> "Sequences":
        """The same on another device."""
        return Sequences(
            self.prompt_ids.to(device),
            self.prompt_mask.to(device),
            self.tokens.to(device),
            self.completion_mask.to(device),
        )

    def select(self, rows: Tensor) -> "Sequences":
        """Some rows, without the columns that are padding in all of them."""
        prompt_width = max(1, int(self.prompt_mask[rows].sum(dim=1).max()))
        width = max(1, int(self.completion_mask[rows].sum(dim=1).max()))
        return Sequences(
            self.prompt_ids[rows, -prompt_width:],
            self.prompt_mask[rows, -prompt_width:],
            self.tokens[rows, :width],
            self.completion_mask[rows, :width],
        )


def predicting_states(
    model: Any, sequences: Sequences, device: torch.device, *, share_prompts: bool
) -> Tensor:
    """The last hidden state before each sampled token, [B, C, H] on `device`.

    The state before token t predicts it, so the last token is not fed in. Where
    `completion_mask` is False the states are finite and mean nothing.

    Args:
        model: a causal language model; its `base_model` is run.
        sequences: on the CPU.
        share_prompts: whether the model takes rows with a mask of blocks; `can_share_prompts`
            knows.
    """
    groups = list(_groups(sequences, model.config.get_text_config().hidden_size))
    if share_prompts and len(groups) < len(sequences):
        return _shared_states(model, sequences, groups, device)
    input_ids = torch.cat([sequences.prompt_ids, sequences.tokens[:, :-1]], dim=1)
    mask = torch.cat([sequences.prompt_mask, sequences.completion_mask[:, :-1]], dim=1)
    hidden: Tensor = model.base_model(
        input_ids=input_ids.to(device),
        attention_mask=mask.long().to(device),
        # Positions count real tokens, so that padding on the left changes nothing.
        position_ids=(mask.long().cumsum(dim=1) - 1).clamp(min=0).to(device),
        use_cache=False,
    ).last_hidden_state
    return hidden[:, sequences.prompt_ids.shape[1] - 1 :]


def _groups(sequences: Sequences, hidden_size: int) -> Iterator[list[int]]:
    """The completions that go into each row."""
    by_prompt: dict[tuple[int, ...], list[int]] = {}
    for number, (ids, mask) in enumerate(
        zip(sequences.prompt_ids, sequences.prompt_mask, strict=True)
    ):
        by_prompt.setdefault(tuple(ids[mask].tolist()), []).append(number)
    lengths = sequences.completion_mask.sum(dim=1).tolist()
    for prompt, numbers in by_prompt.items():
        own = [lengths[number] for number in numbers]
        together = row_cost(len(prompt) + sum(own), hidden_size)
        apart = sum(row_cost(len(prompt) + length, hidden_size) for length in own)
        if together < apart:
            yield numbers
        else:
            yield from ([number] for number in numbers)


def _shared_states(
    model: Any, sequences: Sequences, groups: Sequence[Sequence[int]], device: torch.device
) -> Tensor:
    prompt_lengths = sequences.prompt_mask.sum(dim=1).tolist()
    # The last token predicts nothing here.
    lengths = (sequences.completion_mask.sum(dim=1) - 1).clamp(min=0).tolist()
    rows = [
        (
            sequences.prompt_ids[group[0], -prompt_lengths[group[0]] :].tolist(),
            [sequences.tokens[number, : lengths[number]].tolist() for number in group],
        )
        for group in groups
    ]
    layout = lay_out(rows, 0)
    width = layout.input_ids.shape[1]
    # Of each token the place, among all tokens of all rows, of the one whose state predicts it.
    predictors = torch.zeros_like(sequences.tokens)
    for row, group in enumerate(groups):
        for number, start in zip(group, layout.starts[row], strict=True):
            begin, length = row * width + start, lengths[number]
            predictors[number, 0] = row * width + prompt_lengths[number] - 1
            predictors[number, 1 : length + 1] = torch.arange(begin, begin + length)
    return run_rows(model, layout).flatten(0, 1)[predictors.to(device)]
