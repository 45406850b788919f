"""Scoring completions with a reward model, which also speaks as a classifier.

Class positive is "preferred", class negative is "not preferred". A one-output model gives the
reward r itself, and its logits are (negative 0, positive r), so that the positive probability is
sigmoid(r); training centres rewards on 0, which reads as even odds. A two-class model gives its own
logits, and its reward is their difference, positive minus negative, the same log-odds.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

import torch

from app.inference.catalogue import ModelUnavailable
from app.inference.classifying import classifier_logits
from app.inference.formatting import Prompt, encode_completions
from app.inference.results import ClassValues
from app.inference.results import Score as Score
from app.inference.shared_prompts import shares_prompts

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MAX_TOKENS_PER_BATCH = 8192


def score(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompt: Prompt,
    completions: Sequence[str],
    max_length: int = 512,
    positive_class: int | None = None,
) -> list[Score]:
    """The scores of one prompt's completions, in their order."""
    pairs = [(prompt, completion) for completion in completions]
    return score_pairs(model, tokenizer, pairs, max_length, positive_class)


def score_pairs(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    pairs: Iterable[tuple[Prompt, str]],
    max_length: int = 512,
    positive_class: int | None = None,
) -> list[Score]:
    """The score of each prompt with its completion, in their order.

    Texts are encoded by `encode_pair` with `max_length` tokens, batched with others of like length;
    a causal model computes the prompt once for all its completions, wherever they are in `pairs`.
    `positive_class` is the preferred class of a two-class model, None for a one-output one.

    Raises:
        ModelUnavailable: a reward is not finite, so that nothing can be ordered by it.
    """
    encoded = [
        pair
        for prompt, group in groupby(pairs, key=itemgetter(0))
        for pair in encode_completions(tokenizer, prompt, [text for _, text in group], max_length)
    ]
    if not encoded:
        return []
    with torch.inference_mode():
        outputs = classifier_logits(
            model,
            tokenizer.pad_token_id or 0,
            encoded,
            MAX_TOKENS_PER_BATCH,
            share_prompts=len(encoded) > 1 and shares_prompts(model),
        )
        # Where a reward model's head has no bias, training keeps the centring in the config.
        logits = class_logits(
            outputs + getattr(model.config, "podium_reward_offset", 0.0), positive_class
        )
    if not torch.isfinite(logits).all():
        raise ModelUnavailable(
            "The reward model gave a reward that is not a finite number: its weights are damaged. "
            "Train or choose another one."
        )
    rewards = (logits[:, 1] - logits[:, 0]).tolist()
    probabilities = logits.softmax(dim=-1).tolist()
    return [
        Score(reward, ClassValues(*both), ClassValues(*chances), len(pair))
        for reward, both, chances, pair in zip(
            rewards, logits.tolist(), probabilities, encoded, strict=True
        )
    ]


def class_logits(outputs: torch.Tensor, positive_class: int | None) -> torch.Tensor:
    """Logits of (negative, positive), [B, 2], from a reward model's outputs, [B, 1] or [B, 2].

    Raises ValueError on other shapes and on two outputs without a `positive_class`.
    """
    if outputs.shape[1] == 1:
        return torch.cat([torch.zeros_like(outputs), outputs], dim=1)
    if outputs.shape[1] != 2 or positive_class not in (0, 1):
        raise ValueError(f"no reward in {outputs.shape[1]} outputs, positive is {positive_class}")
    return outputs if positive_class == 1 else outputs.flip(1)
