"""Label Studio's own SDK reads and checks what is exported for it."""

import io
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest

from app.db import Database
from app.preferences.formats import LABEL_STUDIO_CONFIG, PairFormat, PairSchema, export_pairs
from app.preferences.queries import iter_pairs
from tests.preferences.conftest import load_rankings, ranking

DOCS = Path(__file__).resolve().parents[2] / "docs"


def export(database: Database, project_id: str, layout: PairFormat) -> bytes:
    load_rankings(
        database,
        project_id,
        [
            ranking(labeler="ann"),
            ranking(prompt="ü?", texts=['<b>"p"</b>', "q\n"], ranks=[2, 1], labeler="bob"),
        ],
    )
    with database.read() as session:
        pairs = iter_pairs(session, project_id)
        return b"".join(export_pairs(pairs, PairSchema.LABEL_STUDIO, layout))


@pytest.mark.slow
def test_every_task_and_annotation_is_valid_for_the_interface_in_the_docs(
    sqlite_database: Database, sqlite_project_id: str
) -> None:
    sdk: Any = import_module("label_studio_sdk.label_interface")  # Takes seconds.
    interface = sdk.LabelInterface(LABEL_STUDIO_CONFIG)
    interface.validate()
    tasks = json.loads(export(sqlite_database, sqlite_project_id, PairFormat.JSON))
    assert len(tasks) == 4
    for task, chosen in zip(tasks, ["b", "b", "a", "q\n"], strict=True):
        assert interface.validate_task({"data": task["data"]})
        (annotation,) = task["annotations"]
        assert interface.validate_annotation(annotation), annotation
        selected = annotation["result"][0]["value"]["selected"]
        assert task["data"]["answer1" if selected == "left" else "answer2"] == chosen
    annotation["result"][0]["from_name"] = "other"
    assert not interface.validate_annotation(annotation)


def test_parquet_has_the_same_tasks(sqlite_database: Database, sqlite_project_id: str) -> None:
    lines = export(sqlite_database, sqlite_project_id, PairFormat.JSONL)
    table = export(sqlite_database, sqlite_project_id, PairFormat.PARQUET)
    rows = parquet.read_table(io.BytesIO(table)).to_pylist()
    assert rows == [json.loads(line) for line in lines.splitlines()]


def test_interface_in_the_docs_is_the_one_that_is_tested() -> None:
    page = (DOCS / "preference-data.md").read_text(encoding="utf-8")
    assert LABEL_STUDIO_CONFIG in page
