from pathlib import Path

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from app.inference.formatting import (
    EncodedPair,
    encode_pair,
    encode_prompt,
    length_batches,
    pad_pairs,
    prompt_text,
)


@pytest.fixture(scope="module")
def bert_tokenizer(reward_model_dir: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(reward_model_dir)


def test_bert_pair_is_what_its_own_tokenizer_makes_of_two_texts(
    bert_tokenizer: PreTrainedTokenizerBase,
) -> None:
    theirs = bert_tokenizer("why is it", "so it is")
    ours = encode_pair(bert_tokenizer, "why is it", "so it is", 64)
    assert ours.input_ids == theirs["input_ids"]
    assert ours.token_type_ids == theirs["token_type_ids"]
    assert ours.token_type_ids.index(1) == ours.completion_start


def test_prompt_is_cut_from_the_left_and_the_completion_kept(
    bert_tokenizer: PreTrainedTokenizerBase,
) -> None:
    pair = encode_pair(bert_tokenizer, "a b c d e f", "x y z", 8)
    tokens = bert_tokenizer.convert_ids_to_tokens(pair.input_ids)
    assert tokens == ["[CLS]", "e", "f", "[SEP]", "x", "y", "z", "[SEP]"]


def test_completion_is_cut_at_its_end_only_when_the_prompt_is_gone(
    bert_tokenizer: PreTrainedTokenizerBase,
) -> None:
    pair = encode_pair(bert_tokenizer, "a b c", "w x y z", 6)
    tokens = bert_tokenizer.convert_ids_to_tokens(pair.input_ids)
    assert tokens == ["[CLS]", "[SEP]", "w", "x", "y", "[SEP]"]


def test_chat_pair_is_the_rendered_conversation_with_its_end_of_turn(
    policy_tokenizer: PreTrainedTokenizerBase,
) -> None:
    messages = [{"role": "user", "content": "hi"}]
    pair = encode_pair(policy_tokenizer, messages, "hello", 100)
    assert policy_tokenizer.decode(pair.input_ids) == (
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nhello<|im_end|>"
    )
    assert pair.input_ids[: pair.completion_start] == encode_prompt(policy_tokenizer, messages)
    assert pair.token_type_ids is None


def test_conversation_names_its_speakers_as_plain_text() -> None:
    messages = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "three"},
    ]
    assert prompt_text(messages) == "user: one\n\nassistant: two\n\nuser: three"
    assert prompt_text(messages[:1]) == prompt_text("one") == "one"


@pytest.fixture
def beginning_tokenizer(policy_dir: Path) -> PreTrainedTokenizerBase:
    """Without a chat template, and beginning every text with a token, as Llama's and Gemma's do."""
    tokenizer = AutoTokenizer.from_pretrained(policy_dir)
    tokenizer.chat_template = None
    begin = tokenizer.bos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, tokenizer.bos_token_id)]
    )
    return tokenizer


def test_plain_text_begins_as_its_tokenizer_begins_every_text(
    beginning_tokenizer: PreTrainedTokenizerBase,
) -> None:
    tokenizer = beginning_tokenizer
    assert encode_prompt(tokenizer, "hi") == tokenizer.encode("hi")
    assert tokenizer.decode(encode_prompt(tokenizer, "hi")) == "<|im_start|>hi"
    assert tokenizer.decode(encode_pair(tokenizer, "hi", "yes", 99).input_ids) == (
        "<|im_start|>hiyes<|im_end|>"
    )
    cut = encode_pair(tokenizer, "hello", "yes", 7)
    assert tokenizer.decode(cut.input_ids) == "<|im_start|>loyes<|im_end|>"
    assert cut.completion_start == 3


def test_no_room_for_text_is_refused(bert_tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(ValueError, match="no room"):
        encode_pair(bert_tokenizer, "a", "b", 3)


def test_pairs_are_padded_on_the_right() -> None:
    pairs = [EncodedPair([5, 6, 7], [0, 0, 1], 2), EncodedPair([8], [1], 0)]
    batch = pad_pairs(pairs, pad_token_id=9)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 9, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["token_type_ids"].tolist() == [[0, 0, 1], [1, 0, 0]]
    assert batch["input_ids"].dtype == torch.long


def test_batches_hold_every_text_once_and_keep_to_the_limit() -> None:
    lengths = [3, 50, 7, 7, 120, 1, 30]
    batches = list(length_batches(lengths, max_tokens=60))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= 60
    assert batches[0] == [4]
