"""A bad ranking is a clear line of the report; the others are kept, with flat memory."""

import gzip
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard

from app.db import Database
from app.preferences.imports import import_rankings
from app.preferences.queries import iter_rankings
from app.projects.reading import ImportFormat
from tests.preferences.conftest import load_rankings, make_project, ranking

MEGABYTE = 1_000_000


def broken(**change: Any) -> dict[str, Any]:
    return ranking(labeler="zoe") | change


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (broken(ranks=["1", "2", "3"]), "ranks[0] is '1'; accepted: a whole number from 1"),
        (broken(ranks="1 > 2 > 3"), "ranks must be a list of 3"),
        (broken(ranks=[1, 2, 3.5]), "ranks[2] is 3.5"),
        (broken(ranks=[1, 2, "x" * MEGABYTE]), "ranks[2] is 'xxx"),
        (broken(labeler=""), "labeler is empty"),
        (broken(labeler="a\x00b"), "labeler holds a NUL character"),
        (broken(labeler=["ann"]), "labeler must be text"),
        (broken(prompt="a\x00b"), "prompt holds a NUL character"),
        (broken(completions=[{"text": "a"}, {"text": "\x00"}, {"text": "c"}]), "NUL"),
        (broken(metadata={"a": ["\x00"]}), "metadata holds a NUL character"),
        (broken(origin={"\x00": 1}), "origin holds a NUL character"),
        (broken(tags=["a", "\x00"]), "NUL character"),
        (broken(guidelines_version=2**40), "guidelines_version is 1099511627776"),
        (broken(active_ms=-1), "active_ms"),
        (broken(created_at="yesterday"), "created_at is 'yesterday'"),
        (broken(metadata={"a": [[[]]] * 3, "b": orjson.loads(b"[" * 90 + b"]" * 90)}), "64 deep"),
        (orjson.dumps(broken())[:-20], "broken JSON"),
        (orjson.dumps(broken(prompt="cafe")).replace(b"cafe", b"caf\xe9"), "not UTF-8: byte 0xe9"),
        (orjson.dumps(broken()).replace(b"Why", b"W\x00y"), "a NUL byte at position"),
    ],
)
def test_a_bad_ranking_is_named_and_the_others_are_stored(
    database: Database, project_id: str, line: Any, reason: str
) -> None:
    report = load_rankings(
        database, project_id, [ranking(labeler="ann"), line, ranking(labeler="bob")]
    )
    assert (report.created, report.duplicates, report.rejected_total) == (2, 0, 1)
    assert report.rejected[0].line == 2
    assert reason in report.rejected[0].reason
    assert len(report.rejected[0].reason) < 600
    with database.read() as session:
        assert [item.labeler for item in iter_rankings(session, project_id)] == ["ann", "bob"]


def test_a_labeler_whom_nobody_knows_is_kept_under_that_name(
    database: Database, project_id: str
) -> None:
    name = "Ørsted, J. <0x1f>"
    assert load_rankings(database, project_id, [ranking(labeler=name)]).created == 1
    with database.read() as session:
        (kept,) = iter_rankings(session, project_id)
    assert (kept.labeler, kept.source) == (name, "import")


def test_texts_of_five_megabytes_import(database: Database, project_id: str) -> None:
    long, longer = "a " * (MEGABYTE * 5 // 2), "b " * (MEGABYTE * 6)
    lines = [
        ranking(texts=[long, "b"], ranks=[1, 2], labeler="ann"),
        ranking(texts=[longer, "b"], ranks=[1, 2], labeler="ann"),
        ranking(texts=[long, "b"], ranks=[2, 1], labeler="bob"),
    ]
    for created, duplicates in ((2, 0), (0, 2)):
        report = load_rankings(database, project_id, lines)
        assert (report.created, report.duplicates) == (created, duplicates)
        assert [item.line for item in report.rejected] == [2]
        assert "longer than 10,000,000 bytes" in report.rejected[0].reason
    with database.read() as session:
        tasks = {item.task_id for item in iter_rankings(session, project_id)}
        assert len(tasks) == 1


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress])
def test_a_compressed_file_that_was_cut_gives_what_is_before_the_cut_and_the_rest_later(
    sqlite_database: Database, sqlite_project_id: str, pack: Any
) -> None:
    lines = [orjson.dumps(ranking(prompt=f"Question {n * 7919}?")) for n in range(4000)]
    packed = pack(b"\n".join(lines))
    cut = import_rankings(
        sqlite_database, sqlite_project_id, [packed[: len(packed) // 2]], ImportFormat.JSONL
    )
    assert 0 < cut.created < 4000
    assert cut.rejected_total == 1
    assert cut.rejected[0].line == cut.created + 1
    assert "ends too early" in cut.rejected[0].reason
    whole = import_rankings(sqlite_database, sqlite_project_id, [packed], ImportFormat.JSONL)
    assert (whole.duplicates, whole.rejected) == (cut.created, [])
    assert whole.created == 4000 - cut.created


MEASURE = """
import resource, sys
from app.db import Database
from app.preferences.imports import import_rankings
from app.projects.reading import ImportFormat

url, project_id, *paths = sys.argv[1:]
database = Database(url)
for path in paths:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with open(path, "rb") as source:
        report = import_rankings(database, project_id, source, ImportFormat.JSONL)
growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(report.created, report.rejected_total, growth)
"""


@pytest.mark.slow
def test_memory_stays_flat_whatever_the_size_of_the_import(
    sqlite_database: Database, tmp_path: Path
) -> None:
    """A few batches first, then 40 MB, bad lines among them: less than 25 MB more."""
    project_id = make_project(sqlite_database)
    paths = [tmp_path / "some.jsonl", tmp_path / "many.jsonl"]
    texts = ["word " * 100, "other words " * 50, "and more " * 60]
    for path, numbers in zip(paths, (range(3000), range(3000, 20_000)), strict=True):
        with path.open("wb") as target:
            for number in numbers:
                bad = number % 25 == 0
                row = ranking(f"Question {number}?", texts, ["best", 2, 3] if bad else [1, 2, 3])
                target.write(orjson.dumps(row) + b"\n")
    measured = subprocess.run(
        [sys.executable, "-c", MEASURE, sqlite_database.url, project_id, *map(str, paths)],
        check=True,
        capture_output=True,
        text=True,
    )
    created, rejected, growth = map(int, measured.stdout.split())
    assert (created, rejected) == (16_320, 680)
    assert growth < 25_000, f"{growth} kB"
