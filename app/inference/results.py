"""What sampling, scoring and embedding give; free of torch, so that the server can pass it on."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class SampledCompletion:
    """One completion: its tokens (a closing stop token included), text without it, and logprobs."""

    token_ids: list[int]
    text: str
    finish_reason: Literal["stop", "length"]
    logprobs: list[float]


@dataclass(frozen=True)
class ClassValues:
    """One number for each of the two classes."""

    negative: float
    positive: float


@dataclass(frozen=True)
class Score:
    """What a reward model says of one completion: `probabilities` is softmax of `logits`."""

    reward: float
    logits: ClassValues
    probabilities: ClassValues
    tokens: int


@dataclass(frozen=True)
class Embeddings:
    """`vectors` float32 [B, D] of length 1, and how many tokens each text had."""

    vectors: "torch.Tensor"
    tokens: list[int]
