"""The quick way to write lines gives the bytes of the plain one."""

import tracemalloc

import pytest

from app.db import Database
from app.preferences.formats import PairSchema, export_rows, jsonl_bytes
from app.preferences.formats.lines import LINES, pair_line_bytes
from app.preferences.queries import iter_pairs
from tests.preferences.conftest import load_rankings, ranking

CHAT = [
    {"role": "system", "content": "Be “kind”."},
    {"role": "user", "content": "Two\nlines \\ and \t\u2028 tabs"},
    {"role": "assistant", "content": "<b>&amp;</b>"},
    {"role": "user", "content": "Über 😀?"},
]


@pytest.mark.parametrize("schema", LINES)
def test_lines_are_those_of_the_rows(
    database: Database, project_id: str, schema: PairSchema
) -> None:
    texts = ['say "no"', "back\\slash\r\n", "\x01 control \x7f", "日本語 \u2029"]
    load_rankings(
        database,
        project_id,
        [
            ranking(prompt=CHAT, texts=texts, ranks=[2, 1, 4, 3], labeler='An "O\'Neill"'),
            ranking(prompt=CHAT, texts=texts, ranks=[1, 1, 2, None], labeler="bob", simulated=True),
            ranking(texts=["same", "same", "other"], ranks=[1, 2, 3]),
            {
                "prompt": "No model?",
                "completions": [{"text": "x"}, {"text": "y", "model": "m"}],
                "ranks": [1, 2],
            },
        ],
    )
    with database.read() as session:
        quick = b"".join(pair_line_bytes(iter_pairs(session, project_id), schema))
        one_by_one = (pair for pair in iter_pairs(session, project_id))
        assert b"".join(pair_line_bytes(one_by_one, schema)) == quick
        rows = export_rows(iter_pairs(session, project_id), schema)
        assert quick == b"".join(jsonl_bytes(rows))
    assert quick.count(b"\n") == 6 + 2 + 2 + 1


def test_long_texts_do_not_pile_up(sqlite_database: Database, sqlite_project_id: str) -> None:
    """Sixty rankings of half a megabyte each: held a few at a time, on the way in and out."""
    long = "long " * 50_000
    lines = (
        ranking(prompt=f"{n}?", texts=[f"{long}{n}", f"{n}{long}"], ranks=[1, 2]) for n in range(60)
    )
    load_rankings(sqlite_database, sqlite_project_id, lines)
    with sqlite_database.read() as session:
        tracemalloc.start()
        pairs = iter_pairs(session, sqlite_project_id)
        size = sum(map(len, pair_line_bytes(pairs, PairSchema.PLAIN)))
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert size > 30_000_000
    assert highest < 25_000_000
