import json

import pytest
from sqlalchemy import func, select

from app.db import Database
from app.models import Completion, Prompt, Ranking, RankingEntry, Round, Task, TaskState
from app.preferences.formats import jsonl_bytes, ranking_row
from app.preferences.imports import import_rankings
from app.preferences.pair_counts import count_pairs
from app.preferences.queries import iter_pairs, iter_rankings
from app.projects.reading import ImportFormat
from tests.preferences.conftest import load_rankings, make_project, ranking


def counts(database: Database) -> tuple[int, ...]:
    with database.read() as session:
        tables = (Prompt, Task, Completion, Ranking, RankingEntry)
        return tuple(
            session.scalar(select(func.count()).select_from(table)) or 0 for table in tables
        )


def test_same_completions_in_another_order_are_the_same_task(
    database: Database, project_id: str
) -> None:
    first = ranking(labeler="ann")
    turned = {
        "prompt": "Why?",
        "completions": first["completions"][::-1],
        "ranks": [1, 2, 2],
        "labeler": "bob",
    }
    assert load_rankings(database, project_id, [first, turned]).created == 2
    assert counts(database) == (1, 1, 3, 2, 6)
    with database.read() as session:
        ann, bob = sorted(iter_rankings(session, project_id), key=lambda item: item.labeler)
        assert [item.text for item in ann.completions] == ["a", "b", "c"]
        assert ann.ranks == [2, 1, 3]
        assert bob.ranks == [2, 2, 1]


def test_duplicates_repeats_and_anonymous_rankings_are_told_apart(
    database: Database, project_id: str
) -> None:
    lines = [
        ranking(labeler="ann"),
        ranking(labeler="ann"),  # the same content without an external id: a duplicate
        ranking(labeler="ann", external_id="x1"),  # a repeat
        ranking(labeler="ann", external_id="x1", ranks=[1, 2, 3]),  # the same id: a duplicate
        ranking(labeler="ann", ranks=[3, 2, 1]),  # other ranks: a repeat
        ranking(ranks=[1, 1, 2]),
        ranking(ranks=[2, 2, 7]),  # the same order as the line before: a duplicate
        ranking(ranks=[1, None, 2]),  # somebody else
        ranking(labeler="bob"),
    ]
    report = load_rankings(database, project_id, lines)
    assert (report.created, report.duplicates, report.rejected) == (6, 3, [])
    again = load_rankings(database, project_id, lines)
    assert (again.created, again.duplicates) == (0, 9)
    with database.read() as session:
        stored = list(iter_rankings(session, project_id))
        assert sorted((item.labeler, item.is_repeat) for item in stored) == [
            ("ann", False),
            ("ann", True),
            ("ann", True),
            ("anonymous", False),
            ("anonymous-2", False),
            ("bob", False),
        ]
        task = session.scalars(select(Task)).one()
        assert (task.rankings_got, task.rankings_wanted, task.slots_free) == (4, 4, 0)
        assert task.state == TaskState.COMPLETE
        round_ = session.scalars(select(Round)).one()
        assert (round_.labelers_per_task, round_.state) == (0, "closed")
        assert round_.completions_per_prompt == 3


def test_completions_of_the_same_text_stay_separate(database: Database, project_id: str) -> None:
    line = ranking(texts=["same", "same", "other"], ranks=[1, 2, 3])
    line["completions"] = [{"text": item["text"]} for item in line["completions"]]
    for created in (1, 0):
        assert load_rankings(database, project_id, [line]).created == created
    with database.read() as session:
        (stored,) = iter_rankings(session, project_id)
        assert len({item.id for item in stored.completions}) == 3
        assert stored.ranks == [1, 2, 3]
        counted = count_pairs(session, project_id)
        assert (counted.pairs, counted.identical) == (2, 1)
        assert len(list(iter_pairs(session, project_id))) == 2
        assert len(list(iter_pairs(session, project_id, include_identical=True))) == 3


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ranks": [1, 2]}, "ranks must be a list of 3, one for each completion"),
        (
            {"ranks": [0, 1, 2]},
            "ranks[0] is 0; accepted: a whole number from 1 (the best)",
        ),
        ({"ranks": ["first", 1, 2]}, "ranks[0] is 'first'"),
        ({"ranks": [True, 1, 2]}, "ranks[0] is True"),
        ({"ranks": [1.0, 1, 2]}, "ranks[0] is 1.0"),
        ({"ranks": [None, None, None]}, "every completion is unranked"),
        ({"ranks": None}, "ranks is missing"),
        ({"prompt": ""}, "prompt is empty"),
        ({"prompt": [{"role": "user"}]}, "content must be text"),
        ({"completions": [{"text": "x"}]}, "completions must be a list of 2 to 9"),
        ({"completions": ["a", "b", "c"]}, "completions[0] must be an object with text"),
        ({"labeler": "x" * 201}, "labeler is longer than 200 characters"),
        ({"labeler": {}}, "labeler must be text"),
        ({"ratings": [1, 2]}, "ratings must be a list of 3"),
        ({"ratings": [1, 9, 2]}, "ratings"),
        ({"comment": "\x00"}, "comment"),
    ],
)
def test_bad_rankings_are_named_and_the_others_kept(
    sqlite_database: Database, sqlite_project_id: str, change: dict[str, object], reason: str
) -> None:
    lines = [ranking(labeler="ann"), ranking() | change, b'{"prompt": ', ranking(labeler="bob")]
    report = load_rankings(sqlite_database, sqlite_project_id, lines)
    assert (report.created, report.rejected_total) == (2, 2)
    assert report.rejected[0].line == 2
    assert reason in report.rejected[0].reason
    assert "broken JSON" in report.rejected[1].reason


def test_own_export_imports_again_with_nothing_lost(database: Database, project_id: str) -> None:
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi <b>"}]
    lines = [
        ranking(labeler="ann", ratings=[7, None, 1], flags=[["unsafe"], [], []], comment="hm"),
        ranking(prompt=chat, ranks=[1, None, 1], labeler="bot", simulated=True, active_ms=5),
    ]
    report = load_rankings(database, project_id, lines)
    assert report.created == 2, report
    other = make_project(database, "Other")
    with database.read() as session:
        export = b"".join(jsonl_bytes(ranking_row(r) for r in iter_rankings(session, project_id)))
    assert import_rankings(database, project_id, [export], ImportFormat.JSONL).duplicates == 2
    assert import_rankings(database, other, [export], ImportFormat.JSONL).created == 2
    kept = ("prompt", "ranks", "labeler", "simulated", "ratings", "flags", "comment", "active_ms")
    with database.read() as session:
        before = {r.labeler: ranking_row(r) for r in iter_rankings(session, project_id)}
        after = {r.labeler: ranking_row(r) for r in iter_rankings(session, other)}
    assert before["bot"]["simulated"] is True
    for labeler in ("ann", "bot"):
        for name in kept:
            assert after[labeler][name] == before[labeler][name], name


def test_json_list_of_rankings_imports(sqlite_database: Database, sqlite_project_id: str) -> None:
    body = json.dumps({"rankings": [ranking()]}).encode()
    report = import_rankings(sqlite_database, sqlite_project_id, [body], "application/json")
    assert report.created == 1


def test_flags_that_the_project_does_not_know_are_kept_as_they_are(
    database: Database, project_id: str
) -> None:
    line = ranking(labeler="ann", flags=[["unsafe", "Too long!", "unsafe"], [], ["räudig"]])
    assert load_rankings(database, project_id, [line]).created == 1
    with database.read() as session:
        row = ranking_row(next(iter_rankings(session, project_id)), {"unsafe": "Unsafe"})
    assert row["flags"] == [["unsafe", "Too long!"], [], ["räudig"]]
    assert row["flag_labels"] == {"unsafe": "Unsafe"}
