import json
import os
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaModel

from app.inference.catalogue import ModelFiles, ModelKind
from app.inference.loading import ModelCache, ModelUnavailable, load_model
from app.inference.threads import KERNEL_CACHE, choose_threads
from tests.inference.conftest import save_byte_tokenizer


def test_policy_loads_in_float32_padding_on_the_left(policy_dir: Path) -> None:
    loaded = load_model(policy_dir, "policy")
    assert next(loaded.model.parameters()).dtype == torch.float32
    assert not loaded.model.training
    assert loaded.tokenizer.padding_side == "left"
    assert loaded.tokenizer.pad_token_id == 0
    assert loaded.context_length == 128


def test_tokenizer_without_padding_pads_with_its_end_token(
    policy_dir: Path, tmp_path: Path
) -> None:
    for path in policy_dir.iterdir():
        text = path.read_bytes()
        if path.name == "tokenizer_config.json":
            text = text.replace(b'"pad_token": "<|pad|>", ', b"")
        (tmp_path / path.name).write_bytes(text)
    loaded = load_model(tmp_path, "policy")
    assert loaded.tokenizer.pad_token_id == loaded.tokenizer.eos_token_id == 2
    assert loaded.model.config.pad_token_id == 2


def test_two_class_model_gets_a_positive_class(two_class_dir: Path, reward_model_dir: Path) -> None:
    assert load_model(two_class_dir, "reward_model").positive_class == 1
    assert load_model(two_class_dir, "reward_model", positive_class=0).positive_class == 0
    assert load_model(reward_model_dir, "reward_model").positive_class is None
    with pytest.raises(ModelUnavailable, match="0 or 1"):
        load_model(two_class_dir, "reward_model", positive_class=2)


@pytest.mark.parametrize(
    ("source", "way_out"),
    [
        ("some-owner/some-model", "some-owner/some-model cannot be fetched: no access to the hub"),
        ("/no/such/folder", "/no/such/folder is not a folder"),
        ("not an id!", "not an id! is neither a local folder nor a hub id"),
    ],
)
def test_model_that_cannot_be_had_gives_one_line_with_the_way_out(
    source: str, way_out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelUnavailable, match="register") as raised:
        load_model(source, "policy")
    assert str(raised.value).startswith(way_out)
    assert "\n" not in str(raised.value)


def test_folder_that_is_no_model_says_so_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{broken")
    with pytest.raises(ModelUnavailable) as raised:
        load_model(tmp_path, "policy")
    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_cut_weights_say_so_in_one_line(policy_dir: Path, tmp_path: Path) -> None:
    for path in policy_dir.iterdir():
        content = path.read_bytes()
        (tmp_path / path.name).write_bytes(
            content[: len(content) // 2] if path.suffix == ".safetensors" else content
        )
    with pytest.raises(ModelUnavailable, match="cannot be loaded as a policy"):
        load_model(tmp_path, "policy")


def test_cache_keeps_the_models_used_last(
    policy_dir: Path, reward_model_dir: Path, encoder_dir: Path
) -> None:
    cache = ModelCache(limit=2)
    policy = ModelFiles(id="p", kind="policy", source=str(policy_dir))
    reward_model = ModelFiles(id="r", kind="reward_model", source=str(reward_model_dir))
    encoder = ModelFiles(id="e", kind="encoder", source=str(encoder_dir))
    first = cache.get(policy)
    cache.get(reward_model)
    assert cache.get(policy) is first
    cache.get(encoder)
    assert cache.ids() == ["p", "e"]
    assert cache.get(policy) is first


def test_missing_starter_is_unavailable(tmp_path: Path) -> None:
    files = ModelFiles(id="x", kind="policy", source=str(tmp_path / "gone"), starter=True)
    with pytest.raises(ModelUnavailable, match="no starter model 'gone'"):
        ModelCache().get(files)


@pytest.mark.parametrize(
    ("asked", "environment", "expected"),
    [
        (3, {}, {"OMP_NUM_THREADS": "3", "OMP_WAIT_POLICY": "PASSIVE"}),
        (
            None,
            {"OMP_NUM_THREADS": "5", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "7"},
            {
                "OMP_NUM_THREADS": "5",
                "OMP_WAIT_POLICY": "PASSIVE",
                "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "7",
            },
        ),
        (
            None,
            {"OMP_WAIT_POLICY": "ACTIVE"},
            {
                "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // 2)),
                "OMP_WAIT_POLICY": "ACTIVE",
            },
        ),
    ],
)
def test_threads_are_set_for_openmp_and_torch(
    asked: int | None, environment: dict[str, str], expected: dict[str, str]
) -> None:
    before = torch.get_num_threads()
    try:
        chosen = choose_threads(asked, environment)
        assert environment == {**KERNEL_CACHE, **expected}
        assert str(chosen) == expected["OMP_NUM_THREADS"]
        assert torch.get_num_threads() == chosen
    finally:
        torch.set_num_threads(before)


def test_reward_model_reads_no_further_than_its_training_did(
    reward_model_dir: Path, tmp_path: Path
) -> None:
    for path in reward_model_dir.iterdir():
        content = path.read_bytes()
        if path.name == "config.json":
            content = json.dumps(json.loads(content) | {"podium_max_length": 24}).encode()
        (tmp_path / path.name).write_bytes(content)
    assert load_model(reward_model_dir, "reward_model").context_length > 24
    assert load_model(tmp_path, "reward_model").context_length == 24


@pytest.mark.parametrize(
    ("kind", "missing"), [("reward_model", "score.weight"), ("policy", "lm_head.weight")]
)
def test_a_model_whose_head_is_in_no_file_is_refused(
    kind: ModelKind, missing: str, tmp_path: Path
) -> None:
    # It would answer all the same, with a head drawn at random.
    config = LlamaConfig(
        vocab_size=259,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_labels=1,
    )
    LlamaModel(config).save_pretrained(tmp_path)
    save_byte_tokenizer(tmp_path)
    with pytest.raises(ModelUnavailable, match=f"its files hold no {missing}"):
        load_model(tmp_path, kind)
