"""Text embeddings of a BERT-like encoder."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from app.inference.formatting import EncodedPair, length_batches, pad_pairs
from app.inference.results import Embeddings as Embeddings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# all-MiniLM-L6-v2 was trained on texts of at most 256 tokens.
MAX_LENGTH = 256
MAX_TOKENS_PER_BATCH = 8192


def embed(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    texts: Sequence[str],
    max_length: int = MAX_LENGTH,
) -> Embeddings:
    """The mean of each text's last hidden states over its tokens, scaled to length 1.

    Longer texts are cut at `max_length` tokens.
    """
    encoded = [
        EncodedPair(list(ids), None, len(ids))
        for ids in tokenizer(list(texts), truncation=True, max_length=max_length)["input_ids"]
    ]
    device = next(model.parameters()).device
    vectors = torch.zeros((len(encoded), model.config.hidden_size))
    for batch in length_batches([len(text) for text in encoded], MAX_TOKENS_PER_BATCH):
        inputs = pad_pairs([encoded[index] for index in batch], tokenizer.pad_token_id or 0, device)
        with torch.inference_mode():
            states = model(**inputs).last_hidden_state.float()
        weights = inputs["attention_mask"][:, :, None].float()
        means = (states * weights).sum(dim=1) / weights.sum(dim=1)
        vectors[batch] = torch.nn.functional.normalize(means, dim=-1).cpu()
    return Embeddings(vectors, [len(text) for text in encoded])
