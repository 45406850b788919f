"""How prompts and completions become token ids, the same for training and for serving.

A reward model only means something on the text layout it was trained on, so its training and every
later scoring go through `encode_pair`. Nothing here depends on a model, only on its tokenizer.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = Mapping[str, str]
Prompt = str | Sequence[Message]


@dataclass(frozen=True)
class EncodedPair:
    """Token ids of one prompt with one completion; the completion begins at `completion_start`."""

    input_ids: list[int]
    token_type_ids: list[int] | None
    completion_start: int

    def __len__(self) -> int:
        return len(self.input_ids)


def as_messages(prompt: Prompt) -> list[dict[str, str]]:
    """The prompt as chat messages; plain text is one user message."""
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    return [{"role": message["role"], "content": message["content"]} for message in prompt]


def prompt_text(prompt: Prompt) -> str:
    """The prompt as plain text, for tokenizers without a chat template.

    A lone user message is its own text. A conversation names each speaker, a turn a paragraph.
    """
    messages = as_messages(prompt)
    if len(messages) == 1 and messages[0]["role"] == "user":
        return messages[0]["content"]
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in messages)


def encode_prompt(tokenizer: "PreTrainedTokenizerBase", prompt: Prompt) -> list[int]:
    """Token ids of the prompt up to where the completion begins.

    With a chat template that is the rendered conversation with the assistant's turn opened;
    without one it is the plain text, begun as the tokenizer begins every text.
    """
    if tokenizer.chat_template:
        rendered = tokenizer.apply_chat_template(
            as_messages(prompt), tokenize=False, add_generation_prompt=True
        )
        return list(tokenizer.encode(rendered, add_special_tokens=False))
    return [*_beginning(tokenizer), *_plain_ids(tokenizer, prompt)]


def encode_pair(
    tokenizer: "PreTrainedTokenizerBase", prompt: Prompt, completion: str, max_length: int
) -> EncodedPair:
    """Token ids of a prompt and one completion, at most `max_length` of them.

    - Tokenizers with `[CLS]` and `[SEP]` (BERT): `[CLS] prompt [SEP] completion [SEP]`, the prompt
      as segment 0 and the completion as segment 1.
    - Tokenizers with a chat template: the conversation, the assistant's turn opened, the
      completion, the end-of-turn token.
    - Others: the beginning-of-text token where the tokenizer adds one, the prompt's text, the
      completion, the end-of-text token.

    What does not fit is cut from the left of the prompt; only when the prompt is gone is the end of
    the completion cut. Raises ValueError when `max_length` leaves no room for text.
    """
    (pair,) = encode_completions(tokenizer, prompt, [completion], max_length)
    return pair


def encode_completions(
    tokenizer: "PreTrainedTokenizerBase",
    prompt: Prompt,
    completions: Sequence[str],
    max_length: int,
) -> list[EncodedPair]:
    """`encode_pair` of every completion, the prompt tokenized once."""
    segments = tokenizer.cls_token_id is not None and tokenizer.sep_token_id is not None
    if segments:
        prompt_ids = _plain_ids(tokenizer, prompt)
        opening, between = [tokenizer.cls_token_id], [tokenizer.sep_token_id]
        end = between
    else:
        opening, between = [] if tokenizer.chat_template else _beginning(tokenizer), []
        prompt_ids = encode_prompt(tokenizer, prompt)[len(opening) :]
        end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    room = max_length - len(opening) - len(between) - len(end)
    pairs = []
    for completion in completions:
        completion_ids = list(tokenizer.encode(completion, add_special_tokens=False))
        kept, completion_ids = _fit(prompt_ids, completion_ids, room)
        first, second = [*opening, *kept, *between], [*completion_ids, *end]
        if not first and not second:
            # Nothing was said, and the tokenizer marks no end: one token of padding stands for it.
            second = [tokenizer.pad_token_id or 0]
        types = [0] * len(first) + [1] * len(second) if segments else None
        pairs.append(EncodedPair(first + second, types, len(first)))
    return pairs


def _plain_ids(tokenizer: "PreTrainedTokenizerBase", prompt: Prompt) -> list[int]:
    return list(tokenizer.encode(prompt_text(prompt), add_special_tokens=False))


def _beginning(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """The token that the tokenizer puts before every text, if it does."""
    begin = tokenizer.bos_token_id
    return [begin] if begin is not None and tokenizer.encode("")[:1] == [begin] else []


def _fit(prompt: list[int], completion: list[int], room: int) -> tuple[list[int], list[int]]:
    if room < 1:
        raise ValueError("max_length leaves no room for any text")
    completion = completion[:room]
    left = room - len(completion)
    return prompt[max(0, len(prompt) - left) :] if left else [], completion


def pad_pairs(
    pairs: Sequence[EncodedPair], pad_token_id: int, device: torch.device | str = "cpu"
) -> dict[str, torch.Tensor]:
    """The model's inputs for a batch of pairs, padded on the right.

    `input_ids`, `attention_mask` (1 means the token counts) and, for BERT, `token_type_ids`, each
    int64 [B, T] with T the longest pair.
    """
    width = max(len(pair) for pair in pairs)
    input_ids = torch.full((len(pairs), width), pad_token_id, dtype=torch.long)
    attention_mask = torch.zeros((len(pairs), width), dtype=torch.long)
    token_type_ids = torch.zeros((len(pairs), width), dtype=torch.long)
    for row, pair in enumerate(pairs):
        input_ids[row, : len(pair)] = torch.tensor(pair.input_ids)
        attention_mask[row, : len(pair)] = 1
        if pair.token_type_ids is not None:
            token_type_ids[row, : len(pair)] = torch.tensor(pair.token_type_ids)
    batch = {"input_ids": input_ids.to(device), "attention_mask": attention_mask.to(device)}
    if pairs[0].token_type_ids is not None:
        batch["token_type_ids"] = token_type_ids.to(device)
    return batch


def length_batches(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Indices in batches of like length, longest first, each at most `max_tokens` when padded.

    A text longer than `max_tokens` makes a batch of its own.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    batch: list[int] = []
    for index in order:
        if batch and lengths[batch[0]] * (len(batch) + 1) > max_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
