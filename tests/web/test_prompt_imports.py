"""Prompts brought in from the browser: nothing is stored before it was looked at."""

import json
import re

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response

from app.models import Project, Role
from app.projects.service import archive_project
from app.settings import Settings
from tests.conftest import SHARED, sign_in, user_factory
from tests.web.imports import add_project, check_refused, counts, import_all

PROMPTS = SHARED / "data" / "prompts"


@pytest.fixture
def project_id(app: FastAPI) -> str:
    return add_project(app)


def upload(client: TestClient, project_id: str, name: str, content: bytes) -> Response:
    path = f"/projects/{project_id}/prompts/upload"
    return client.post(path, files={"file": (name, content)})


def paste(client: TestClient, project_id: str, text: str, layout: str = "lines") -> Response:
    path = f"/projects/{project_id}/prompts/paste"
    return client.post(path, data={"text": text, "layout": layout})


def stored(client: TestClient, project_id: str) -> list[dict[str, object]]:
    items: list[dict[str, object]] = []
    cursor = ""
    while cursor is not None:
        path = f"/api/v1/projects/{project_id}/prompts"
        page = client.get(path, params={"limit": 100, "cursor": cursor}).json()
        items += page["items"]
        cursor = page["next_cursor"]
    return items


def test_pasted_prompts_are_shown_before_they_are_stored(
    admin_client: TestClient, project_id: str
) -> None:
    answer = paste(admin_client, project_id, "One <b>?\n\nTwo **x**?\n\nOne <b>?")
    preview = admin_client.get(answer.headers["location"]).text
    assert "All 3 rows: <strong>2 new prompts</strong>, 1 the same as one above" in preview
    assert "One &lt;b&gt;?" in preview
    assert "<strong>x</strong>" in preview, "as labelers see it"
    assert "same as line 1" in preview
    assert stored(admin_client, project_id) == []
    assert counts(import_all(admin_client, answer)) == [2, 1, 0]
    assert [item["text"] for item in stored(admin_client, project_id)] == ["One <b>?", "Two **x**?"]
    again = paste(admin_client, project_id, "Two **x**?")
    assert "1 in this project already" in admin_client.get(again.headers["location"]).text


def test_paragraphs_and_lines_of_json_may_be_pasted(
    admin_client: TestClient, project_id: str
) -> None:
    import_all(admin_client, paste(admin_client, project_id, "a\r\nb\r\n\r\nc", "paragraphs"))
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    import_all(
        admin_client, paste(admin_client, project_id, json.dumps({"messages": chat}), "jsonl")
    )
    items = stored(admin_client, project_id)
    assert [item["text"] for item in items] == ["a\nb", "c", None]
    assert items[2]["messages"] == chat


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("self_instruct_seed_tasks", 175),
        ("user_oriented_instructions", 252),
        ("vicuna_bench", 80),
    ],
)
def test_published_files_import_from_the_page_unedited(
    admin_client: TestClient, project_id: str, name: str, count: int
) -> None:
    path = PROMPTS / f"{name}.jsonl"
    if not path.exists():
        pytest.skip(f"{path} is not on this machine")
    answer = upload(admin_client, project_id, path.name, path.read_bytes())
    preview = admin_client.get(answer.headers["location"]).text
    assert "bad line" not in preview
    assert f"{min(count, 100)} new prompts" in preview
    assert counts(import_all(admin_client, answer)) == [count, 0, 0]
    assert len(stored(admin_client, project_id)) == count


def test_columns_of_any_name_are_chosen_on_the_page(
    admin_client: TestClient, project_id: str
) -> None:
    content = b"frage;nummer;art;notiz\nWarum?;7;kurz, hell;weg\nWozu?;8;kurz;weg\n;9;;\n"
    answer = upload(admin_client, project_id, "fragen.csv", content)
    address = answer.headers["location"]
    first = admin_client.get(address).text
    assert "No column has a name that is known here" in first
    assert "<code>frage</code>" in first
    without = admin_client.post(address, data={})
    assert without.status_code == 422
    assert "Choose the column that holds the prompt" in without.text
    chosen = {
        "column": "frage",
        "reading": "text",
        "external_id": "nummer",
        "tags": "art",
        "dropped": ["notiz"],
    }
    preview = admin_client.get(address, params=chosen).text
    assert "<strong>2 new prompts</strong>" in preview
    assert "1 bad line" in preview
    assert "frage is empty" in preview
    assert '<span class="badge bg-teal-lt">hell</span>' in preview
    assert re.search(r'name="dropped" value="notiz" checked', preview)
    assert stored(admin_client, project_id) == []
    assert counts(import_all(admin_client, answer, **chosen)) == [2, 0, 1]
    one, two = stored(admin_client, project_id)
    assert (one["text"], one["external_id"], one["tags"]) == ("Warum?", "7", ["kurz", "hell"])
    assert (two["tags"], two["metadata"]) == (["kurz"], {})


def test_rows_of_several_kinds_import_together_unless_a_column_was_chosen(
    admin_client: TestClient, project_id: str
) -> None:
    content = b'{"text": "plain"}\n{"prompt": "other"}\n'
    answer = upload(admin_client, project_id, "mixed.jsonl", content)
    as_guessed = {"column": "text", "reading": "text"}
    assert counts(import_all(admin_client, answer, **as_guessed)) == [2, 0, 0]


def test_bad_lines_are_shown_and_may_be_downloaded(
    admin_client: TestClient, project_id: str
) -> None:
    content = b'{"text": "fine"}\n{"text": "<script>"\n{"colour": "<i>"}\n'
    answer = upload(admin_client, project_id, "mine.jsonl", content)
    report = import_all(admin_client, answer)
    assert counts(report) == [1, 0, 2]
    assert "mine.jsonl" in report
    assert "found colour" in report
    link = re.search(r'href="(\S+/rejected\.csv)"', report)
    assert link is not None
    table = admin_client.get(link.group(1))
    assert table.headers["content-disposition"].startswith("attachment")
    lines = table.text.splitlines()
    assert lines[0] == "line,reason"
    assert [line.split(",")[0] for line in lines[1:]] == ["2", "3"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("picture.png", b"x", "cannot be imported"),
        ("table.parquet", b"nothing", "not readable Parquet"),
        ("empty.jsonl", b"", "The file is empty"),
        ("blank.jsonl", b"\n\n", "no row in the file"),
        ("wrong.jsonl", "text".encode("utf-16"), "UTF-16"),
        ("broken.json", b'{"prompts": ', "not JSON"),
    ],
)
def test_file_that_cannot_be_meant_is_refused_on_the_page(
    app: FastAPI, admin_client: TestClient, project_id: str, name: str, content: bytes, said: str
) -> None:
    answer = upload(admin_client, project_id, name, content)
    check_refused(app, answer, said, "prompts-file")


def test_no_file_and_nothing_pasted_say_what_is_missing(
    admin_client: TestClient, project_id: str
) -> None:
    path = f"/projects/{project_id}/prompts/upload"
    nothing = admin_client.post(path, files={"other": ("a.txt", b"x")})
    assert (nothing.status_code, "Choose a file" in nothing.text) == (422, True)
    empty = paste(admin_client, project_id, "  \n")
    assert (empty.status_code, "nothing to import" in empty.text) == (422, True)


def test_too_large_file_is_refused(app: FastAPI, admin_client: TestClient, project_id: str) -> None:
    settings = app.state.settings
    app.state.settings = Settings(
        data_dir=settings.data_dir, database_url=settings.database_url, max_upload_bytes=1000
    )
    assert upload(admin_client, project_id, "a.txt", b"x" * 2000).status_code == 413


def test_upload_is_its_owners_alone(
    app: FastAPI, admin_client: TestClient, researcher_client: TestClient, project_id: str
) -> None:
    address = paste(admin_client, project_id, "Why?").headers["location"]
    other = sign_in(app, user_factory(app)(Role.ADMIN, email="other@example.org"))
    for client, status in ((other, 404), (researcher_client, 403)):
        assert client.get(address).status_code == status
        assert client.post(address).status_code == status
    for strange in ("../../../podium.sqlite3", "0" * 32, "x"):
        assert admin_client.get(f"/projects/{project_id}/imports/{strange}").status_code == 404
    assert "not imported yet" in admin_client.get(f"/projects/{project_id}/prompts/add").text
    assert "not imported yet" not in other.get(f"/projects/{project_id}/prompts/add").text


def test_forgotten_upload_is_gone(admin_client: TestClient, project_id: str) -> None:
    address = paste(admin_client, project_id, "Why?").headers["location"]
    upload_id = address.rpartition("/")[2]
    answer = admin_client.post(f"/projects/{project_id}/imports/{upload_id}/forget")
    assert answer.headers["location"] == f"/projects/{project_id}/prompts/add"
    assert admin_client.get(address).status_code == 404


def test_imported_upload_leads_to_its_report_and_is_not_imported_again(
    admin_client: TestClient, project_id: str
) -> None:
    answer = paste(admin_client, project_id, "Why?")
    import_all(admin_client, answer)
    again = admin_client.get(answer.headers["location"])
    assert again.status_code == 303
    assert counts(import_all(admin_client, answer)) == [1, 0, 0]


def test_archived_project_takes_no_prompts(
    app: FastAPI, admin_client: TestClient, project_id: str
) -> None:
    answer = paste(admin_client, project_id, "Why?")
    with app.state.database.write() as session:
        archive_project(session, session.get_one(Project, project_id))
    assert paste(admin_client, project_id, "x").status_code == 409
    assert admin_client.post(answer.headers["location"]).status_code == 409
