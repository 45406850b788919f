"""The real `datasets` and TRL read what is exported; nothing here is our idea of them."""

import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.db import Database
from app.models import Snapshot
from app.preferences.formats import PairFormat, PairSchema
from app.preferences.snapshot_files import keep_dataset, keep_pairs
from app.preferences.snapshots import create_snapshot
from app.preferences.splits import SplitPlan
from tests.preferences.conftest import load_rankings, ranking

pytestmark = pytest.mark.slow
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
READERS = {
    PairFormat.JSONL: "json",
    PairFormat.JSONL_ZST: "json",
    PairFormat.JSON: "json",
    PairFormat.CSV: "csv",
    PairFormat.PARQUET: "parquet",
}
Load = Callable[..., Any]


@pytest.fixture
def snapshot(sqlite_database: Database, sqlite_project_id: str) -> Snapshot:
    lines = [
        ranking(prompt=f"Why {number}?", texts=['"ü", so', "no\r\n", "maybe"], labeler=labeler)
        for number in range(15)
        for labeler in ("ann", "bob")
    ]
    chat = ranking(prompt=CHAT, texts=["p", "q", "r", "s"], ranks=[1, 2, 3, 4])
    load_rankings(sqlite_database, sqlite_project_id, [*lines, chat])
    plan = SplitPlan(shares={"train": 0.8, "test": 0.2})
    with sqlite_database.write() as session:
        return create_snapshot(session, None, sqlite_project_id, name="S", plan=plan)


@pytest.fixture
def load(
    sqlite_database: Database,
    snapshot: Snapshot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Load:
    """Gives a file of the snapshot's pairs as `datasets` reads it."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")

    def load(schema: PairSchema, layout: PairFormat, split: str | None = None) -> Any:
        from datasets import load_dataset

        kept = keep_pairs(
            sqlite_database, snapshot, schema, layout, tmp_path / "exports", split=split
        )
        return load_dataset(
            READERS[layout],
            data_files=str(kept.path),
            split="train",
            cache_dir=str(tmp_path / "cache"),
        )

    return load


def test_datasets_reads_the_same_rows_in_every_format(load: Load) -> None:
    for schema in (PairSchema.TRL, PairSchema.TRL_UNPAIRED, PairSchema.TRL_CONVERSATIONAL):
        expected = list(load(schema, PairFormat.PARQUET))
        # 30 rankings of three and one of four completions.
        assert len(expected) == (64 if schema == PairSchema.TRL_UNPAIRED else 96)
        for layout in (PairFormat.JSONL, PairFormat.JSONL_ZST, PairFormat.JSON):
            assert list(load(schema, layout)) == expected, (schema, layout)
    assert list(load(PairSchema.TRL, PairFormat.CSV)) == list(
        load(PairSchema.TRL, PairFormat.PARQUET)
    )
    for schema in PairSchema:
        for layout in PairFormat:
            assert len(load(schema, layout)) in (64, 96)


def test_trl_takes_each_of_its_schemas_for_what_it_is(load: Load) -> None:
    from trl.data_utils import is_conversational, maybe_extract_prompt, unpair_preference_dataset

    for schema in (PairSchema.TRL, PairSchema.TRL_CONVERSATIONAL, PairSchema.HH):
        rows = load(schema, PairFormat.JSONL_ZST)
        assert is_conversational(rows[0]) == (schema == PairSchema.TRL_CONVERSATIONAL)
        extracted = rows.map(maybe_extract_prompt)
        assert set(extracted.column_names) == {"prompt", "chosen", "rejected"}
        if schema != PairSchema.HH:
            assert extracted["prompt"][:] == rows["prompt"][:]
        assert len(unpair_preference_dataset(extracted)) == 2 * len(rows)
    unpaired = load(PairSchema.TRL_UNPAIRED, PairFormat.PARQUET)
    assert unpaired.column_names == ["prompt", "completion", "label"]
    # Of "b > a > c" b is good and c is bad; of "p > q > r > s" two are good and two are bad.
    assert sum(unpaired["label"]) == len(unpaired) / 2 == 32
    assert len(set(zip(unpaired["prompt"], unpaired["completion"], strict=True))) == 34


def test_unpacked_dataset_loads_with_its_parts_and_its_card(
    sqlite_database: Database, snapshot: Snapshot, tmp_path: Path
) -> None:
    from datasets import load_dataset
    from huggingface_hub import DatasetCard

    kept = keep_dataset(sqlite_database, snapshot, PairSchema.TRL, tmp_path / "exports")
    folder = tmp_path / "dataset"
    with zipfile.ZipFile(kept.path) as archive:
        archive.extractall(folder)
    parts = load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert list(parts) == ["train", "test"]
    assert len(parts["train"]) + len(parts["test"]) == snapshot.pairs == 96
    assert not set(parts["train"]["prompt"]) & set(parts["test"]["prompt"])
    card = DatasetCard.load(folder / "README.md")
    assert card.data.license == "unknown"
    assert card.data.pretty_name == "S"
    assert [item["split"] for item in card.data.configs[0]["data_files"]] == ["train", "test"]


def test_reward_and_dpo_trainers_learn_from_the_files(load: Load, tmp_path: Path) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification
    from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

    from tests.training.tiny import byte_tokenizer, make_policy

    tokenizer = byte_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        num_labels=1,
    )
    options: dict[str, Any] = {
        "max_steps": 8,
        "per_device_train_batch_size": 8,
        "learning_rate": 1e-2,
        "max_length": 96,
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
    }

    def losses(trainer: Any) -> list[float]:
        trainer.train()
        found = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        assert len(found) == 8
        assert all(map(math.isfinite, found))
        return found

    reward = losses(
        RewardTrainer(
            model=LlamaForSequenceClassification(config),
            args=RewardConfig(output_dir=str(tmp_path / "reward"), **options),
            train_dataset=load(PairSchema.TRL_CONVERSATIONAL, PairFormat.PARQUET, "train"),
            processing_class=tokenizer,
        )
    )
    dpo = losses(
        DPOTrainer(
            model=LlamaForCausalLM.from_pretrained(make_policy(tmp_path / "policy")),
            args=DPOConfig(output_dir=str(tmp_path / "dpo"), **options),
            train_dataset=load(PairSchema.TRL, PairFormat.JSONL_ZST, "train"),
            processing_class=tokenizer,
        )
    )
    # The preferred text is the same everywhere, so a few steps are enough to leave ln 2 behind.
    for found in (reward, dpo):
        assert found[0] > math.log(2) - 0.01
        assert found[-1] < math.log(2) - 0.1
