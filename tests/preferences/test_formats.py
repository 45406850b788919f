import io
import json
from datetime import UTC, datetime
from typing import Any

import pyarrow
import pyarrow.parquet as parquet
import pytest
import zstandard
from sqlalchemy import select

from app.db import Database
from app.models import Ranking
from app.preferences.formats import (
    PairFormat,
    PairSchema,
    RankingFormat,
    RankingSchema,
    export_pairs,
    export_rankings,
)
from app.preferences.formats.arrow_columns import arrow_column
from app.preferences.formats.jsonl import jsonl_bytes
from app.preferences.formats.lines import LINES, pair_line_bytes
from app.preferences.formats.schemas import export_rows
from app.preferences.queries import iter_pairs, iter_rankings
from tests.preferences.conftest import load_rankings, ranking

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]


def pair_rows(database: Database, project_id: str, schema: PairSchema) -> list[dict[str, Any]]:
    with database.read() as session:
        return list(export_rows(iter_pairs(session, project_id), schema))


def ranking_file(
    database: Database, project_id: str, schema: RankingSchema, layout: RankingFormat
) -> bytes:
    with database.read() as session:
        rankings = iter_rankings(session, project_id)
        return b"".join(export_rankings(rankings, schema, layout, {"unsafe": "Unsafe"}))


def test_unpaired_has_each_completion_of_a_ranking_once(
    database: Database, project_id: str
) -> None:
    """a > b > c > d: a won 3 of 3, b 2 of 3, c 1 of 3, d none; of x > y > z, y says nothing."""
    load_rankings(
        database,
        project_id,
        [
            ranking(texts="abcd", ranks=[1, 2, 3, 4], labeler="ann"),
            ranking(texts="abcd", ranks=[4, 3, 2, 1], labeler="bob"),
            ranking(prompt="Three?", texts="xyz", ranks=[1, 2, 3]),
        ],
    )
    rows = pair_rows(database, project_id, PairSchema.TRL_UNPAIRED)
    assert {(row["completion"], row["label"]) for row in rows[:4]} == {
        ("a", True),
        ("b", True),
        ("c", False),
        ("d", False),
    }
    assert {row["completion"]: row["label"] for row in rows[4:8]} == {
        "d": True,
        "c": True,
        "b": False,
        "a": False,
    }
    assert [(row["completion"], row["label"]) for row in rows[8:]] == [("x", True), ("z", False)]


def test_side_of_the_preferred_one_is_as_it_was_shown(database: Database, project_id: str) -> None:
    load_rankings(
        database,
        project_id,
        [ranking(prompt=f"p{number}", texts=["good", "bad"], ranks=[1, 2]) for number in range(40)],
    )
    with database.write() as session:
        first = session.scalars(select(Ranking).order_by(Ranking.id).limit(1)).one()
        pair = next(iter_pairs(session, project_id))
        first.shown_order = [pair.rejected.id, pair.chosen.id]
    argilla = pair_rows(database, project_id, PairSchema.ARGILLA)
    assert argilla[0]["fields"]["response1"] == "bad"
    label_studio = pair_rows(database, project_id, PairSchema.LABEL_STUDIO)
    left = 0
    for record, task in zip(argilla, label_studio, strict=True):
        best = record["responses"]["ranking"][0]["value"][0]
        assert record["fields"][best] == "good"
        selected = task["annotations"][0]["result"][0]["value"]["selected"]
        assert task["data"]["answer1" if selected == "left" else "answer2"] == "good"
        assert (selected == "left") == (best == "response1")
        left += selected == "left"
    # Imports do not say what was shown: by chance then. 2 · P(X ≤ 5), X ~ B(39, ½), is under 1e-5.
    assert 5 < left < 35


def test_compressed_lines_are_the_lines(database: Database, project_id: str) -> None:
    load_rankings(
        database,
        project_id,
        [ranking(prompt=f"p{number}", texts=["é" * 500, "b", "c"]) for number in range(300)],
    )
    files: dict[PairFormat, bytes] = {}
    for layout in (PairFormat.JSONL, PairFormat.JSONL_ZST, PairFormat.JSONL_ZST):
        with database.read() as session:
            pairs = iter_pairs(session, project_id)
            content = b"".join(export_pairs(pairs, PairSchema.PLAIN, layout))
        assert files.setdefault(layout, content) == content
    compressed = files[PairFormat.JSONL_ZST]
    assert len(compressed) < len(files[PairFormat.JSONL]) / 3
    opened = zstandard.ZstdDecompressor().decompressobj().decompress(compressed)
    assert opened == files[PairFormat.JSONL]


def test_lines_written_from_pieces_are_those_of_the_rows(
    database: Database, project_id: str
) -> None:
    load_rankings(
        database,
        project_id,
        [
            ranking(texts=['"ü"\n\\', "\u2028", " "], labeler='q"'),
            ranking(prompt=CHAT, texts=["p", "q", "r", "p"], ranks=[1, 2, None, 3]),
        ],
    )
    for schema in LINES:
        with database.read() as session:
            quick = b"".join(pair_line_bytes(iter_pairs(session, project_id), schema))
            slow = b"".join(jsonl_bytes(export_rows(iter_pairs(session, project_id), schema)))
        assert quick == slow


def test_no_pairs_give_a_readable_file_of_every_format(database: Database, project_id: str) -> None:
    for schema in PairSchema:
        for layout in PairFormat:
            content = b"".join(export_pairs(iter(()), schema, layout))
            if layout == PairFormat.JSON:
                assert json.loads(content) == []
            elif layout == PairFormat.PARQUET:
                assert parquet.read_table(io.BytesIO(content)).num_rows == 0
            elif layout == PairFormat.CSV:
                assert content.count(b"\r\n") == 1
            elif layout == PairFormat.JSONL_ZST:
                assert zstandard.ZstdDecompressor().decompressobj().decompress(content) == b""
            else:
                assert content == b""


def test_rankings_say_the_same_in_every_format(database: Database, project_id: str) -> None:
    load_rankings(
        database,
        project_id,
        [
            ranking(flags=[["unsafe"], [], []], metadata={"a": {"b": [1, None]}}, tags=["x"]),
            ranking(prompt=CHAT, texts=["p", "q"], ranks=[1, None], ratings=[7, None]),
        ],
    )
    plain = RankingSchema.PLAIN
    lines = ranking_file(database, project_id, plain, RankingFormat.JSONL)
    zst = ranking_file(database, project_id, plain, RankingFormat.JSONL_ZST)
    assert zstandard.ZstdDecompressor().decompressobj().decompress(zst) == lines
    expected = [json.loads(line) for line in lines.splitlines()]
    content = ranking_file(database, project_id, plain, RankingFormat.PARQUET)
    rows = parquet.read_table(io.BytesIO(content)).to_pylist()
    for row, same in zip(rows, expected, strict=True):
        assert row.pop("prompt_is_chat") == isinstance(same["prompt"], list)
        assert row.pop("created_at") == datetime.fromisoformat(same.pop("created_at"))
        prompt = same.pop("prompt")
        messages = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
        assert row.pop("prompt") == messages
        for name in ("metadata", "origin", "flag_labels"):
            row[name] = None if row[name] is None else json.loads(row[name])
        assert row == same


def test_nectar_has_answers_with_ranks_and_no_unranked_ones(
    database: Database, project_id: str
) -> None:
    load_rankings(
        database,
        project_id,
        [
            ranking(prompt=CHAT, texts=["p", "q", "r", "s"], ranks=[2, 1, 1, None]),
            ranking(prompt="One?", texts=["p", "q"], ranks=[1, None]),
        ],
    )
    content = ranking_file(database, project_id, RankingSchema.NECTAR, RankingFormat.JSONL)
    rows = [json.loads(line) for line in content.splitlines()]
    assert rows == [
        {
            "prompt": "Be brief.\n\nHuman: Hi\n\nAssistant: ",
            "answers": [
                {"answer": "q", "model": "m1", "rank": 1},
                {"answer": "r", "model": "m0", "rank": 1},
                {"answer": "p", "model": "m0", "rank": 2},
            ],
            "turns": 1,
            "num_responses": 3,
            "source": ["import"],
        }
    ]
    table = ranking_file(database, project_id, RankingSchema.NECTAR, RankingFormat.PARQUET)
    assert parquet.read_table(io.BytesIO(table)).to_pylist() == rows


MOMENT = datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["a", None, "", "ünï\x00"], pyarrow.string()),
        ([1, None, -(2**31)], pyarrow.int32()),
        ([None, 2**62], pyarrow.int64()),
        ([0.1, None], pyarrow.float64()),
        ([True, False, None] * 7, pyarrow.bool_()),
        ([MOMENT, None, datetime.max.replace(tzinfo=UTC)], pyarrow.timestamp("us", tz="UTC")),
        ([["a"], None, [], [None, "b"]], pyarrow.list_(pyarrow.string())),
        ([[["a"], []], []], pyarrow.list_(pyarrow.list_(pyarrow.string()))),
        (
            [{"x": 1, "y": ["a"]}, None, {"y": None}],
            pyarrow.struct([("x", pyarrow.int32()), ("y", pyarrow.list_(pyarrow.string()))]),
        ),
        ([], pyarrow.list_(pyarrow.struct([("x", pyarrow.string())]))),
    ],
)
def test_columns_are_those_of_pyarrow(values: list[Any], kind: pyarrow.DataType) -> None:
    column = arrow_column(values, kind)
    column.validate(full=True)
    assert column.to_pylist() == pyarrow.array(values, type=kind).to_pylist()
