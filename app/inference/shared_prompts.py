"""Scoring all completions of a prompt while computing the prompt once, for causal classifiers.

    row        = prompt, completion 1, completion 2, …
    positions  = 0 … P−1, P … P+C₁−1, P … P+C₂−1, …       each completion follows the prompt
    mask(q, k) = k ≤ q and (k in the prompt, or k in the completion of q)

A token sees exactly what it would see in a row of its own, so the outputs are those of the plain
computation, and so are the gradients, for P + ΣC tokens instead of Σ(P + C).

Shape letters: B rows, T tokens of the longest, N completions, L outputs of the classifier.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from app.inference.block_attention import attend_blocks
from app.inference.formatting import EncodedPair, pad_pairs

ATTENTION = ("sdpa", "eager")
# A longer row is split. Its prompt is then computed twice, and its attention, which grows with the
# square of the row, stays small.
LONGEST_ROW = 2048
# The largest difference of the two computations on a probe. Rounding alone makes about 1e-6.
PROBE_TOLERANCE = 1e-4
PADDING = -1
PROMPT = 0


@dataclass(frozen=True)
class SharedRow:
    """Completions of one prompt in one row: their places among the pairs that were given."""

    pairs: tuple[int, ...]
    length: int


@dataclass(frozen=True)
class Layout:
    """Rows of prompts with their completions as a model takes them, int64 [B, T] on the CPU.

    `starts` says of each row where each of its completions begins.
    """

    input_ids: Tensor
    positions: Tensor
    segments: Tensor
    """0 for the prompt, 1 and on for the completions, −1 for padding; `block_mask` reads them."""
    starts: list[list[int]]


_probed: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def shares_prompts(model: Any) -> bool:
    """Whether this classifier gives the same outputs when completions share their prompt's row.

    It has to be a causal trunk with a linear `score` on it that takes positions and a mask of our
    own. Sliding windows count distances in the row and are refused; what else an architecture may
    do with positions (ALiBi, recurrence) shows in a probe of two short completions, made once for
    each model.
    """
    if model not in _probed:
        _probed[model] = _takes_rows(model) and _probe(model)
    return _probed[model]


def _takes_rows(model: Any) -> bool:
    trunk = getattr(model, model.base_model_prefix, None)
    config = model.config.get_text_config()
    return (
        isinstance(getattr(model, "score", None), nn.Linear)
        and trunk is not None
        and "position_ids" in inspect.signature(trunk.forward).parameters
        and model.config._attn_implementation in ATTENTION
        and not has_windows(config)
        and config.pad_token_id is not None
    )


@torch.no_grad()
def _probe(model: Any) -> bool:
    config = model.config.get_text_config()
    pad = config.pad_token_id
    ids = [token for token in range(min(16, config.vocab_size)) if token != pad]
    if len(ids) < 8:
        return False
    # Hidden states are compared, and not only outputs: those of a new head may be tiny.
    pairs = [
        EncodedPair([*ids[:4], *ids[4:6], pad], None, 4),
        EncodedPair([*ids[:4], *ids[5:8], pad], None, 4),
    ]
    try:
        shared = shared_states(model, pad, [SharedRow((0, 1), 11)], pairs)
        inputs = pad_pairs(pairs, pad, next(model.parameters()).device)
        trunk = getattr(model, model.base_model_prefix)
        states = trunk(**inputs, use_cache=False).last_hidden_state
        plain = states[[0, 1], [last_place(pair, pad) for pair in pairs]]
        outputs = model(**inputs).logits
    except (TypeError, ValueError, RuntimeError, IndexError):
        return False
    return _are_near(shared, plain) and _are_near(model.score(plain), outputs)


def _are_near(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, atol=PROBE_TOLERANCE, rtol=PROBE_TOLERANCE)


def share_rows(pairs: Sequence[EncodedPair], hidden_size: int) -> tuple[list[SharedRow], list[int]]:
    """Rows of pairs with the very same prompt, and the places of the pairs that stay alone.

    A prompt cut on the left for the sake of a long completion is another prompt. Where completions
    are so long that their attention in one row would cost more than the prompt saves, they stay
    alone too.
    """
    by_prompt: dict[tuple[int, ...], list[int]] = {}
    for place, pair in enumerate(pairs):
        by_prompt.setdefault(tuple(pair.input_ids[: pair.completion_start]), []).append(place)
    rows: list[SharedRow] = []
    alone: list[int] = []
    for prompt, places in by_prompt.items():
        row: list[int] = []
        length = len(prompt)
        for place in places:
            own = len(pairs[place]) - len(prompt)
            if row and length + own > LONGEST_ROW:
                _settle_row(row, length, pairs, hidden_size, rows, alone)
                row, length = [], len(prompt)
            row.append(place)
            length += own
        _settle_row(row, length, pairs, hidden_size, rows, alone)
    return rows, alone


def shared_logits(
    model: Any, pad_token_id: int, rows: Sequence[SharedRow], pairs: Sequence[EncodedPair]
) -> Tensor:
    """The classifier's outputs for every completion of these rows, row by row: [N, L]."""
    logits: Tensor = model.score(shared_states(model, pad_token_id, rows, pairs))
    return logits


def shared_states(
    model: Any, pad_token_id: int, rows: Sequence[SharedRow], pairs: Sequence[EncodedPair]
) -> Tensor:
    """The trunk's last hidden state where each completion is scored, row by row: [N, H].

    That is the last token that is not padding by its id, as transformers' classifiers have it: with
    a tokenizer that pads with its end-of-text token it is the token before that.
    """
    texts = []
    for row in rows:
        end = pairs[row.pairs[0]].completion_start
        prompt = pairs[row.pairs[0]].input_ids[:end]
        texts.append((prompt, [pairs[place].input_ids[end:] for place in row.pairs]))
    layout = lay_out(texts, pad_token_id)
    owners: list[int] = []
    scored: list[int] = []
    for number, (row, starts) in enumerate(zip(rows, layout.starts, strict=True)):
        for place, start in zip(row.pairs, starts, strict=True):
            last = last_place(pairs[place], pad_token_id)
            beyond = last - pairs[place].completion_start
            owners.append(number)
            scored.append(last if beyond < 0 else start + beyond)
    states = run_rows(model, layout)
    places = (torch.tensor(found, device=states.device) for found in (owners, scored))
    return states[tuple(places)]


def run_rows(model: Any, layout: Layout) -> Tensor:
    """The trunk's last hidden state of every token of these rows, [B, T, H]; finite in padding."""
    device = next(model.parameters()).device
    with attend_blocks(model, layout.segments):
        states: Tensor = model.base_model(
            input_ids=layout.input_ids.to(device),
            position_ids=layout.positions.to(device),
            attention_mask=block_mask(model, layout.segments.to(device)),
            use_cache=False,
        ).last_hidden_state
    return states


def lay_out(
    rows: Sequence[tuple[Sequence[int], Sequence[Sequence[int]]]], pad_token_id: int
) -> Layout:
    """Each row's prompt, then its completions, whose positions all go on from the prompt's end."""
    lengths = [len(prompt) + sum(map(len, completions)) for prompt, completions in rows]
    input_ids = torch.full((len(rows), max(lengths)), pad_token_id)
    positions = torch.zeros_like(input_ids)
    segments = torch.full_like(input_ids, PADDING)
    starts: list[list[int]] = []
    for row, (prompt, completions) in enumerate(rows):
        start = len(prompt)
        input_ids[row, :start] = torch.tensor(prompt)
        positions[row, :start] = torch.arange(start)
        segments[row, :start] = PROMPT
        starts.append([])
        for segment, completion in enumerate(completions, start=1):
            place = slice(start, start + len(completion))
            input_ids[row, place] = torch.tensor(completion)
            positions[row, place] = torch.arange(len(prompt), len(prompt) + len(completion))
            segments[row, place] = segment
            starts[-1].append(start)
            start = place.stop
    return Layout(input_ids, positions, segments, starts)


def last_place(pair: EncodedPair, pad_token_id: int) -> int:
    """Where a causal classifier reads its output: the last token that is not padding, or 0."""
    for place in range(len(pair) - 1, 0, -1):
        if pair.input_ids[place] != pad_token_id:
            return place
    return 0


def block_mask(model: Any, segments: Tensor) -> Tensor:
    """Which token sees which, [B, 1, T, T]: bool for SDPA, to be added to the logits for eager.

    Padding sees padding and the prompt, for a row that sees nothing gives NaN.
    """
    width = segments.shape[1]
    causal = torch.ones((width, width), dtype=torch.bool, device=segments.device).tril()
    seen = segments[:, None, None, :]
    mask = causal & ((seen == PROMPT) | (seen == segments[:, None, :, None]))
    if model.config._attn_implementation == "sdpa":
        return mask
    dtype = next(model.parameters()).dtype
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(
        ~mask, torch.finfo(dtype).min
    )


def _settle_row(
    row: Sequence[int],
    length: int,
    pairs: Sequence[EncodedPair],
    hidden_size: int,
    rows: list[SharedRow],
    alone: list[int],
) -> None:
    apart = sum(row_cost(len(pairs[place]), hidden_size) for place in row)
    if len(row) > 1 and row_cost(length, hidden_size) < apart:
        rows.append(SharedRow(tuple(row), length))
    else:
        alone.extend(row)


def row_cost(tokens: int, hidden_size: int) -> float:
    """What a row costs, in tokens of the linear layers.

    A layer has about 12·H² weights, so 24·H² operations a token; attention adds 4·T·H.
    """
    return tokens * (1 + tokens / (6 * hidden_size))


def has_windows(config: Any) -> bool:
    """Whether some layer looks back over a window only, which counts distances in the row."""
    kinds = set(getattr(config, "layer_types", None) or ())
    if kinds:
        return kinds != {"full_attention"}
    window = getattr(config, "sliding_window", None) or getattr(config, "attention_window", None)
    return window is not None and getattr(config, "use_sliding_window", True)
