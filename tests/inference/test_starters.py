import dataclasses
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import gguf
import numpy as np
import pytest

from app.inference import starters
from app.inference.gguf_conversion import convert_llama_gguf, read_weight, transformers_name
from app.inference.starters import STARTERS, StarterError, ensure_starter


def fake_starter(monkeypatch: pytest.MonkeyPatch, folder: Path, **changes: object) -> list[str]:
    """A starter whose package is a folder on the path, and a list of its conversions."""
    package = folder / "fake_starter_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    (package / "weights").write_bytes(b"abc")
    monkeypatch.syspath_prepend(str(folder))
    converted = []

    def convert(source: Path, target: Path) -> None:
        converted.append(source.name)
        time.sleep(0.2)
        (target / "model").write_bytes((source / "weights").read_bytes())

    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    starter = dataclasses.replace(
        STARTERS["minilm-l6"],
        name="fake",
        package="fake_starter_package",
        folder=".",
        sha256={"weights": digest},
        convert=convert,
    )
    monkeypatch.setattr(starters, "STARTERS", {"fake": dataclasses.replace(starter, **changes)})
    return converted


def test_starter_is_made_once_by_many_at_the_same_time_without_importing_its_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    converted = fake_starter(monkeypatch, tmp_path)
    models_dir = tmp_path / "models"
    threads = [threading.Thread(target=ensure_starter, args=("fake", models_dir)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert converted == ["fake_starter_package"]
    assert (models_dir / "fake" / "model").read_bytes() == b"abc"
    assert [path.name for path in models_dir.iterdir() if path.is_dir()] == ["fake"]


def test_missing_package_names_the_way_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_starter(monkeypatch, tmp_path, package="no_such_package_at_all")
    with pytest.raises(StarterError, match="make setup"):
        ensure_starter("fake", tmp_path / "models")


def test_changed_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    converted = fake_starter(monkeypatch, tmp_path)
    (tmp_path / "fake_starter_package" / "weights").write_bytes(b"abd")
    with pytest.raises(StarterError, match="sha256"):
        ensure_starter("fake", tmp_path / "models")
    assert converted == []


def test_failed_conversion_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(source: Path, target: Path) -> None:
        (target / "half").write_bytes(b"x")
        raise OSError("disk full")

    fake_starter(monkeypatch, tmp_path, convert=fail)
    with pytest.raises(OSError, match="disk full"):
        ensure_starter("fake", tmp_path / "models")
    assert [path for path in (tmp_path / "models").iterdir() if path.is_dir()] == []


def test_unknown_starter_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(StarterError, match="smollm2-135m-instruct, minilm-l6"):
        ensure_starter("gpt", tmp_path)


def test_starters_can_be_listed_without_torch() -> None:
    code = "import sys, app.inference.starters; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def write_gguf(path: Path, architecture: str = "llama") -> dict[str, np.ndarray]:
    """A tiny GGUF Llama: 4 heads, 2 key-value heads, head size 8, one layer."""
    rng = np.random.default_rng(0)
    weights = {
        name: rng.standard_normal(shape).astype(np.float32)
        for name, shape in {
            "token_embd.weight": (6, 32),
            "output_norm.weight": (32,),
            "blk.0.attn_q.weight": (32, 32),
            "blk.0.attn_k.weight": (16, 32),
            "blk.0.ffn_down.weight": (32, 64),
        }.items()
    }
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(8)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(6)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(["<|im_start|>", "<|im_end|>", "a", "b", "1", "ab"])
    writer.add_token_types([3, 3, 1, 1, 1, 1])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(1)
    writer.add_unk_token_id(0)
    writer.add_chat_template("{{ messages[0]['content'] }}")
    for name, weight in weights.items():
        if name.endswith("ffn_down.weight"):
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quantize(weight, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return weights


def test_converted_weights_are_the_dequantized_ones_with_q_and_k_in_rotary_halves(
    tmp_path: Path,
) -> None:
    from safetensors.numpy import load_file

    weights = write_gguf(tmp_path / "tiny.gguf")
    target = tmp_path / "out"
    target.mkdir()
    convert_llama_gguf(tmp_path / "tiny.gguf", target)
    found = load_file(target / "model.safetensors")
    np.testing.assert_array_equal(found["model.embed_tokens.weight"], weights["token_embd.weight"])
    # Row 2i of a GGUF head is dimension i of its first half, row 2i + 1 of its second half.
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    for name, gguf_name, heads in (("q", "attn_q", 4), ("k", "attn_k", 2)):
        rows = [head * 8 + row for head in range(heads) for row in order]
        np.testing.assert_array_equal(
            found[f"model.layers.0.self_attn.{name}_proj.weight"],
            weights[f"blk.0.{gguf_name}.weight"][rows],
        )
    kind = gguf.GGMLQuantizationType.Q8_0
    np.testing.assert_array_equal(
        found["model.layers.0.mlp.down_proj.weight"],
        gguf.dequantize(gguf.quantize(weights["blk.0.ffn_down.weight"], kind), kind),
    )


def test_converted_tokenizer_splits_digits_and_knows_its_special_tokens(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    write_gguf(tmp_path / "tiny.gguf")
    target = tmp_path / "out"
    target.mkdir()
    convert_llama_gguf(tmp_path / "tiny.gguf", target)
    tokenizer = AutoTokenizer.from_pretrained(target)
    assert tokenizer.encode("<|im_start|>abb11<|im_end|>") == [0, 5, 3, 4, 4, 1]
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 1)
    assert tokenizer.padding_side == "left"
    assert tokenizer.chat_template == "{{ messages[0]['content'] }}"
    assert json.loads((target / "config.json").read_text())["tie_word_embeddings"] is True


def test_other_architectures_are_refused(tmp_path: Path) -> None:
    write_gguf(tmp_path / "other.gguf", architecture="llama2x")
    with pytest.raises(ValueError, match="want a llama"):
        convert_llama_gguf(tmp_path / "other.gguf", tmp_path)


@pytest.mark.model
def test_real_starter_holds_the_weights_of_its_gguf(smollm2_dir: Path) -> None:
    from safetensors import safe_open

    (path,) = starters.find_starter_files(STARTERS["smollm2-135m-instruct"]).glob("*.gguf")
    reader = gguf.GGUFReader(str(path))
    fields = {name: field.contents() for name, field in reader.fields.items()}
    with safe_open(smollm2_dir / "model.safetensors", "np") as file:
        assert len(file.keys()) == len(reader.tensors)
        for tensor in reader.tensors[1:12]:
            found = file.get_tensor(transformers_name(tensor.name))
            np.testing.assert_array_equal(found, read_weight(tensor, fields))


@pytest.mark.model
def test_real_encoder_tells_related_texts_from_unrelated_ones(minilm_dir: Path) -> None:
    from app.inference.embedding import embed
    from app.inference.loading import load_model

    encoder = load_model(minilm_dir, "encoder")
    texts = ["A cat sits on the mat", "The feline is on the rug", "Stock markets fell today"]
    vectors = embed(encoder.model, encoder.tokenizer, texts).vectors
    similar = vectors @ vectors.T
    assert similar[0, 1] > 0.45 > 0.2 > similar[0, 2]
