import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise, permutations
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update

from app.db import Database
from app.labeling.queue import lease_next_task
from app.models import Project, Prompt, Ranking, Role, Round, Task, User
from app.preferences.formats import jsonl_bytes, ranking_row
from app.preferences.imported_tasks import ParsedRanking
from app.preferences.imports import import_rankings
from app.preferences.queries import iter_rankings
from app.preferences.stored_rankings import StoredRanking
from app.projects.messages import plain_messages
from app.projects.prompts import add_prompt
from app.projects.reading import ImportFormat
from tests.preferences.conftest import load_rankings, make_project, ranking

LONG_AGO = datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=UTC)


def full_row() -> dict[str, Any]:
    """Everything that `ranking_row` writes, none of it a default."""
    completions = [
        {"id": f"c{n}", "text": text, "model": model, "finish_reason": reason, "token_count": count}
        for n, (text, model, reason, count) in enumerate(
            [("b", "m1", "stop", 3), ("a", "m2", "length", 48), ("b", "m2", None, None)]
        )
    ]
    return {
        "ranking_id": "0123456789abcdef0123456789abcdef",
        "task_id": "t",
        "purpose": "gold",
        "round": 7,
        "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "prompt_external_id": "p-17",
        "tags": ["writing", "short"],
        "metadata": {"category": "chat", "nested": {"a": [1, None, 2.5]}},
        "completions": completions,
        "ranks": [2, 1, 3],
        "labeler": "ann",
        "simulated": False,
        "source": "app",
        "external_id": "x-1",
        "is_repeat": True,
        "shown_order": ["c2", "c0", "c1"],
        "ratings": [4, 7, None],
        "flags": [["unsafe"], [], ["räudig"]],
        "flag_labels": {"unsafe": "Unsafe"},
        "comment": "hm",
        "active_ms": 5123,
        "guidelines_version": 3,
        "gold": [2, 1, 2],
        "origin": None,
        "created_at": "2024-02-29T12:30:15.123456Z",
    }


def stored(database: Database, project_id: str) -> list[StoredRanking]:
    with database.read() as session:
        return list(iter_rankings(session, project_id))


def export(database: Database, project_id: str) -> bytes:
    return b"".join(jsonl_bytes(map(ranking_row, stored(database, project_id))))


def comparable(row: dict[str, Any]) -> dict[str, Any]:
    """What is the same in every project: ids of this one stand for places."""
    places = {item.pop("id"): place for place, item in enumerate(row["completions"])}
    row["shown_order"] = [places[item] for item in row["shown_order"]]
    origin = row.pop("origin") or {}
    row["ids"] = sorted({row.pop("ranking_id"), *origin.get("ranking_ids", ())})
    return {
        name: value
        for name, value in row.items()
        if name not in ("task_id", "round", "source", "flag_labels", "ids")
    }


def test_everything_a_ranking_says_is_kept(database: Database, project_id: str) -> None:
    row = full_row()
    report = load_rankings(database, project_id, [row])
    assert (report.created, report.rejected) == (1, [])
    (kept,) = stored(database, project_id)
    assert kept.created_at == LONG_AGO
    assert [kept.completions[n].id for n in (2, 0, 1)] == kept.shown_order
    assert (kept.origin or {})["ranking_id"] == row["ranking_id"]
    assert (kept.origin or {})["task_id"] == "t"
    after = orjson.loads(orjson.dumps(ranking_row(kept), option=orjson.OPT_UTC_Z))
    assert comparable(after) == comparable(row)


def test_an_export_of_an_export_loses_nothing_and_is_the_same_ranking_everywhere(
    database: Database, project_id: str
) -> None:
    load_rankings(
        database,
        project_id,
        [
            full_row(),
            ranking(labeler="ann"),
            ranking(labeler="ann", ranks=[3, 2, 1]),
            ranking(),
            ranking(ranks=[1, 1, 2]),
            ranking(prompt="Other?", simulated=True),
        ],
    )
    projects = [project_id, make_project(database, "Second"), make_project(database, "Third")]
    for source, target in pairwise(projects):
        content = export(database, source)
        assert import_rankings(database, target, [content], ImportFormat.JSONL).created == 6
    rows = [
        [comparable(orjson.loads(line)) for line in export(database, project).splitlines()]
        for project in projects
    ]
    assert rows[0] == rows[1] == rows[2]
    for source in projects:
        content = export(database, source)
        for target in projects:
            report = import_rankings(database, target, [content], ImportFormat.JSONL)
            assert (report.created, report.duplicates) == (0, 6), (source, target)


def test_a_ranking_without_a_time_is_of_the_moment_of_its_import(
    database: Database, project_id: str
) -> None:
    load_rankings(database, project_id, [ranking()])
    (kept,) = stored(database, project_id)
    assert abs(kept.created_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert kept.shown_order == []
    assert kept.guidelines_version == 1


def test_tags_are_united_and_metadata_of_a_prompt_that_was_there_wins(
    database: Database, project_id: str
) -> None:
    with database.write() as session:
        project = session.get_one(Project, project_id)
        old = add_prompt(session, project, plain_messages("Old?"), metadata={"a": 1})
        assert old is not None
        old.tags = ["kept", "both"]
    extra = {"prompt_external_id": "p1", "metadata": {"a": 2, "b": 3}}
    lines = [
        ranking(prompt="Old?", labeler="ann", tags=["both", "new"], **extra),
        ranking(prompt="New?", labeler="ann", tags=["one"], **extra),
        ranking(prompt="New?", labeler="bob", tags=["two", "one"]),
        ranking(prompt="New?", labeler="bob", tags=["three"]),  # a duplicate, but for its tag
    ]
    for _ in range(2):
        load_rankings(database, project_id, lines)
        with database.read() as session:
            found = {
                prompt.messages[0]["content"]: (prompt.external_id, prompt.tags, prompt.details)
                for prompt in session.scalars(select(Prompt))
            }
        assert found == {
            "Old?": (None, ["kept", "both", "new"], {"a": 1}),
            "New?": ("p1", ["one", "two", "three"], {"a": 2, "b": 3}),
        }


def test_ranks_land_on_their_completion_whatever_the_order_of_the_row(
    database: Database, project_id: str
) -> None:
    completions = [("same", "m0"), ("same", "m1"), ("same", None), ("other", "m0")]
    ranks = [3, 1, 4, 2]
    for number, places in enumerate(permutations(range(4))):
        line = {
            "prompt": "Why?",
            "completions": [
                {"text": completions[place][0], "model": completions[place][1]} for place in places
            ],
            "ranks": [ranks[place] for place in places],
            "ratings": [place + 1 for place in places],
            "labeler": f"labeler {number}",
        }
        load_rankings(database, project_id, [line])
    found = stored(database, project_id)
    assert len(found) == 24
    assert len({item.task_id for item in found}) == 1
    for item in found:
        said = {
            (completion.text, completion.model): (rank, rating)
            for completion, rank, rating in zip(
                item.completions, item.ranks, item.ratings, strict=True
            )
        }
        assert said == {
            content: (rank, place + 1)
            for place, (content, rank) in enumerate(zip(completions, ranks, strict=True))
        }


def test_completions_that_nothing_tells_apart_keep_their_ranks_and_give_no_false_repeat(
    database: Database, project_id: str
) -> None:
    def line(texts: list[str], ranks: list[int | None], **fields: Any) -> dict[str, Any]:
        completions = [{"text": text} for text in texts]
        return {"prompt": "Why?", "completions": completions, "ranks": ranks, **fields}

    lines = [
        line(["x", "x", "y"], [1, 3, 2], labeler="ann"),
        line(["y", "x", "x"], [2, 3, 1], labeler="ann"),  # turned round: the same
        line(["x", "y", "x"], [1, 2, 3], labeler="ann"),  # and so is this
        line(["x", "x", "y"], [3, 1, 2], labeler="ann"),
        line(["x", "x", "y"], [1, 1, 2], labeler="ann"),  # another ranking: a repeat
        line(["x", "x", "y"], [None, 1, 2], labeler="bob"),
        line(["x", "y", "x"], [1, 2, None], labeler="bob"),  # the same as the line before
        line(["x", "y"], [1, 2], labeler="ann"),  # another task
    ]
    report = load_rankings(database, project_id, lines)
    assert (report.created, report.duplicates, report.rejected) == (4, 4, [])
    assert load_rankings(database, project_id, lines).duplicates == 8
    found = [
        (item.labeler, item.is_repeat, [completion.text for completion in item.completions])
        for item in stored(database, project_id)
    ]
    assert found == [
        ("ann", False, ["x", "x", "y"]),
        ("ann", True, ["x", "x", "y"]),
        ("bob", False, ["x", "x", "y"]),
        ("ann", False, ["x", "y"]),
    ]
    assert [item.ranks for item in stored(database, project_id)] == [
        [1, 3, 2],
        [1, 1, 2],
        [None, 1, 2],
        [1, 2],
    ]


def test_a_repeat_that_says_the_same_comes_back_from_an_export_as_one(
    database: Database, project_id: str
) -> None:
    """In the app a labeler who is asked again may well give the same order."""
    rows = [
        full_row() | {"external_id": None, "is_repeat": is_repeat, "ranking_id": one * 32}
        for is_repeat, one in ((True, "a"), (False, "b"), (True, "c"))
    ]
    for _ in range(2):
        load_rankings(database, project_id, rows)
        found = stored(database, project_id)
        assert [(item.is_repeat, item.external_id) for item in found] == [
            (True, None),
            (False, None),
            (True, None),
        ]


def test_a_name_for_nobody_is_never_given_twice(database: Database, project_id: str) -> None:
    load_rankings(database, project_id, [ranking(ranks=[1, 2, n]) for n in (1, 2, 3)])
    with database.write() as session:
        gone = session.scalars(select(Ranking).where(Ranking.labeler == "anonymous-2")).one()
        session.execute(update(Ranking).where(Ranking.id == gone.id).values(current=False))
    report = load_rankings(database, project_id, [ranking(ranks=[3, 2, 1])])
    assert report.created == 1
    names = [item.labeler for item in stored(database, project_id)]
    assert len(set(names)) == len(names) == 3


def test_labelers_are_never_given_imported_gold(
    database: Database, project_id: str, sign_up: Callable[[str], User]
) -> None:
    rows = [full_row(), full_row() | {"prompt": "Other?", "purpose": "calibration", "gold": None}]
    for number, row in enumerate(rows):
        row |= {"ranking_id": f"{number}" * 32, "external_id": None, "is_repeat": False}
    load_rankings(database, project_id, rows)
    with database.write() as session:
        session.execute(update(Project).values(gold_share=0.5))
        tasks = session.scalars(select(Task).order_by(Task.id)).all()
        assert [task.purpose for task in tasks] == ["gold", "calibration"]
        assert sorted((tasks[0].gold_ranks or {}).values()) == [1, 2, 2]
        assert session.scalars(select(Round)).one().labelers_per_task == 0
    for name in ("ann", "zoe"):
        person = sign_up(name)
        with database.write() as session:
            assert lease_next_task(session, person, project_id, lease_seconds=60) is None


def test_a_purpose_that_there_is_not_is_an_ordinary_task(
    database: Database, project_id: str
) -> None:
    rows = [
        ranking(purpose="decoration"),
        ranking(prompt="Gold without known ranks?", purpose="gold"),
    ]
    assert load_rankings(database, project_id, rows).created == 2
    assert [item.purpose for item in stored(database, project_id)] == ["ordinary"] * 2


@pytest.fixture
def sign_up(database: Database) -> Callable[[str], User]:
    def make(name: str) -> User:
        with database.write() as session:
            person = User(email=f"{name}@example.org", handle=name, name=name, role=Role.LABELER)
            session.add(person)
            session.flush()
            return person

    return make


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(TEXTS, st.lists(st.tuples(TEXTS, st.none() | TEXTS), min_size=2, max_size=4))
def test_hashes_of_content_never_change(
    prompt: str, completions: list[tuple[str, str | None]]
) -> None:
    """What was imported once must be found again by every later version."""
    parsed = ParsedRanking(
        messages=plain_messages(prompt),
        is_chat=False,
        completions=completions,
        ranks=list(range(1, len(completions) + 1)),
        ratings=[None] * len(completions),
        flags=[[] for _ in completions],
        labeler=None,
        external_id=None,
        ranking_id=None,
        simulated=False,
        comment="",
        active_ms=None,
    )
    messages = json.dumps([["user", prompt]], ensure_ascii=False, separators=(",", ":"))
    prompt_hash = hashlib.sha256(messages.encode()).hexdigest()
    content = sorted(completions, key=lambda item: (item[0], item[1] or ""))
    document = json.dumps([prompt_hash, content], ensure_ascii=False)
    assert parsed.prompt_hash == prompt_hash
    assert parsed.task_hash == hashlib.sha256(document.encode()).hexdigest()
