import csv
import io
import json
import os
import subprocess
import sys
import tracemalloc
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest
import zstandard
from sqlalchemy import select

from app.db import Database
from app.models import Completion, Ranking, Task, User, utc_now
from app.preferences.filters import PairFilters
from app.preferences.formats import COLUMNS, PairFormat, PairSchema, export_pairs
from app.preferences.pair_counts import count_pairs
from app.preferences.queries import iter_pairs, iter_rankings
from tests.conftest import SHARED
from tests.preferences.conftest import load_rankings, make_project, ranking

CHECK_EXPORT = SHARED / "clients" / "check_export.py"
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": 'Say "hi",\nplease'},
    {"role": "assistant", "content": "hi"},
    {"role": "user", "content": "Again, <b>louder</b> – ünïcode"},
]


def export(
    database: Database, project_id: str, schema: str, layout: str, filters: Any = None
) -> bytes:
    with database.read() as session:
        pairs = iter_pairs(session, project_id, filters)
        return b"".join(export_pairs(pairs, PairSchema(schema), PairFormat(layout)))


def read_rows(content: bytes, layout: str) -> list[dict[str, Any]]:
    if layout == "jsonl.zst":
        content, layout = zstandard.ZstdDecompressor().decompressobj().decompress(content), "jsonl"
    if layout == "jsonl":
        return [json.loads(line) for line in content.decode().splitlines()]
    rows: list[dict[str, Any]]
    if layout == "json":
        rows = json.loads(content)
        return rows
    if layout == "csv":
        return list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    rows = parquet.read_table(io.BytesIO(content)).to_pylist()
    return rows


def spelled(value: Any) -> str:
    """A value as CSV has it: the formats must say the same."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, dict)):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return "" if value is None else str(value)


def fill(database: Database, project_id: str) -> None:
    load_rankings(
        database,
        project_id,
        [
            ranking(labeler="ann"),
            ranking(labeler="bob", ranks=[1, 1, None]),
            ranking(prompt=CHAT, texts=['ünï\r\n"q"', "=1+1", "x"], ranks=[1, 2, 3]),
            ranking(texts=["same", "same"], ranks=[1, 2], prompt="Twice?"),
            ranking(texts=["s", "t"], ranks=[1, 2], prompt="Bot?", labeler="b", simulated=True),
        ],
    )


def test_every_schema_has_its_columns_in_every_format(database: Database, project_id: str) -> None:
    fill(database, project_id)
    for schema in PairSchema:
        jsonl = read_rows(export(database, project_id, schema, "jsonl"), "jsonl")
        assert len(jsonl) == (6 if schema == PairSchema.TRL_UNPAIRED else 7)
        for layout in PairFormat:
            rows = read_rows(export(database, project_id, schema, layout), layout)
            assert [tuple(row) for row in rows] == [COLUMNS[schema]] * len(jsonl)
            for row, same in zip(rows, jsonl, strict=True):
                for column in COLUMNS[schema]:
                    assert spelled(row[column]) == spelled(same[column]), (schema, layout)
    trl = read_rows(export(database, project_id, "trl", "jsonl"), "jsonl")
    assert trl[:3] == [
        {"prompt": "Why?", "chosen": "b", "rejected": "a"},
        {"prompt": "Why?", "chosen": "b", "rejected": "c"},
        {"prompt": "Why?", "chosen": "a", "rejected": "c"},
    ]
    assert trl[3]["prompt"] == (
        'system: Be brief.\n\nuser: Say "hi",\nplease\n\nassistant: hi\n\n'
        "user: Again, <b>louder</b> – ünïcode"
    )
    conversational = read_rows(export(database, project_id, "trl-conversational", "csv"), "csv")
    assert json.loads(conversational[3]["prompt"]) == CHAT
    hh = read_rows(export(database, project_id, "hh", "parquet"), "parquet")
    assert hh[0] == {
        "chosen": "\n\nHuman: Why?\n\nAssistant: b",
        "rejected": "\n\nHuman: Why?\n\nAssistant: a",
    }
    assert hh[3]["chosen"].startswith('Be brief.\n\nHuman: Say "hi",\nplease\n\nAssistant: hi\n\n')


def test_plain_tells_where_a_pair_comes_from(database: Database, project_id: str) -> None:
    fill(database, project_id)
    rows = read_rows(export(database, project_id, "plain", "jsonl"), "jsonl")
    first, last = rows[0], rows[-1]
    assert (first["chosen_rank"], first["rejected_rank"], first["labeler"]) == (1, 2, "ann")
    assert (first["chosen_model"], first["rejected_model"]) == ("m1", "m0")
    assert first["weight"] == pytest.approx(1 / 3)
    assert first["prompt_messages"] == [{"role": "user", "content": "Why?"}]
    assert first["created_at"].endswith("Z")
    assert (first["simulated"], last["simulated"], last["labeler"]) == (False, True, "b")
    with database.read() as session:
        stored = {item.id: item for item in iter_rankings(session, project_id)}
    told = stored[first["ranking_id"]]
    assert first["task_id"] == told.task_id
    assert first["chosen_id"] == told.completions[1].id


@pytest.mark.slow
def test_outside_researcher_can_read_every_export(
    sqlite_database: Database, sqlite_project_id: str, tmp_path: Path
) -> None:
    if not CHECK_EXPORT.exists():
        pytest.skip(f"{CHECK_EXPORT} is not on this machine")
    fill(sqlite_database, sqlite_project_id)
    with sqlite_database.write() as session:
        for completion in session.scalars(select(Completion).where(Completion.text == "x")):
            completion.text = " \n"  # a model said nothing
    commands = []
    preferences = [PairSchema.PLAIN, PairSchema.TRL, PairSchema.TRL_CONVERSATIONAL, PairSchema.HH]
    for schema in preferences:
        for layout in (PairFormat.JSONL, PairFormat.JSON, PairFormat.CSV, PairFormat.PARQUET):
            path = tmp_path / f"{schema}.{layout}"
            path.write_bytes(export(sqlite_database, sqlite_project_id, schema, layout))
            train = (schema, layout) == (PairSchema.TRL, PairFormat.PARQUET)
            commands.append([str(CHECK_EXPORT), str(path), *(["--train"] if train else [])])
    # One process for all, or loading its libraries anew would take most of the time.
    program = "import json, runpy, sys\n" + (
        "for sys.argv in json.loads(sys.argv[1]):\n"
        "    print('FILE', sys.argv[1])\n"
        "    runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, json.dumps(commands)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    outputs = result.stdout.split("FILE ")[1:]
    assert len(outputs) == 16
    for output in outputs:
        assert output.rstrip().endswith("OK"), output
        assert f"rows {7 if 'plain' in output else 5}" in output
        expected = "trl-conversational" in output and ".csv" not in output.splitlines()[0]
        assert f"conversational {expected}" in output


def test_filters_choose_whole_rankings(database: Database, project_id: str) -> None:
    fill(database, project_id)
    moment = utc_now()
    with database.write() as session:
        session.add(User(id="u", email="x@x", handle="rule", role="labeler", simulation_rule="r"))
        session.flush()
        bob = session.scalars(select(Ranking).where(Ranking.labeler == "bob")).one()
        bob.user_id = "u"
    load_rankings(
        database, project_id, [ranking(labeler="ann", ranks=[1, 2, 3], external_id="again")]
    )

    def pairs(**filters: Any) -> int:
        with database.read() as session:
            chosen = PairFilters(**filters)
            counted = count_pairs(session, project_id, chosen)
            assert counted.pairs == len(list(iter_pairs(session, project_id, chosen)))
            return counted.pairs

    assert pairs() == 10
    assert pairs(labeler="ann") == 6
    assert pairs(repeats=False) == 7
    assert pairs(simulated=True) == 1
    assert pairs(simulated=False) == 9
    assert pairs(model="m0") == 10
    assert pairs(model="m7") == 0
    assert pairs(purpose="gold") == 0
    assert pairs(purpose="ordinary") == 10
    with database.write() as session:
        task = session.scalars(select(Task).join(Ranking).where(Ranking.labeler == "bob")).one()
        task.purpose = "gold"
        round_id = task.round_id
    assert pairs(purpose="gold") == pairs(purpose="gold", round_id=round_id) == 6
    assert pairs(purpose="ordinary") == 4
    assert pairs(purpose="gold", labeler="bob") == 0
    assert pairs(created_before=moment) == 7
    assert pairs(created_after=moment) == 3
    with database.read() as session:
        round_ids = {item.round_number for item in iter_rankings(session, project_id)}
        assert round_ids == {1}
        counted = count_pairs(session, project_id)
        assert (counted.rankings, counted.simulated_rankings, counted.identical) == (6, 2, 1)


def test_revoked_and_superseded_rankings_give_no_pair(database: Database, project_id: str) -> None:
    fill(database, project_id)
    with database.write() as session:
        ann, anonymous = (
            session.scalars(select(Ranking).where(Ranking.labeler == name).limit(1)).one()
            for name in ("ann", "b")
        )
        ann.revoked_at = utc_now()
        anonymous.current = False
    with database.read() as session:
        assert count_pairs(session, project_id).pairs == 3
        assert len(list(iter_pairs(session, project_id))) == 3


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_pairs(sqlite_database: Database) -> None:
    def peak(rankings: int, layout: PairFormat) -> int:
        project_id = make_project(sqlite_database, f"{rankings}{layout}")
        text = "words " * 40
        lines = (
            ranking(prompt=f"p{n}", texts=[f"{text}{i}" for i in range(4)], ranks=[1, 2, 3, 4])
            for n in range(rankings)
        )
        assert load_rankings(sqlite_database, project_id, lines).created == rankings
        total = 0
        with sqlite_database.read() as session:
            tracemalloc.start()
            pairs = iter_pairs(session, project_id)
            for chunk in export_pairs(pairs, PairSchema.PLAIN, layout):
                total += len(chunk)
            highest = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert total
        return highest

    for layout in (PairFormat.JSONL, PairFormat.CSV):
        assert peak(3000, layout) < peak(1000, layout) * 1.3 + 500_000


def test_unknown_filter_is_named() -> None:
    filters = PairFilters(simulated=False, created_after=utc_now(), labeler="ann")
    assert PairFilters.from_json(json.loads(json.dumps(filters.as_json()))) == filters
    with pytest.raises(Exception, match="no filter colour"):
        PairFilters.from_json({"colour": "red"})
