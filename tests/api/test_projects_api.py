import io
import json
from collections.abc import Iterator

import pyarrow
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pyarrow import parquet

from app.models import User
from app.settings import Settings


@pytest.fixture
def project_id(admin_client: TestClient) -> str:
    answer = admin_client.post("/api/v1/projects", json={"name": "P", "guidelines": "Be kind."})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def send(client: TestClient, project_id: str, content: object, content_type: str) -> object:
    return client.post(
        f"/api/v1/projects/{project_id}/prompts",
        content=content,
        headers={"Content-Type": content_type},
    )


def test_project_is_created_listed_and_changed(
    admin_client: TestClient, labeler_client: TestClient, project_id: str
) -> None:
    path = f"/api/v1/projects/{project_id}"
    assert labeler_client.get(path).json()["guidelines"] == "Be kind."
    assert [p["id"] for p in labeler_client.get("/api/v1/projects").json()["items"]] == [project_id]
    changed = admin_client.patch(path, json={"guidelines": "Be exact."}).json()
    assert changed["guidelines_version"] == 2
    taken = admin_client.post("/api/v1/projects", json={"name": "P"})
    assert (taken.status_code, taken.json()["code"]) == (409, "project_name_taken")
    assert admin_client.post("/api/v1/projects", json={"name": ""}).status_code == 422
    admin_client.patch(path, json={"restricted": True})
    assert labeler_client.get(path).status_code == 404
    assert labeler_client.get(f"{path}/prompts").status_code == 404


def test_only_admins_add(
    labeler_client: TestClient,
    researcher_client: TestClient,
    client: TestClient,
    project_id: str,
) -> None:
    for browser, status in ((labeler_client, 403), (researcher_client, 403), (client, 401)):
        assert browser.post("/api/v1/projects", json={"name": "Q"}).status_code == status
        assert send(browser, project_id, "a", "text/plain").status_code == status


def test_prompts_come_in_every_content_type(admin_client: TestClient, project_id: str) -> None:
    table = io.BytesIO()
    parquet.write_table(pyarrow.table({"text": ["from parquet"]}), table)
    bodies = {
        "application/json": json.dumps({"prompts": [{"text": "from json"}]}),
        "application/x-ndjson; charset=utf-8": '{"text": "from ndjson"}\n{"text": "",}\n',
        "application/jsonl": '{"messages": [{"role": "user", "content": "from jsonl"}]}',
        "text/csv": "text\nfrom csv\n",
        "application/vnd.apache.parquet": table.getvalue(),
        "text/plain": "from text\n",
    }
    for content_type, body in bodies.items():
        answer = send(admin_client, project_id, body, content_type)
        assert answer.status_code == 200, answer.text
        assert answer.json()["created"] == 1, content_type
    again = send(admin_client, project_id, bodies["text/csv"], "text/csv").json()
    assert again == {"created": 0, "duplicates": 1, "rejected": [], "rejected_total": 0}
    listed = admin_client.get(f"/api/v1/projects/{project_id}/prompts?limit=4").json()
    assert [item["text"] for item in listed["items"]] == [
        "from json",
        "from ndjson",
        None,
        "from csv",
    ]
    rest = admin_client.get(
        f"/api/v1/projects/{project_id}/prompts", params={"cursor": listed["next_cursor"]}
    ).json()
    assert [item["text"] for item in rest["items"]] == ["from parquet", "from text"]
    assert rest["next_cursor"] is None
    found = admin_client.get(f"/api/v1/projects/{project_id}/prompts?query=CSV").json()
    assert len(found["items"]) == 1


def test_prompts_carry_tags_and_are_listed_by_tag_and_metadata(
    admin_client: TestClient, project_id: str
) -> None:
    rows = [{"text": "a", "tags": ["x", "y"], "topic": "sky"}, {"text": "b", "tags": "x"}]
    send(admin_client, project_id, json.dumps({"prompts": rows}), "application/json")
    path = f"/api/v1/projects/{project_id}/prompts"
    for filters, texts in (
        ({"tag": "x"}, ["a", "b"]),
        ({"tag": "y"}, ["a"]),
        ({"metadata": "topic=sky"}, ["a"]),
        ({"tag": "x", "query": "b"}, ["b"]),
    ):
        items = admin_client.get(path, params=filters).json()["items"]
        assert [item["text"] for item in items] == texts, filters
    assert items[0]["tags"] == ["x"]
    wrong = admin_client.get(path, params={"metadata": "topic"})
    assert wrong.status_code == 422
    assert "metadata" in wrong.json()["fields"]


def test_bad_lines_are_named_and_bad_bodies_refused(
    admin_client: TestClient, project_id: str
) -> None:
    answer = send(
        admin_client, project_id, '{"text": "a"}\n{"colour": 1}\n', "application/x-ndjson"
    )
    (rejected,) = answer.json()["rejected"]
    assert rejected["line"] == 2
    assert rejected["reason"].startswith("no prompt: found colour; accepted: messages, text,")
    for body, content_type, code in (
        ("a,b\n1,2\n", "text/csv", "unknown_columns"),
        ("{", "application/json", "broken_json"),
        ("x", "application/vnd.apache.parquet", "broken_parquet"),
        ("x", "image/png", "unsupported_content_type"),
        (b"\xff\xfea\x00", "text/plain", "wrong_encoding"),
        ("", "text/plain", "invalid"),
    ):
        answer = send(admin_client, project_id, body, content_type)
        assert (answer.status_code, answer.json()["code"]) == (422, code)


def test_body_larger_than_allowed_is_refused_before_it_is_kept(
    app: FastAPI, admin_client: TestClient, project_id: str
) -> None:
    app.state.settings = Settings(
        data_dir=app.state.settings.data_dir,
        database_url=app.state.settings.database_url,
        max_upload_bytes=1000,
    )

    def chunks() -> Iterator[bytes]:
        for _ in range(2000):
            yield b"prompt\n"

    assert send(admin_client, project_id, b"x" * 2000, "text/plain").status_code == 413
    streamed = send(admin_client, project_id, chunks(), "text/plain")
    assert (streamed.status_code, streamed.json()["code"]) == (413, "too_large")


def test_archived_project_takes_no_prompts(
    app: FastAPI, admin: User, admin_client: TestClient, project_id: str
) -> None:
    from app.projects.service import archive_project, get_project

    with app.state.database.write() as session:
        archive_project(session, get_project(session, project_id, admin))
    assert send(admin_client, project_id, "a", "text/plain").status_code == 409


def test_every_field_and_error_of_the_reference_is_described(app: FastAPI) -> None:
    document = app.openapi()
    names = ("ProjectIn", "ProjectOut", "PromptOut", "ImportOut", "SnapshotOut", "SnapshotIn")
    for name in names:
        for field, schema in document["components"]["schemas"][name]["properties"].items():
            assert schema.get("description"), f"{name}.{field}"
    for path, operations in document["paths"].items():
        if "/pairs" in path or ("/rankings" in path and "assignments" not in path):
            for operation in operations.values():
                assert operation["summary"]
                for parameter in operation.get("parameters", []):
                    if parameter["in"] == "query":
                        assert parameter.get("description"), (path, parameter["name"])
