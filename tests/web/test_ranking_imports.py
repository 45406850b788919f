"""Rankings made elsewhere, brought in from the browser: how they are read is shown first."""

import json
import re
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response
from sqlalchemy import func, select

from app.models import Ranking, Task
from app.preferences.filters import PairFilters
from app.preferences.foreign import FORMATS
from app.preferences.queries import iter_pairs
from tests.conftest import SHARED
from tests.web.imports import add_project, check_refused, counts, import_all

OASST = SHARED / "data" / "oasst_rankings.jsonl"


@pytest.fixture
def project_id(app: FastAPI) -> str:
    return add_project(app)


def ranking(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "prompt": f"Question {number}?",
        "completions": [{"text": "a **good** one", "model": "m"}, {"text": "b"}, {"text": "c"}],
        "ranks": [1, 2, 2],
        "labeler": "a study",
        **fields,
    }


def upload(client: TestClient, project_id: str, name: str, rows: list[Any] | bytes) -> Response:
    content = rows if isinstance(rows, bytes) else "\n".join(map(json.dumps, rows)).encode()
    path = f"/projects/{project_id}/rankings/import"
    return client.post(path, files={"file": (name, content)})


def count_rankings(app: FastAPI) -> int:
    with app.state.database.read() as session:
        return session.scalar(select(func.count(Ranking.id))) or 0


def test_form_says_how_the_ranks_of_every_format_read(
    admin_client: TestClient, project_id: str
) -> None:
    page = admin_client.get(f"/projects/{project_id}/rankings/import").text
    for one in FORMATS:
        assert one.title in page
    assert page.count("<dt>") >= len(FORMATS)


def test_rankings_are_shown_as_read_before_they_are_stored(
    app: FastAPI, admin_client: TestClient, project_id: str
) -> None:
    rows = [ranking(1), ranking(2, ranks=[3, None, 1], labeler=None), ranking(3, ranks=["a"])]
    answer = upload(admin_client, project_id, "mine.jsonl", rows)
    assert answer.status_code == 303
    preview = admin_client.get(answer.headers["location"]).text
    assert "(told by the rows)" in preview
    assert "a study" in preview
    assert "no labeler named" in preview
    assert "<strong>good</strong>" in preview
    first, second = preview.split("shown-ranking")[1:3]
    assert re.findall(r"Rank </span>(\d)", first) == ["1", "2", "2"]
    assert first.count(">tie<") == 2
    assert "2 pairs" in first
    assert "Not ranked" in second
    assert "1 pair<" in second
    assert count_rankings(app) == 0
    report = import_all(admin_client, answer, format_name="")
    assert counts(report) == [2, 0, 1]
    assert "Read as" in report
    assert f"/projects/{project_id}/pairs" in report
    assert count_rankings(app) == 2


@pytest.mark.skipif(not OASST.exists(), reason=f"{OASST} is not on this machine")
def test_open_assistant_trees_import_as_212_tasks_and_754_pairs(
    app: FastAPI, admin_client: TestClient, project_id: str
) -> None:
    answer = upload(admin_client, project_id, OASST.name, OASST.read_bytes())
    preview = admin_client.get(answer.headers["location"]).text
    assert "Rank 0 is best" in preview
    assert counts(import_all(admin_client, answer)) == [212, 0, 0]
    with app.state.database.read() as session:
        assert session.scalar(select(func.count(Task.id))) == 212
        assert sum(1 for _ in iter_pairs(session, project_id, PairFilters())) == 754
    again = upload(admin_client, project_id, OASST.name, OASST.read_bytes())
    assert counts(import_all(admin_client, again)) == [0, 212, 0]


def test_file_of_no_known_format_may_be_read_as_one_by_choice(
    app: FastAPI, admin_client: TestClient, project_id: str
) -> None:
    answer = upload(admin_client, project_id, "strange.jsonl", [{"question": "Why?"}])
    address = answer.headers["location"]
    page = admin_client.get(address).text
    assert "Format not known" in page
    assert "Found: question" in page
    chosen = admin_client.get(address, params={"format_name": "podium"}).text
    assert "None of the first rows is a ranking" in chosen
    assert "prompt is missing" in chosen
    refused = admin_client.post(address, data={"format_name": ""})
    assert refused.status_code == 422
    assert admin_client.post(address, data={"format_name": "nonsense"}).status_code == 422
    assert count_rankings(app) == 0


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("prompts.txt", b"x", "cannot be imported here"),
        ("table.parquet", b"nothing", "not readable Parquet"),
        ("empty.jsonl", b"", "The file is empty"),
        ("wrong.jsonl", "text".encode("utf-16"), "UTF-16"),
        ("broken.json", b'{"rankings": ', "not JSON"),
    ],
)
def test_file_that_cannot_be_meant_is_refused_on_the_page(
    app: FastAPI, admin_client: TestClient, project_id: str, name: str, content: bytes, said: str
) -> None:
    answer = upload(admin_client, project_id, name, content)
    check_refused(app, answer, said, "rankings-file")


def test_only_admins_import_rankings(
    researcher_client: TestClient, labeler_client: TestClient, project_id: str
) -> None:
    for client in (researcher_client, labeler_client):
        assert client.get(f"/projects/{project_id}/rankings/import").status_code == 403
        assert upload(client, project_id, "a.jsonl", [ranking(1)]).status_code == 403
