"""Models small enough to train in seconds: a byte vocabulary, random weights, real folders."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from app.training.rollouts import Prompt

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message.content }}{% endfor %}"
    "{% if add_generation_prompt %}>{% endif %}"
)


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """256 bytes, then end-of-text and padding."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: index for index, character in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>", padding_side="left"
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def make_policy(folder: Path, seed: int = 0) -> Path:
    """A 90k-parameter Llama over bytes, with its tokenizer, as a model folder."""
    tokenizer = byte_tokenizer()
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=128,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_gpt2(folder: Path) -> Path:
    """A tiny policy that learns a state for each position, and so sees a position that is wrong.

    The rotary positions of `make_policy` only tell distances: padding could shift them all.
    """
    tokenizer = byte_tokenizer()
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=32,
        n_layer=2,
        n_head=2,
        n_positions=128,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.2,
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_backbone(folder: Path, seed: int = 0, **config: Any) -> Path:
    """A tiny BERT over bytes, with [CLS] and [SEP], as a model folder; one output, if not more."""
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = None
    tokenizer.add_special_tokens({"cls_token": "[CLS]", "sep_token": "[SEP]"})
    torch.manual_seed(seed)
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=128,
            pad_token_id=tokenizer.pad_token_id,
            **{"num_labels": 1, **config},
        )
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_causal_backbone(
    folder: Path, seed: int = 0, architecture: type[PreTrainedModel] = LlamaForCausalLM
) -> Path:
    """A tiny Llama whose padding token is its end-of-text token, as SmolLM2's is."""
    tokenizer = byte_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
        num_labels=1,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    architecture(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_causal_reward_model(folder: Path) -> Path:
    """`make_causal_backbone` with a head that nothing has trained."""
    return make_causal_backbone(folder, architecture=LlamaForSequenceClassification)


def make_prompts(count: int) -> list[Prompt]:
    """Prompts of different lengths."""
    return [
        Prompt(id=f"p{n}", messages=[{"role": "user", "content": f"say {n}" + "!" * (n % 3)}])
        for n in range(count)
    ]


def lowercase_share(prompts: Sequence[Prompt], completions: Sequence[str]) -> list[float]:
    """From -1 to 1: the share of lowercase letters in each completion."""
    shares = [
        sum("a" <= character <= "z" for character in text) / max(1, len(text))
        for text in completions
    ]
    return [2 * share - 1 for share in shares]
