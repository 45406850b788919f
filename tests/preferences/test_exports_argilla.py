"""Argilla's own SDK reads what is exported for it; only its server is not here."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from app.db import Database
from app.preferences.formats import PairFormat, PairSchema, export_pairs
from app.preferences.queries import iter_pairs
from tests.preferences.conftest import load_rankings, ranking

pytestmark = pytest.mark.slow
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]


class Server:
    """The three answers of an Argilla server that logging records needs; keeps what it is sent."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/v1/me":
            me = {"id": str(uuid4()), "username": "owner", "role": "owner"}
            return httpx.Response(200, json=me)
        if request.method == "PUT" and request.url.path.endswith("/records/bulk"):
            items = json.loads(request.content)["items"]
            self.items += items
            stored = [item | {"id": str(uuid4())} for item in items]
            return httpx.Response(200, json={"items": stored, "updated_item_ids": []})
        return httpx.Response(404, json={"detail": f"no {request.url.path}"})


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def dataset(server: Server) -> Any:
    """A dataset with the settings that Argilla itself has for ranking two responses."""
    argilla: Any = import_module("argilla")  # Takes seconds, and has no types.
    client = argilla.Argilla(
        api_url="http://argilla.invalid",
        api_key="key",
        mounts={"all://": httpx.MockTransport(server.answer)},
    )
    settings = argilla.Settings.for_ranking()
    settings.allow_extra_metadata = True
    dataset = argilla.Dataset(name="pairs", settings=settings, client=client)
    dataset.id = uuid4()
    return dataset


def fill(database: Database, project_id: str) -> None:
    load_rankings(
        database,
        project_id,
        [
            ranking(labeler="ann"),
            ranking(prompt=CHAT, texts=["p", 'ü "q"\n'], ranks=[2, 1], labeler="bob"),
        ],
    )


def export(database: Database, project_id: str, layout: PairFormat) -> bytes:
    with database.read() as session:
        pairs = iter_pairs(session, project_id)
        return b"".join(export_pairs(pairs, PairSchema.ARGILLA, layout))


def test_every_line_is_a_record(
    sqlite_database: Database, sqlite_project_id: str, dataset: Any
) -> None:
    from_dict = import_module("argilla").Record.from_dict
    fill(sqlite_database, sqlite_project_id)
    lines = export(sqlite_database, sqlite_project_id, PairFormat.JSONL).splitlines()
    records = [from_dict(json.loads(line), dataset=dataset) for line in lines]
    assert len(records) == 4
    names = {field.name for field in dataset.settings.fields}
    for record, chosen in zip(records, ["b", "b", "a", 'ü "q"\n'], strict=True):
        assert set(record.fields) == names
        (response,) = record.responses["ranking"]
        assert record.fields[response.value[0]] == chosen
        assert response.status == "submitted"
        model = record.api_model()  # The SDK's own validation of what it would send.
        ranks = model.responses[0].values["ranking"]["value"]
        assert len(ranks) == 2
        assert record.fields[ranks[0]["value"]] == chosen
    assert len({record.id for record in records}) == 4
    assert {record.metadata["labeler"] for record in records} == {"ann", "bob"}


def test_list_of_records_is_what_the_importer_takes(
    sqlite_database: Database,
    sqlite_project_id: str,
    dataset: Any,
    server: Server,
    tmp_path: Path,
) -> None:
    fill(sqlite_database, sqlite_project_id)
    file = tmp_path / "records.json"
    file.write_bytes(export(sqlite_database, sqlite_project_id, PairFormat.JSON))
    dataset.records.from_json(file)
    assert [item["fields"]["instruction"] for item in server.items] == [
        "Why?",
        "Why?",
        "Why?",
        "system: Be brief.\n\nuser: Hi",
    ]
    for item in server.items:
        (response,) = item["responses"]
        assert response["status"] == "submitted"
        assert len(response["values"]["ranking"]["value"]) == 2
