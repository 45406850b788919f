import io
import json
import zipfile
from typing import Any

import orjson
import pytest
import zstandard
from fastapi.testclient import TestClient

from app.preferences.formats import PairFormat, PairSchema, RankingFormat, RankingSchema
from tests.preferences.conftest import ranking


@pytest.fixture
def snapshot(admin_client: TestClient) -> dict[str, Any]:
    project_id = admin_client.post("/api/v1/projects", json={"name": "P"}).json()["id"]
    lines = [
        ranking(prompt=f"p{number}", labeler=labeler)
        for number in range(10)
        for labeler in ("ann", "bob")
    ]
    answer = admin_client.post(
        f"/api/v1/projects/{project_id}/rankings",
        content=b"\n".join(orjson.dumps(line) for line in lines),
        headers={"Content-Type": "application/x-ndjson"},
    )
    assert answer.json()["created"] == 20, answer.text
    body = {"name": "One", "splits": {"shares": {"train": 0.8, "test": 0.2}}}
    made = admin_client.post(f"/api/v1/projects/{project_id}/snapshots", json=body)
    assert made.status_code == 201, made.text
    found: dict[str, Any] = made.json()
    return found


def test_every_file_of_a_snapshot_has_an_etag_and_takes_ranges(
    researcher_client: TestClient, snapshot: dict[str, Any]
) -> None:
    base = f"/api/v1/snapshots/{snapshot['id']}"
    for path in (
        *(f"pairs?schema={schema}&format=jsonl.zst&split=test" for schema in PairSchema),
        *(f"pairs?format={layout}" for layout in PairFormat),
        *(f"rankings?schema={schema}" for schema in RankingSchema),
        *(f"rankings?format={layout}&split=train" for layout in RankingFormat),
        "card?schema=trl",
        "dataset?schema=trl",
    ):
        full = researcher_client.get(f"{base}/{path}")
        assert full.status_code == 200, full.text
        etag = full.headers["etag"]
        head = researcher_client.head(f"{base}/{path}")
        assert (head.headers["etag"], head.content) == (etag, b"")
        assert int(head.headers["content-length"]) == len(full.content)
        part = researcher_client.get(
            f"{base}/{path}", headers={"Range": "bytes=5-14", "If-Range": etag}
        )
        assert (part.status_code, part.content) == (206, full.content[5:15])
        stale = researcher_client.get(
            f"{base}/{path}", headers={"Range": "bytes=5-14", "If-Range": '"other"'}
        )
        assert (stale.status_code, stale.content) == (200, full.content)
        same = researcher_client.get(f"{base}/{path}", headers={"If-None-Match": etag})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)


def test_parts_are_named_counted_and_refused_by_name(
    researcher_client: TestClient, snapshot: dict[str, Any]
) -> None:
    base = f"/api/v1/snapshots/{snapshot['id']}"
    test = researcher_client.get(f"{base}/pairs?split=test&schema=trl")
    assert test.headers["x-podium-pairs"] == "12"
    assert len(test.text.splitlines()) == 12
    assert '-test-trl.jsonl"' in test.headers["content-disposition"]
    for kind in ("pairs", "rankings"):
        wrong = researcher_client.get(f"{base}/{kind}?split=dev")
        assert wrong.status_code == 422
        assert wrong.json()["fields"] == {"split": "one of train, test"}
        for params in ({"schema": "rlhf"}, {"format": "xml"}):
            wrong = researcher_client.get(f"{base}/{kind}", params=params)
            assert (wrong.status_code, [*wrong.json()["fields"]]) == (422, [*params])


def test_dataset_downloads_as_a_folder(
    researcher_client: TestClient, snapshot: dict[str, Any]
) -> None:
    base = f"/api/v1/snapshots/{snapshot['id']}"
    answer = researcher_client.get(f"{base}/dataset?schema=trl")
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        card = archive.read("README.md").decode()
    shown = researcher_client.get(f"{base}/card?schema=trl")
    assert shown.headers["content-type"] == "text/markdown; charset=utf-8"
    assert shown.text == card


def test_rankings_of_a_project_stream_in_every_schema_and_format(
    researcher_client: TestClient, snapshot: dict[str, Any]
) -> None:
    path = f"/api/v1/projects/{snapshot['project_id']}/rankings"
    lines = researcher_client.get(path, params={"labeler": "ann"})
    assert lines.headers["content-type"].startswith("application/x-ndjson")
    assert 'filename="rankings-plain.jsonl"' in lines.headers["content-disposition"]
    assert len(lines.text.splitlines()) == 10
    nectar = researcher_client.get(path, params={"schema": "nectar", "format": "jsonl.zst"})
    opened = zstandard.ZstdDecompressor().decompressobj().decompress(nectar.content)
    first = json.loads(opened.splitlines()[0])
    assert [answer["rank"] for answer in first["answers"]] == [1, 2, 3]
    parquet = researcher_client.get(path, params={"format": "parquet"})
    assert parquet.content[:4] == parquet.content[-4:] == b"PAR1"


def test_outsiders_get_nothing_of_a_snapshot(
    labeler_client: TestClient, researcher_client: TestClient, snapshot: dict[str, Any]
) -> None:
    for kind in ("pairs", "rankings", "card", "dataset"):
        assert labeler_client.get(f"/api/v1/snapshots/{snapshot['id']}/{kind}").status_code == 403
        assert researcher_client.get(f"/api/v1/snapshots/nope/{kind}").status_code == 404
