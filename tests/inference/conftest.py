"""Tiny real models, saved as folders the way a user would register them."""

import json
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from app.inference.catalogue import ModelFiles
from app.inference.starters import ensure_starter
from tests.inference.asking import Shelf

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
CONTEXT = 128


def _byte_alphabet() -> list[str]:
    """GPT-2's printable stand-ins for the 256 bytes, in byte order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def save_byte_tokenizer(folder: Path) -> None:
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    tokens = [*SPECIAL, *_byte_alphabet()]
    added = {
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }
    tokenizer = {
        "version": "1.0",
        "added_tokens": [
            {"id": index, "content": token, **added} for index, token in enumerate(SPECIAL)
        ],
        "normalizer": None,
        "pre_tokenizer": {**byte_level, "use_regex": False},
        "post_processor": None,
        "decoder": {**byte_level, "use_regex": False},
        "model": {
            "type": "BPE",
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": [],
        },
    }
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<|pad|>",
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def _save_wordpiece_tokenizer(folder: Path) -> int:
    letters = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]
    vocabulary += [f"##{letter}" for letter in letters]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "model_max_length": 64})
    )
    return len(vocabulary)


def _bert_config(vocabulary: int, labels: int) -> BertConfig:
    return BertConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        num_labels=labels,
        pad_token_id=0,
    )


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def policy_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama over bytes, with a chat template and a context of 128 tokens."""
    folder = tmp_path_factory.mktemp("tiny-policy")
    save_byte_tokenizer(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(SPECIAL) + 256,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        initializer_range=0.3,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def reward_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT with one output."""
    folder = tmp_path_factory.mktemp("tiny-reward-model")
    torch.manual_seed(1)
    BertForSequenceClassification(
        _bert_config(_save_wordpiece_tokenizer(folder), labels=1)
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def two_class_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT classifier with two outputs."""
    folder = tmp_path_factory.mktemp("tiny-two-class")
    torch.manual_seed(2)
    BertForSequenceClassification(
        _bert_config(_save_wordpiece_tokenizer(folder), labels=2)
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def encoder_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT encoder."""
    folder = tmp_path_factory.mktemp("tiny-encoder")
    torch.manual_seed(3)
    BertModel(_bert_config(_save_wordpiece_tokenizer(folder), labels=1)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def policy(policy_dir: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(policy_dir).eval()


@pytest.fixture(scope="session")
def policy_tokenizer(policy_dir: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(policy_dir)


@pytest.fixture(scope="session")
def starters_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the real starter models are made, once a session."""
    return tmp_path_factory.mktemp("starters")


@pytest.fixture(scope="session")
def smollm2_dir(starters_dir: Path) -> Path:
    return ensure_starter("smollm2-135m-instruct", starters_dir)


@pytest.fixture(scope="session")
def minilm_dir(starters_dir: Path) -> Path:
    return ensure_starter("minilm-l6", starters_dir)


@pytest.fixture(scope="module")
def shelf(
    policy_dir: Path, reward_model_dir: Path, two_class_dir: Path, encoder_dir: Path
) -> Shelf:
    return Shelf(
        ModelFiles(id="policy", kind="policy", source=str(policy_dir)),
        ModelFiles(id="rewards", kind="reward_model", source=str(reward_model_dir)),
        ModelFiles(id="classes", kind="reward_model", source=str(two_class_dir), positive_class=0),
        ModelFiles(id="owner/encoder", kind="encoder", source=str(encoder_dir)),
        ModelFiles(id="gone", kind="policy", source="/no/such/folder"),
    )
