"""Rankings of every format over REST, by name or detected."""

import orjson
import pytest
from fastapi.testclient import TestClient

from tests.preferences.foreign.examples import EXAMPLES

LINES = "application/x-ndjson"


@pytest.fixture
def path(admin_client: TestClient) -> str:
    project_id = admin_client.post("/api/v1/projects", json={"name": "P"}).json()["id"]
    return f"/api/v1/projects/{project_id}/rankings"


def test_the_answer_says_which_format_was_taken(admin_client: TestClient, path: str) -> None:
    for name in sorted(set(EXAMPLES) - {"trl-unpaired"}):
        answer = admin_client.post(
            path, content=orjson.dumps(EXAMPLES[name]), headers={"Content-Type": LINES}
        )
        assert answer.status_code == 200, answer.text
        report = answer.json()
        assert (report["format"], report["rejected"]) == (name, [])
        # Some examples say the same: then they are one ranking.
        assert report["created"] + report["duplicates"] >= 1


def test_a_named_format_is_taken_and_an_unknown_one_refused(
    admin_client: TestClient, path: str
) -> None:
    body = orjson.dumps(EXAMPLES["podium-pairs"])
    answer = admin_client.post(f"{path}?format=trl", content=body, headers={"Content-Type": LINES})
    assert (answer.json()["format"], answer.json()["created"]) == ("trl", 1)
    for query, content in (("?format=xml", body), ("", b'{"text": "a"}')):
        answer = admin_client.post(path + query, content=content, headers={"Content-Type": LINES})
        assert (answer.status_code, answer.json()["code"]) == (422, "unknown_format")
        assert "helpsteer3" in answer.json()["fields"]["format"]


def test_a_csv_file_and_a_list_of_tasks_are_taken(admin_client: TestClient, path: str) -> None:
    csv = b"prompt,chosen,rejected\nWhy?,yes,no\nWhy?,yes,\n"
    report = admin_client.post(path, content=csv, headers={"Content-Type": "text/csv"}).json()
    assert (report["format"], report["created"]) == ("trl", 1)
    assert report["rejected"] == [{"line": 3, "reason": "rejected is missing"}]
    listed = admin_client.post(path, json=[EXAMPLES["label-studio"]])
    assert (listed.json()["format"], listed.json()["created"]) == ("label-studio", 1)


def test_a_body_without_a_row_has_no_format(admin_client: TestClient, path: str) -> None:
    report = admin_client.post(path, content=b"{", headers={"Content-Type": LINES}).json()
    assert (report["format"], report["created"], report["rejected_total"]) == (None, 0, 1)
