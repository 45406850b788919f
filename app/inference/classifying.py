"""The outputs of a sequence classifier for prompts with completions, without wasted tokens."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from app.inference.formatting import EncodedPair, pad_pairs
from app.inference.shared_prompts import SharedRow, share_rows, shared_logits

# What starting one more forward pass costs, in tokens: a batch is split where it saves more padding
# than that. On one CPU core a training pass of MiniLM or SmolLM2 cost what 30 to 50 tokens take
# beside its tokens. The figure for GPUs, which idle below some thousand tokens, is a guess.
CALL_TOKENS_CPU = 48
CALL_TOKENS_GPU = 4096


def classifier_logits(
    model: Any,
    pad_token_id: int,
    pairs: Sequence[EncodedPair],
    max_tokens: int,
    *,
    share_prompts: bool = False,
) -> Tensor:
    """The outputs for every pair, in their order: float32 [N, L] on the CPU, with gradient.

    Texts of like length go through the model together, at most `max_tokens` at a time, padding
    counted; with `share_prompts` (see `shares_prompts`) completions of one prompt share its
    computation. A text that is there twice is computed once. None of it changes the outputs.
    """
    known: dict[tuple[int, tuple[int, ...]], int] = {}
    distinct: list[EncodedPair] = []
    places: list[int] = []
    for pair in pairs:
        key = (pair.completion_start, tuple(pair.input_ids))
        if key not in known:
            known[key] = len(distinct)
            distinct.append(pair)
        places.append(known[key])
    return _logits(model, pad_token_id, distinct, max_tokens, share_prompts)[torch.tensor(places)]


def _logits(
    model: Any,
    pad_token_id: int,
    pairs: Sequence[EncodedPair],
    max_tokens: int,
    share_prompts: bool,
) -> Tensor:
    rows: list[SharedRow] = []
    alone = list(range(len(pairs)))
    if share_prompts:
        rows, alone = share_rows(pairs, model.config.get_text_config().hidden_size)
    device = next(model.parameters()).device
    call_tokens = CALL_TOKENS_CPU if device.type == "cpu" else CALL_TOKENS_GPU
    order: list[int] = []
    outputs: list[Tensor] = []
    for batch in even_batches([row.length for row in rows], max_tokens, call_tokens):
        chosen = [rows[number] for number in batch]
        outputs.append(shared_logits(model, pad_token_id, chosen, pairs))
        order.extend(place for row in chosen for place in row.pairs)
    for batch in even_batches([len(pairs[place]) for place in alone], max_tokens, call_tokens):
        places = [alone[number] for number in batch]
        inputs = pad_pairs([pairs[place] for place in places], pad_token_id, device)
        outputs.append(model(**inputs).logits)
        order.extend(places)
    logits = torch.cat([output.float() for output in outputs]).cpu()
    return logits[torch.tensor(order).argsort()]


def even_batches(lengths: Sequence[int], max_tokens: int, call_tokens: int) -> Iterator[list[int]]:
    """Indices in batches, the longest first, that make tokens, padding and calls fewest in all.

    Every batch costs `call_tokens` beside its padded tokens, and has at most `max_tokens` of those
    unless one text alone is longer. Texts are sorted by length; the best cuts are found by dynamic
    programming over where the last batch begins.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    # cheapest[k]: of the k longest texts; start[k]: where the last of their batches begins.
    cheapest = [0.0] + [float("inf")] * len(order)
    start = [0] * (len(order) + 1)
    for first in range(len(order)):
        width = max(1, lengths[order[first]])
        most = max(1, max_tokens // width)
        for end in range(first + 1, min(len(order), first + most) + 1):
            cost = cheapest[first] + call_tokens + (end - first) * width
            if cost < cheapest[end]:
                cheapest[end], start[end] = cost, first
    cuts = [len(order)]
    while cuts[-1]:
        cuts.append(start[cuts[-1]])
    for end, first in reversed(list(pairwise(cuts))):
        yield order[first:end]
