import hashlib
import json

import orjson
import pytest
from fastapi.testclient import TestClient

from tests.preferences.conftest import ranking


@pytest.fixture
def project_id(admin_client: TestClient) -> str:
    project_id = str(admin_client.post("/api/v1/projects", json={"name": "P"}).json()["id"])
    lines = [
        ranking(labeler="ann", external_id="r1"),
        ranking(labeler="bot", simulated=True),
        ranking(prompt="Twice?", texts=["x", "x"], ranks=[1, 2], labeler="ann"),
        ranking(ranks=[0, 1, 2]),
    ]
    answer = admin_client.post(
        f"/api/v1/projects/{project_id}/rankings",
        content=b"\n".join(orjson.dumps(line) for line in lines),
        headers={"Content-Type": "application/x-ndjson"},
    )
    assert answer.status_code == 200, answer.text
    report = answer.json()
    assert (report["created"], report["rejected_total"]) == (3, 1)
    assert report["rejected"][0]["line"] == 4
    return project_id


def test_pairs_stream_in_every_schema_and_format(
    researcher_client: TestClient, project_id: str
) -> None:
    path = f"/api/v1/projects/{project_id}/pairs"
    lines = researcher_client.get(path, params={"schema": "trl"}).text.splitlines()
    assert len(lines) == 6
    assert json.loads(lines[0]) == {"prompt": "Why?", "chosen": "b", "rejected": "a"}
    with_identical = researcher_client.get(path, params={"include_identical": True})
    assert len(with_identical.text.splitlines()) == 7
    people = researcher_client.get(path, params={"simulated": False}).text.splitlines()
    assert len(people) == 3
    csv = researcher_client.get(path, params={"schema": "hh", "format": "csv"})
    assert csv.headers["content-type"].startswith("text/csv")
    assert csv.text.startswith("chosen,rejected\r\n")
    parquet = researcher_client.get(path, params={"format": "parquet"})
    assert parquet.content[:4] == parquet.content[-4:] == b"PAR1"
    counts = researcher_client.get(f"{path}/counts").json()
    assert counts == {
        "rankings": 3,
        "simulated_rankings": 1,
        "prompts": 2,
        "labelers": 2,
        "pairs": 6,
        "identical": 1,
        "empty": 0,
    }


def test_wrong_filters_are_named(researcher_client: TestClient, project_id: str) -> None:
    for params, field in (
        ({"schema": "rlhf"}, "schema"),
        ({"format": "xml"}, "format"),
        ({"labeller": "ann"}, "labeller"),
        ({"round_id": "nope"}, "round_id"),
        ({"simulated": "maybe"}, "simulated"),
    ):
        answer = researcher_client.get(f"/api/v1/projects/{project_id}/pairs", params=params)
        assert answer.status_code == 422
        assert field in answer.json()["fields"], answer.text


def test_labelers_read_no_pairs_and_researchers_import_none(
    labeler_client: TestClient, researcher_client: TestClient, project_id: str
) -> None:
    base = f"/api/v1/projects/{project_id}"
    for path in ("/pairs", "/pairs/counts", "/rankings", "/snapshots"):
        assert labeler_client.get(base + path).status_code == 403
    assert researcher_client.post(f"{base}/snapshots", json={}).status_code == 403
    assert researcher_client.post(f"{base}/rankings", content=b"x").status_code == 403


def test_rankings_stream_in_the_shape_of_the_import(
    admin_client: TestClient, researcher_client: TestClient, project_id: str
) -> None:
    content = researcher_client.get(f"/api/v1/projects/{project_id}/rankings").content
    rows = [json.loads(line) for line in content.splitlines()]
    assert [row["labeler"] for row in rows] == ["ann", "bot", "ann"]
    assert (rows[0]["prompt"], rows[0]["ranks"], rows[0]["external_id"]) == (
        "Why?",
        [2, 1, 3],
        "r1",
    )
    assert [row["simulated"] for row in rows] == [False, True, False]
    again = admin_client.post(
        f"/api/v1/projects/{project_id}/rankings",
        content=content,
        headers={"Content-Type": "application/jsonl"},
    )
    assert (again.json()["created"], again.json()["duplicates"]) == (0, 3)


def test_snapshot_is_frozen_with_etag_and_range(
    admin_client: TestClient, researcher_client: TestClient, project_id: str
) -> None:
    base = f"/api/v1/projects/{project_id}"
    made = admin_client.post(f"{base}/snapshots", json={"name": "One"})
    assert made.status_code == 201
    snapshot = made.json()
    assert (snapshot["pairs"], snapshot["rankings"], snapshot["prompts"]) == (6, 3, 2)
    assert admin_client.post(f"{base}/snapshots").json()["sha256"] == snapshot["sha256"]
    for body in ({"filters": {"simulated": False}}, {"simulated": False}):
        assert admin_client.post(f"{base}/snapshots", json=body).json()["pairs"] == 3
    path = f"/api/v1/snapshots/{snapshot['id']}"
    assert researcher_client.get(path).json() == snapshot
    full = researcher_client.get(f"{path}/pairs")
    assert hashlib.sha256(full.content).hexdigest() == snapshot["sha256"]
    assert full.headers["x-podium-pairs"] == "6"
    part = researcher_client.get(f"{path}/pairs", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, full.content[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(full.content)}"
    etag = full.headers["etag"]
    assert part.headers["etag"] == etag
    same = researcher_client.get(f"{path}/pairs", headers={"If-None-Match": etag})
    assert (same.status_code, same.content) == (304, b"")
    past = researcher_client.get(f"{path}/pairs", headers={"Range": "bytes=99999999-"})
    assert past.status_code == 416
    head = researcher_client.head(f"{path}/pairs", params={"format": "csv", "schema": "trl"})
    assert head.status_code == 200
    assert int(head.headers["content-length"]) > 0
    items = researcher_client.get(f"{base}/snapshots?limit=2").json()
    assert len(items["items"]) == 2
    rest = researcher_client.get(f"{base}/snapshots", params={"cursor": items["next_cursor"]})
    assert [item["id"] for item in rest.json()["items"]][-1] == snapshot["id"]


def test_snapshot_of_nothing_or_of_an_unknown_filter_is_refused(
    admin_client: TestClient, project_id: str
) -> None:
    path = f"/api/v1/projects/{project_id}/snapshots"
    nothing = admin_client.post(path, json={"labeler": "nobody"})
    assert (nothing.status_code, nothing.json()["code"]) == (422, "empty_snapshot")
    unknown = admin_client.post(path, json={"filters": {"colour": "red"}})
    assert unknown.status_code == 422
    assert admin_client.get(path).json()["items"] == []
    assert admin_client.get("/api/v1/snapshots/none").status_code == 404
