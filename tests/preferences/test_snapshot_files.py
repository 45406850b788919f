import hashlib
import json
import zipfile
from pathlib import Path

import pytest
import zstandard
from sqlalchemy import select

from app.db import Database
from app.errors import Invalid
from app.models import Guidelines, Project, Ranking, Snapshot
from app.preferences.card import dataset_card
from app.preferences.formats import PairFormat, PairSchema, RankingFormat, RankingSchema
from app.preferences.queries import iter_frozen_rankings
from app.preferences.snapshot_files import keep_card, keep_dataset, keep_pairs, keep_rankings
from app.preferences.snapshots import create_snapshot, get_snapshot
from app.preferences.splits import SplitPlan
from tests.preferences.conftest import load_rankings, ranking

PLAN = SplitPlan(shares={"train": 0.75, "test": 0.25})


def freeze(
    database: Database, project_id: str, *, plan: SplitPlan | None = PLAN, licence: str = ""
) -> Snapshot:
    lines = [
        ranking(prompt=f"p{number}", labeler=labeler, ranks=ranks, simulated=labeler == "bot")
        for number in range(12)
        for labeler, ranks in (("ann", [1, 2, 3]), ("bot", [1, 3, 2]))
    ]
    load_rankings(database, project_id, lines)
    with database.write() as session:
        return create_snapshot(session, None, project_id, name="S", plan=plan, licence=licence)


def test_file_is_written_once_and_its_etag_tells_its_bytes(
    database: Database, project_id: str, tmp_path: Path
) -> None:
    snapshot = freeze(database, project_id)
    etags = set()
    for schema in PairSchema:
        for layout in PairFormat:
            kept = keep_pairs(database, snapshot, schema, layout, tmp_path)
            content = kept.path.read_bytes()
            assert kept.etag == f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            written = kept.path.stat().st_mtime_ns
            assert keep_pairs(database, snapshot, schema, layout, tmp_path) == kept
            assert kept.path.stat().st_mtime_ns == written
            etags.add(kept.etag)
    assert len(etags) == len(PairSchema) * len(PairFormat)
    assert list(tmp_path.glob("*.partial")) == []
    assert len(list(tmp_path.glob(f"{snapshot.id}-*"))) == len(etags)


def test_plain_lines_are_what_the_snapshot_hashed(
    database: Database, project_id: str, tmp_path: Path
) -> None:
    snapshot = freeze(database, project_id)
    kept = keep_pairs(database, snapshot, PairSchema.PLAIN, PairFormat.JSONL, tmp_path)
    assert hashlib.sha256(kept.path.read_bytes()).hexdigest() == snapshot.sha256


def test_parts_together_are_the_whole(database: Database, project_id: str, tmp_path: Path) -> None:
    snapshot = freeze(database, project_id)
    lines: dict[str | None, list[bytes]] = {}
    rankings: dict[str | None, list[str]] = {}
    for split in (None, "train", "test"):
        pairs = keep_pairs(
            database, snapshot, PairSchema.PLAIN, PairFormat.JSONL, tmp_path, split=split
        )
        lines[split] = pairs.path.read_bytes().splitlines()
        kept = keep_rankings(
            database, snapshot, RankingSchema.PLAIN, RankingFormat.JSONL, tmp_path, split=split
        )
        rankings[split] = [
            json.loads(line)["ranking_id"] for line in kept.path.read_bytes().splitlines()
        ]
    assert sorted(lines["train"] + lines["test"]) == sorted(lines[None])
    assert sorted(rankings["train"] + rankings["test"]) == sorted(rankings[None])
    assert (len(lines["train"]), len(lines["test"])) == (54, 18)
    with pytest.raises(Invalid, match="no part “dev”"):
        keep_pairs(database, snapshot, PairSchema.PLAIN, PairFormat.JSONL, tmp_path, split="dev")
    whole = freeze(database, project_id, plan=None)
    with pytest.raises(Invalid) as refused:
        keep_rankings(
            database, whole, RankingSchema.NECTAR, RankingFormat.JSONL, tmp_path, split="train"
        )
    assert refused.value.code == "no_splits"


def test_what_was_erased_is_in_no_file_handed_out_afterwards(
    database: Database, project_id: str, tmp_path: Path
) -> None:
    snapshot = freeze(database, project_id)
    before = keep_pairs(database, snapshot, PairSchema.TRL, PairFormat.JSONL, tmp_path)
    with database.write() as session:
        stored = get_snapshot(session, snapshot.id)
        stored.erased_rankings = 1
        session.flush()
        snapshot = stored
    after = keep_pairs(database, snapshot, PairSchema.TRL, PairFormat.JSONL, tmp_path)
    assert after.path != before.path
    with database.read() as session:
        assert "1 of the rankings had to be erased" in dataset_card(session, snapshot)


def test_rankings_changed_since_have_another_etag_when_they_are_written_again(
    database: Database, project_id: str, tmp_path: Path
) -> None:
    snapshot = freeze(database, project_id)
    arguments = (database, snapshot, RankingSchema.PLAIN, RankingFormat.JSONL_ZST, tmp_path)
    before = keep_rankings(*arguments)
    with database.write() as session:
        session.scalars(select(Ranking).limit(1)).one().comment = "moved"
    assert keep_rankings(*arguments) == before
    before.path.unlink()
    after = keep_rankings(*arguments)
    assert after.etag != before.etag
    lines = zstandard.ZstdDecompressor().decompressobj().decompress(after.path.read_bytes())
    assert lines.count(b"moved") == 1
    with database.read() as session:
        assert lines.count(b"\n") == len(list(iter_frozen_rankings(session, snapshot)))


def test_dataset_is_the_card_and_a_file_for_each_part(
    database: Database, project_id: str, tmp_path: Path
) -> None:
    snapshot = freeze(database, project_id)
    kept = keep_dataset(database, snapshot, PairSchema.TRL, tmp_path)
    card = keep_card(database, snapshot, PairSchema.TRL, tmp_path)
    with zipfile.ZipFile(kept.path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [
            "README.md",
            "data/test-00000-of-00001.parquet",
            "data/train-00000-of-00001.parquet",
        ]
        assert archive.read("README.md") == card.path.read_bytes()
    kept.path.unlink()
    assert keep_dataset(database, snapshot, PairSchema.TRL, tmp_path) == kept
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []
    whole = freeze(database, project_id, plan=None)
    with zipfile.ZipFile(keep_dataset(database, whole, PairSchema.HH, tmp_path).path) as archive:
        assert archive.namelist() == ["README.md", "data/train-00000-of-00001.parquet"]


def test_card_says_what_is_in_it_how_far_labelers_agree_and_what_they_were_told(
    database: Database, project_id: str
) -> None:
    with database.write() as session:
        session.get_one(Project, project_id).name = 'Poems "and"\nprose'
        session.add(Guidelines(project_id=project_id, version=1, text="Be kind.\n\n# Not a title"))
    snapshot = freeze(database, project_id, licence="CC-BY-4.0")
    with database.read() as session:
        card = dataset_card(session, snapshot, PairSchema.TRL_UNPAIRED)
    front, body = card.removeprefix("---\n").split("\n---\n")
    assert "license: cc-by-4.0" in front.splitlines()
    assert "- n<1K" in front.splitlines()
    for said in (
        "| Pairs | 72 |",
        "| Rankings | 24 |",
        "**12 of 24 rankings (50%) are by simulated labelers**",
        # ann and bot differ on one of three pairs of completions, on every one of 12 tasks.
        "| Pairwise agreement | 0.667 | 0.667 to 0.667 | 36 |",
        "| train | 75.0% | 9 | 18 | 54 |",
        "| `label` |",
        "24 rankings were made under it.",
        "> Be kind.\n>\n> # Not a title",
        snapshot.sha256,
        '“Poems "and" prose”',
        'load_dataset("path/to/folder", split="train")',
    ):
        assert said in body, said


def test_licence_no_hub_knows_is_given_by_its_name(database: Database, project_id: str) -> None:
    snapshot = freeze(database, project_id, plan=None, licence='For "us" only: ask')
    with database.read() as session:
        card = dataset_card(session, snapshot)
        snapshot.licence = ""
        unknown = dataset_card(session, snapshot)
    assert 'license: other\nlicense_name: "For \\"us\\" only: ask"\n' in card
    assert "license: unknown\n" in unknown
    assert "No two labelers" not in card
