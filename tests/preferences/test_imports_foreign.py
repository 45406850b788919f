"""Files made elsewhere, whole: detected, stored once, with what they say kept."""

import io
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import orjson
import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from sqlalchemy import func, select

from app.db import Database
from app.errors import Invalid
from app.models import Prompt, Ranking, Task
from app.preferences.foreign import FORMATS
from app.preferences.formats import RankingFormat, RankingSchema, export_rankings
from app.preferences.imports import BATCH_RANKINGS, import_rankings, preview_rankings
from app.preferences.pair_counts import count_pairs
from app.preferences.queries import iter_rankings
from app.projects.reading import ImportFormat, ImportReport
from tests.conftest import SHARED
from tests.preferences.conftest import load_rankings, make_project, ranking
from tests.preferences.foreign.examples import EXAMPLES

OASST = SHARED / "data" / "oasst_rankings.jsonl"
UKP = SHARED / "data" / "ukp_pairs_dev.jsonl"
CSV = {
    "trl": 'prompt,chosen,rejected,topic\nWhy?,"one, or\n""two""",no,sky\n',
    "trl-conversational": (
        'prompt;chosen;rejected\nWhy?;"[{""role"": ""assistant"", ""content"": ""yes""}]";'
        '"[{""role"": ""assistant"", ""content"": ""no""}]"\n'
    ),
    "trl-unpaired": "prompt,completion,label\nWhy?,yes,True\nWhy?,no,False\n",
    "hh": (
        'chosen,rejected\n"\n\nHuman: Why?\n\nAssistant: yes","\n\nHuman: Why?\n\nAssistant: no"\n'
    ),
    "podium": (
        'prompt,completions,ranks\nWhy?,"[{""text"": ""yes""}, {""text"": ""no""}]","[1, 2]"\n'
    ),
    "podium-pairs": (
        "prompt,chosen,rejected,chosen_rank,rejected_rank,simulated,weight,round\n"
        "Why?,yes,no,1,2,true,1.0,3\n"
    ),
    "lmarena": (
        "id,model_a,model_b,prompt,response_a,response_b,winner_model_a,winner_model_b,winner_tie\n"
        '1,m1,m2,"[""Why?""]","[""yes""]","[""no""]",1,0,0\n'
    ),
}


def load(
    database: Database, project_id: str, content: bytes, layout: ImportFormat, **options: Any
) -> ImportReport:
    return import_rankings(database, project_id, [content], layout, **options)


def test_open_assistant_file_imports_as_212_tasks_and_754_pairs(database: Database) -> None:
    if not OASST.exists():
        pytest.skip(f"{OASST} is not on this machine")
    project_id = make_project(database)
    for created, duplicates in ((212, 0), (0, 212)):
        with OASST.open("rb") as source:
            report = import_rankings(database, project_id, source, ImportFormat.JSONL)
        assert (report.format, report.created, report.duplicates) == ("oasst", created, duplicates)
        assert report.rejected == []
    with database.read() as session:
        counted = count_pairs(session, project_id)
        assert (counted.pairs, counted.rankings, counted.prompts) == (754, 212, 212)
        assert session.scalar(select(func.count()).select_from(Task)) == 212
        first = next(iter_rankings(session, project_id))
        line = orjson.loads(OASST.read_bytes().splitlines()[0])
        best = next(item["text"] for item in line["completions"] if item["rank"] == 0)
        assert first.in_order()[0][1].text == best
        assert first.origin is not None
        assert first.origin["tree"] == line["tree"]


def test_ukp_pairs_import_with_their_topics(sqlite_database: Database) -> None:
    if not UKP.exists():
        pytest.skip(f"{UKP} is not on this machine")
    project_id = make_project(sqlite_database)
    with UKP.open("rb") as source:
        report = import_rankings(sqlite_database, project_id, source, ImportFormat.JSONL)
    assert (report.format, report.created, report.rejected) == ("trl", 8194, [])
    with sqlite_database.read() as session:
        prompts = session.scalars(select(Prompt)).all()
        topics = {prompt.messages[0]["content"]: prompt.details["topic"] for prompt in prompts}
        lines = [orjson.loads(line) for line in UKP.read_bytes().splitlines()]
        assert topics == {line["prompt"]: line["topic"] for line in lines}
        ids = set(session.scalars(select(Ranking.external_id)))
        assert ids == {line["id"] for line in lines}


@pytest.mark.parametrize("name", list(CSV))
def test_flat_formats_come_as_csv_too(sqlite_database: Database, name: str) -> None:
    project_id = make_project(sqlite_database)
    report = load(sqlite_database, project_id, CSV[name].encode(), ImportFormat.CSV)
    assert (report.format, report.created, report.rejected) == (name, 1, [])
    with sqlite_database.read() as session:
        (stored,) = iter_rankings(session, project_id)
        better, worse = stored.in_order()
        assert worse[1].text == "no"
        assert better[1].text in ("yes", 'one, or\n"two"')
        assert stored.simulated is (name == "podium-pairs")


def test_csv_texts_that_are_json_stay_texts(sqlite_database: Database) -> None:
    project_id = make_project(sqlite_database)
    content = b'prompt,chosen,rejected\n"[1, 2]","{""a"": 1}","[{""a"": 1}]"\n'
    assert load(sqlite_database, project_id, content, ImportFormat.CSV).created == 1
    with sqlite_database.read() as session:
        (stored,) = iter_rankings(session, project_id)
        assert stored.prompt.messages[0]["content"] == "[1, 2]"
        assert [item.text for item in stored.completions] == ['{"a": 1}', '[{"a": 1}]']


@pytest.mark.parametrize("name", sorted(set(EXAMPLES) - {"trl-unpaired"}))
def test_every_format_comes_as_parquet_too(sqlite_database: Database, name: str) -> None:
    project_id = make_project(sqlite_database)
    row = {key: value for key, value in EXAMPLES[name].items() if value not in ({}, [])}
    sink = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist([row]), sink)
    report = load(sqlite_database, project_id, sink.getvalue(), ImportFormat.PARQUET)
    assert (report.format, report.rejected) == (name, [])
    assert report.created >= 1


def test_a_table_of_other_columns_is_refused_before_any_row(sqlite_database: Database) -> None:
    project_id = make_project(sqlite_database)
    with pytest.raises(Invalid) as caught:
        load(sqlite_database, project_id, b"winner,loser\na,b\n", ImportFormat.CSV)
    assert caught.value.code == "unknown_columns"
    assert "Found: winner, loser." in caught.value.detail
    content = b"prompt,chosen,rejected\na,b,c\n"
    with pytest.raises(Invalid) as caught:
        load(sqlite_database, project_id, content, ImportFormat.CSV, format_name="nectar")
    assert "nectar, which has prompt, answers" in caught.value.detail


def test_a_file_without_rankings_says_what_it_has(sqlite_database: Database) -> None:
    project_id = make_project(sqlite_database)
    with pytest.raises(Invalid) as caught:
        load_rankings(sqlite_database, project_id, [{"text": "a"}, {"text": "b", "id": 1}])
    assert "Found: id, text." in caught.value.detail
    report = load_rankings(sqlite_database, project_id, [b"{", b"[]"])
    assert (report.format, report.created, report.rejected_total) == (None, 0, 2)
    with pytest.raises(Invalid):
        preview_rankings(io.BytesIO(b""), ImportFormat.JSONL)


def test_a_batch_is_told_once_it_is_stored(sqlite_database: Database) -> None:
    project_id = make_project(sqlite_database)
    seen: list[tuple[int, int]] = []

    def note(report: ImportReport) -> None:
        with sqlite_database.read() as session:
            stored = session.scalar(select(func.count()).select_from(Ranking)) or 0
        seen.append((report.created, stored))

    rows = [EXAMPLES["trl"] | {"prompt": f"p{n}"} for n in range(2 * BATCH_RANKINGS + 7)]
    content = b"\n".join(orjson.dumps(row) for row in rows)
    load(sqlite_database, project_id, content, ImportFormat.JSONL, on_batch=note)
    expected = [BATCH_RANKINGS, 2 * BATCH_RANKINGS, 2 * BATCH_RANKINGS + 7]
    assert seen == [(created, created) for created in expected]


def test_a_preview_reads_no_more_than_it_shows(tmp_path: Any) -> None:
    class Counting(io.BytesIO):
        taken = 0

        def read(self, size: int | None = -1) -> bytes:
            chunk = super().read(size)
            Counting.taken += len(chunk)
            return chunk

    line = orjson.dumps(EXAMPLES["trl"] | {"chosen": "x" * 10_000}) + b"\n"
    found = preview_rankings(Counting(line * 1000), ImportFormat.JSONL, limit=3)
    assert (len(found.rankings), found.rows, found.detected) == (3, 3, True)
    assert found.format in FORMATS
    assert Counting.taken < 1_000_000


TEXTS = st.text(
    st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=12
).filter(str.strip)


@st.composite
def exported(draw: st.DrawFn) -> dict[str, Any]:
    """A line as Podium's export writes it."""
    count = draw(st.integers(2, 4))
    ids = [f"c{n}" for n in range(count)]
    ranks = draw(
        st.lists(st.none() | st.integers(1, 3), min_size=count, max_size=count).filter(
            lambda given: any(rank is not None for rank in given)
        )
    )
    chat = [{"role": "system", "content": "s"}, {"role": "user", "content": draw(TEXTS)}]
    completions = [
        {
            "id": name,
            "text": draw(TEXTS),
            "model": draw(st.sampled_from([None, "m1", "m2"])),
            "finish_reason": draw(st.sampled_from([None, "stop", "length"])),
            "token_count": draw(st.none() | st.integers(0, 500)),
        }
        for name in ids
    ]
    return {
        "ranking_id": draw(st.uuids().map(str)),
        "round": 3,
        "purpose": "normal",
        "prompt": draw(st.one_of(TEXTS, st.just(chat))),
        "prompt_external_id": draw(st.none() | st.sampled_from(["p1", "p2"])),
        "tags": draw(st.lists(st.sampled_from(["hard", "short"]), unique=True)),
        "metadata": draw(st.dictionaries(st.sampled_from(["topic", "n"]), st.integers(0, 9))),
        "completions": completions,
        "ranks": ranks,
        "labeler": draw(st.sampled_from(["ann", "bob"])),
        "simulated": draw(st.booleans()),
        "external_id": draw(st.none() | st.uuids().map(str)),
        "is_repeat": False,
        "shown_order": draw(st.just([]) | st.permutations(ids)),
        "ratings": draw(st.lists(st.none() | st.integers(1, 7), min_size=count, max_size=count)),
        "flags": [draw(st.sampled_from([[], ["unsafe"]])) for _ in ids],
        "comment": draw(st.sampled_from(["", "hm"])),
        "active_ms": draw(st.none() | st.integers(0, 10_000)),
        "guidelines_version": draw(st.integers(1, 4)),
        "gold": None,
        "created_at": draw(st.sampled_from(["2026-01-31T09:30:00Z", "2025-07-01T00:00:00.25Z"])),
        "origin": draw(st.none() | st.just({"format": "oasst", "tree": "t", "labels": [1.5]})),
    }


IDS = ("ranking_id", "task_id")


def without_ids(row: dict[str, Any]) -> dict[str, Any]:
    """The row with places where ids of its completions stood, and no id that an import makes."""
    places = {item["id"]: place for place, item in enumerate(row["completions"])}
    kept = {key: value for key, value in row.items() if key not in IDS}
    kept["shown_order"] = [places[item] for item in row["shown_order"]]
    kept["completions"] = [
        {key: value for key, value in item.items() if key != "id"} for item in row["completions"]
    ]
    kept["origin"] = {
        key: value for key, value in (row["origin"] or {}).items() if key != "ranking_ids"
    }
    return kept


LAYOUTS = {RankingFormat.JSONL: ImportFormat.JSONL, RankingFormat.PARQUET: ImportFormat.PARQUET}


def export(
    database: Database, project_id: str, layout: RankingFormat
) -> tuple[bytes, list[dict[str, Any]]]:
    """The file, and its rows as JSONL has them."""
    with database.read() as session:
        rankings = list(iter_rankings(session, project_id))
    content = b"".join(export_rankings(iter(rankings), RankingSchema.PLAIN, layout))
    lines = b"".join(export_rankings(iter(rankings), RankingSchema.PLAIN, RankingFormat.JSONL))
    return content, [orjson.loads(line) for line in lines.splitlines()]


@pytest.mark.parametrize("layout", list(LAYOUTS))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(exported(), min_size=1, max_size=6))
def test_export_import_export_is_the_identity_up_to_ids(
    sqlite_database: Database, layout: RankingFormat, rows: list[dict[str, Any]]
) -> None:
    first, second, third = (make_project(sqlite_database, uuid4().hex) for _ in range(3))
    content = b"\n".join(orjson.dumps(row) for row in rows)
    report = load(sqlite_database, first, content, ImportFormat.JSONL)
    assert (report.format, report.rejected) == ("podium", [])
    out, before = export(sqlite_database, first, layout)
    for project_id in (second, third):
        again = load(sqlite_database, project_id, out, LAYOUTS[layout])
        assert (again.created, again.rejected) == (report.created, [])
        out, after = export(sqlite_database, project_id, layout)
        assert [without_ids(row) for row in after] == [without_ids(row) for row in before]
    assert load(sqlite_database, first, out, LAYOUTS[layout]).created == 0


def test_what_another_project_has_no_place_for_goes_to_the_origin(
    database: Database, project_id: str
) -> None:
    line = ranking(
        labeler="ann",
        purpose="gold",
        gold=[1, 2, 3],
        round=4,
        guidelines_version=7,
        source="labeler",
    )
    load_rankings(database, project_id, [line])
    with database.read() as session:
        (stored,) = iter_rankings(session, project_id)
    assert stored.origin == {
        "format": "podium",
        "round": 4,
        "purpose": "gold",
        "source": "labeler",
        "guidelines_version": 7,
        "gold": [1, 2, 3],
    }


def lines_of(name: str) -> Iterator[dict[str, Any]]:
    yield EXAMPLES[name]


@pytest.mark.parametrize("name", sorted(set(EXAMPLES) - {"trl-unpaired"}))
def test_every_format_is_stored_once(database: Database, project_id: str, name: str) -> None:
    first = load_rankings(database, project_id, lines_of(name))
    again = load_rankings(database, project_id, lines_of(name))
    assert (first.format, first.rejected_total) == (name, 0)
    assert first.created >= 1
    assert (again.created, again.duplicates) == (0, first.created)
