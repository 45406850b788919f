"""Drawing one token a row from logits, each row with its own temperature, top_k and top_p."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

# Sorting a whole vocabulary costs more than the model's step on a CPU. The nucleus nearly always
# lies within this many likeliest tokens; rows where it does not are sorted in full.
NUCLEUS_CANDIDATES = 256
# A vocabulary is summed by blocks first, and token by token only within the block that is hit.
BLOCK = 256


@dataclass(frozen=True)
class DrawTable:
    """How each of R rows is drawn: tensors of shape [R].

    `temperature` is 1 for greedy rows; `top_k` is 0 where every token may be drawn.
    """

    temperature: torch.Tensor
    greedy: torch.Tensor
    top_p: torch.Tensor
    top_k: torch.Tensor

    @classmethod
    def build(
        cls,
        temperatures: Sequence[float],
        top_ps: Sequence[float],
        top_ks: Sequence[int | None],
        device: torch.device | str = "cpu",
    ) -> "DrawTable":
        """One row for each entry; temperature 0 means greedy, top_k None means no limit."""
        return cls(
            temperature=torch.tensor([value or 1.0 for value in temperatures], device=device),
            greedy=torch.tensor([value == 0 for value in temperatures], device=device),
            top_p=torch.tensor(list(top_ps), dtype=torch.float64, device=device),
            top_k=torch.tensor([value or 0 for value in top_ks], device=device),
        )

    def select(self, rows: torch.Tensor) -> "DrawTable":
        """The table of some rows."""
        return DrawTable(
            self.temperature[rows], self.greedy[rows], self.top_p[rows], self.top_k[rows]
        )


def draw_tokens(
    logits: torch.Tensor, table: DrawTable, uniforms: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw one token a row by inverting the cumulative distribution at `uniforms`.

    `logits` float32 [R, V]; `uniforms` float64 [R] in [0, 1). Returns tokens int64 [R] and their
    log softmax(logits / temperature), float32 [R], over the whole vocabulary.
    Cumulative sums are float64, so that no token of a large vocabulary is lost to rounding.
    """
    scaled = logits / table.temperature[:, None]
    peak = scaled.amax(dim=-1, keepdim=True)
    weights = (scaled - peak).exp_()
    log_normalizer = weights.sum(dim=-1, keepdim=True).log_() + peak
    tokens = torch.empty(logits.shape[0], dtype=torch.long, device=logits.device)
    narrowed = ~table.greedy & ((table.top_p < 1) | (table.top_k > 0))
    # Each row takes the path its own options ask for, whatever its neighbours are.
    greedy, narrow, free = (
        torch.nonzero(rows).squeeze(1)
        for rows in (table.greedy, narrowed, ~table.greedy & ~narrowed)
    )
    if greedy.numel():
        tokens[greedy] = scaled[greedy].argmax(dim=-1)
    if narrow.numel():
        tokens[narrow] = _draw_narrowed(
            scaled[narrow], log_normalizer[narrow], table.select(narrow), uniforms[narrow]
        )
    if free.numel() == len(tokens):
        tokens = _invert(weights, uniforms)
    elif free.numel():
        tokens[free] = _invert(weights[free], uniforms[free])
    logprobs = (scaled.gather(1, tokens[:, None]) - log_normalizer).squeeze(1)
    return tokens, logprobs


def _draw_narrowed(
    scaled: torch.Tensor, log_normalizer: torch.Tensor, table: DrawTable, uniforms: torch.Tensor
) -> torch.Tensor:
    vocabulary = scaled.shape[1]
    count = min(NUCLEUS_CANDIDATES, vocabulary)
    values, candidates = scaled.topk(count, dim=-1)
    probabilities = (values - log_normalizer).exp()
    mass = probabilities.sum(dim=-1, dtype=torch.float64)
    limited = table.top_k > 0
    complete = torch.where(limited, table.top_k <= count, mass >= table.top_p)
    tokens = _draw_nucleus(probabilities, candidates, table, uniforms)
    if count < vocabulary and not bool(complete.all()):
        rows = torch.nonzero(~complete).squeeze(1)
        values, candidates = scaled[rows].sort(dim=-1, descending=True)
        probabilities = (values - log_normalizer[rows]).exp()
        tokens[rows] = _draw_nucleus(probabilities, candidates, table.select(rows), uniforms[rows])
    return tokens


def _draw_nucleus(
    probabilities: torch.Tensor,
    candidates: torch.Tensor,
    table: DrawTable,
    uniforms: torch.Tensor,
) -> torch.Tensor:
    """Draw among the first top_k and then the fewest tokens whose mass reaches top_p.

    `probabilities` and `candidates` [R, K] come likeliest first. As in transformers, top_p counts
    the mass that top_k left.
    """
    places = torch.arange(probabilities.shape[1], device=probabilities.device)
    kept = torch.where(
        (table.top_k[:, None] == 0) | (places < table.top_k[:, None]), probabilities, 0.0
    )
    before = kept.cumsum(dim=-1, dtype=torch.float64) - kept
    whole = torch.where(table.top_k > 0, kept.sum(dim=-1, dtype=torch.float64), 1.0)
    kept = torch.where(before < (table.top_p * whole)[:, None], kept, 0.0)
    return candidates.gather(1, _invert(kept, uniforms)[:, None]).squeeze(1)


def _invert(weights: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """The first index of each row whose cumulative sum exceeds that uniform share of the total."""
    rows, width = weights.shape
    if width % BLOCK:
        weights = functional.pad(weights, (0, BLOCK - width % BLOCK))
    blocks = weights.view(rows, -1, BLOCK)
    block, shares = _locate(blocks.sum(dim=-1).double(), uniforms)
    place, _ = _locate(blocks[torch.arange(rows, device=block.device), block].double(), shares)
    return (block * BLOCK + place).clamp(max=width - 1)


def _locate(weights: torch.Tensor, shares: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where `shares` of the totals of `weights` lie, float64 [R, K] and [R]: which entry, and at
    which share of it, from 0 to below 1."""
    cumulative = weights.cumsum(dim=-1)
    total = cumulative[:, -1:]
    # Below the total even after rounding, so that no entry of weight 0 is ever hit.
    targets = torch.minimum(shares[:, None] * total, torch.nextafter(total, total.new_zeros(())))
    # NaN lies nowhere; whoever drew it sees that in the logprob.
    index = torch.searchsorted(cumulative, targets, right=True).clamp(max=weights.shape[1] - 1)
    hit = weights.gather(1, index)
    rest = (targets - cumulative.gather(1, index) + hit) / hit
    return index.squeeze(1), rest.clamp(min=0.0, max=1.0).squeeze(1)
