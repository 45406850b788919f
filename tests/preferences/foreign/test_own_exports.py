"""What Podium writes, in every schema and file format, it reads again."""

import io
from itertools import product

import pytest

from app.db import Database
from app.preferences.formats import (
    PairFormat,
    PairSchema,
    RankingFormat,
    RankingSchema,
    export_pairs,
    export_rankings,
)
from app.preferences.imports import preview_rankings
from app.preferences.queries import iter_pairs, iter_rankings
from app.projects.reading import ImportFormat
from tests.preferences.conftest import load_rankings, make_project, ranking
from tests.preferences.foreign.reading import said

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello, 1?"},
    {"role": "user", "content": "Why?\n\nReally?"},
]
LINES = [
    ranking(labeler="ann", texts=["one", "two\n\ntwo", '["three"]'], ranks=[2, 1, 3]),
    ranking(prompt=CHAT, labeler="bob", texts=["x", "y", "z"], ranks=[1, 2, 2], simulated=True),
]
LAYOUTS = {
    PairFormat.JSONL: ImportFormat.JSONL,
    PairFormat.JSONL_ZST: ImportFormat.JSONL,
    PairFormat.JSON: ImportFormat.JSON,
    PairFormat.CSV: ImportFormat.CSV,
    PairFormat.PARQUET: ImportFormat.PARQUET,
}
NAMES = {PairSchema.PLAIN: "podium-pairs"}


@pytest.mark.parametrize(
    ("schema", "layout"),
    list(product(PairSchema, PairFormat)),
)
def test_exported_pairs_are_read_as_the_same_pairs(
    sqlite_database: Database, schema: PairSchema, layout: PairFormat
) -> None:
    project_id = make_project(sqlite_database)
    assert load_rankings(sqlite_database, project_id, LINES).created == 2
    with sqlite_database.read() as session:
        pairs = [(p.chosen.text, p.rejected.text) for p in iter_pairs(session, project_id)]
        content = b"".join(export_pairs(iter_pairs(session, project_id), schema, layout))
    found = preview_rankings(io.BytesIO(content), LAYOUTS[layout], limit=100)
    assert (found.format.name, found.rejected) == (NAMES.get(schema, schema.value), [])
    read = [
        tuple(sorted(said(item), key=lambda text: said(item)[text] or 0)) for item in found.rankings
    ]
    if schema == PairSchema.TRL_UNPAIRED:
        # Each completion has one label: who is above and who below in its ranking.
        assert all(set(said(item).values()) == {1, 2} for item in found.rankings)
        assert len(read) == 2
    else:
        assert sorted(read) == sorted(pairs)
    chats = {len(item.messages) for item in found.rankings if "x" in said(item)}
    keeps_turns = schema not in (PairSchema.TRL, PairSchema.ARGILLA, PairSchema.LABEL_STUDIO)
    if keeps_turns and schema != PairSchema.TRL_UNPAIRED:
        assert chats == {4}


@pytest.mark.parametrize(("schema", "layout"), list(product(RankingSchema, RankingFormat)))
def test_exported_rankings_are_read_as_the_same_rankings(
    sqlite_database: Database, schema: RankingSchema, layout: RankingFormat
) -> None:
    project_id = make_project(sqlite_database)
    load_rankings(sqlite_database, project_id, LINES)
    with sqlite_database.read() as session:
        rankings = iter_rankings(session, project_id)
        content = b"".join(export_rankings(rankings, schema, layout))
    is_table = layout == RankingFormat.PARQUET
    found = preview_rankings(
        io.BytesIO(content), ImportFormat.PARQUET if is_table else ImportFormat.JSONL
    )
    assert found.rejected == []
    assert found.format.name == ("podium" if schema == RankingSchema.PLAIN else "nectar")
    assert [said(item) for item in found.rankings] == [
        {"one": 2, "two\n\ntwo": 1, '["three"]': 3},
        {"x": 1, "y": 2, "z": 2},
    ]
    assert [message["content"] for message in found.rankings[1].messages] == [
        message["content"] for message in CHAT
    ]
    if schema == RankingSchema.PLAIN:
        assert [item.labeler for item in found.rankings] == ["ann", "bob"]
        assert found.rankings[1].simulated
