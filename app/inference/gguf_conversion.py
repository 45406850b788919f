"""From a GGUF file of a Llama to a folder that transformers loads, losing nothing.

Quantized weights are multiplied out to float32, the smallest common type that holds Q4_1 and Q8_0
values exactly. Needs no torch.
"""

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

FloatArray = npt.NDArray[np.float32]

LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
OUTER_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
CONTROL_TOKEN = 3


def convert_llama_gguf(gguf_path: Path, target: Path) -> None:
    """Write config, weights, tokenizer and chat template of a Llama GGUF into `target`.

    The tokenizer must be byte-level BPE with SmolLM's pre-tokenizer. Raises ValueError on another
    architecture or tokenizer.
    """
    reader = gguf.GGUFReader(str(gguf_path))
    fields = {name: field.contents() for name, field in reader.fields.items()}
    found = (fields["general.architecture"], fields["tokenizer.ggml.pre"])
    if found != ("llama", "smollm"):
        raise ValueError(f"{gguf_path.name}: want a llama with smollm's tokenizer, not {found}")
    weights = {
        transformers_name(tensor.name): read_weight(tensor, fields) for tensor in reader.tensors
    }
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    tied = "lm_head.weight" not in weights
    _write_json(target / "config.json", _model_config(fields, tied=tied))
    _write_json(target / "generation_config.json", _generation_config(fields))
    _write_json(target / "tokenizer.json", _tokenizer(fields))
    _write_json(target / "tokenizer_config.json", _tokenizer_config(fields))


def transformers_name(gguf_name: str) -> str:
    """`blk.3.attn_q.weight` as `model.layers.3.self_attn.q_proj.weight`, and so on."""
    stem, suffix = gguf_name.rsplit(".", 1)
    if not stem.startswith("blk."):
        return f"{OUTER_NAMES[stem]}.{suffix}"
    _, layer, part = stem.split(".")
    return f"model.layers.{layer}.{LAYER_NAMES[part]}.{suffix}"


def read_weight(tensor: Any, fields: dict[str, Any]) -> FloatArray:
    """One weight multiplied out to float32, with the rows of q and k in transformers' order."""
    weight: FloatArray = gguf.dequantize(tensor.data, tensor.tensor_type)
    if ".attn_q." in tensor.name:
        weight = _unpermute(weight, fields["llama.attention.head_count"])
    elif ".attn_k." in tensor.name:
        weight = _unpermute(weight, fields["llama.attention.head_count_kv"])
    return np.ascontiguousarray(weight, dtype=np.float32)


def _unpermute(weight: FloatArray, heads: int) -> FloatArray:
    """Undo GGUF's row order of q and k.

    GGUF keeps the two halves of each rotary pair side by side; transformers keeps all first halves
    of a head, then all second halves.
    """
    rows, columns = weight.shape
    pairs = weight.reshape(heads, rows // heads // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)


def _model_config(fields: dict[str, Any], *, tied: bool) -> dict[str, Any]:
    theta = fields["llama.rope.freq_base"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": fields["llama.vocab_size"],
        "hidden_size": fields["llama.embedding_length"],
        "intermediate_size": fields["llama.feed_forward_length"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_attention_heads": fields["llama.attention.head_count"],
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "head_dim": fields["llama.rope.dimension_count"],
        "hidden_act": "silu",
        "max_position_embeddings": fields["llama.context_length"],
        # The file keeps a float32; one more digit than float32 has would be noise.
        "rms_norm_eps": float(f"{fields['llama.attention.layer_norm_rms_epsilon']:.7g}"),
        "rope_theta": theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": theta},
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": tied,
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
        "pad_token_id": fields["tokenizer.ggml.padding_token_id"],
        "dtype": "float32",
    }


def _generation_config(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
        "pad_token_id": fields["tokenizer.ggml.padding_token_id"],
        "do_sample": True,
        "temperature": 0.8,
        "top_p": 0.95,
    }


def _tokenizer(fields: dict[str, Any]) -> dict[str, Any]:
    tokens: list[str] = fields["tokenizer.ggml.tokens"]
    types: list[int] = fields["tokenizer.ggml.token_type"]
    control = [index for index, kind in enumerate(types) if kind == CONTROL_TOKEN]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": index, **_special_token(tokens[index])} for index in control],
        "normalizer": None,
        # SmolLM splits numbers into digits before the byte-level split.
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Digits", "individual_digits": True},
                {**byte_level, "use_regex": True},
            ],
        },
        "post_processor": None,
        "decoder": {**byte_level, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in fields["tokenizer.ggml.merges"]],
        },
    }


def _tokenizer_config(fields: dict[str, Any]) -> dict[str, Any]:
    tokens: list[str] = fields["tokenizer.ggml.tokens"]
    types: list[int] = fields["tokenizer.ggml.token_type"]
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": fields["llama.context_length"],
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
        "bos_token": tokens[fields["tokenizer.ggml.bos_token_id"]],
        "eos_token": tokens[fields["tokenizer.ggml.eos_token_id"]],
        "pad_token": tokens[fields["tokenizer.ggml.padding_token_id"]],
        "unk_token": tokens[fields["tokenizer.ggml.unknown_token_id"]],
        "added_tokens_decoder": {
            str(index): _special_token(tokens[index])
            for index, kind in enumerate(types)
            if kind == CONTROL_TOKEN
        },
        "chat_template": fields["tokenizer.chat_template"],
    }


def _special_token(content: str) -> dict[str, Any]:
    return {
        "content": content,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2), encoding="utf-8")
