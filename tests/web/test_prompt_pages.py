import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.models import Project
from app.projects.service import archive_project
from app.settings import Settings


@pytest.fixture
def project_id(app: FastAPI) -> str:
    with app.state.database.write() as session:
        project = Project(name="Answers")
        session.add(project)
        session.flush()
        return project.id


def test_empty_project_says_what_a_prompt_is_and_how_to_add_one(
    admin_client: TestClient, researcher_client: TestClient, project_id: str
) -> None:
    page = admin_client.get(f"/projects/{project_id}/prompts")
    assert page.status_code == 200
    assert "No prompts yet" in page.text
    assert f"/projects/{project_id}/prompts/add" in page.text
    assert "An admin adds the first ones" in researcher_client.get(page.url.path).text


def test_pasted_prompts_are_reported_listed_and_found(
    admin_client: TestClient, project_id: str
) -> None:
    base = f"/projects/{project_id}/prompts"
    answer = admin_client.post(
        f"{base}/paste", data={"text": "One <b>?\n\nTwo?\n\nOne <b>?", "layout": "lines"}
    )
    assert answer.status_code == 200
    assert "<dt>Created</dt><dd>2</dd>" in answer.text
    assert "<dt>Duplicates</dt><dd>1</dd>" in answer.text
    listed = admin_client.get(base).text
    assert "2 prompts" in listed
    assert "One &lt;b&gt;?" in listed
    found = admin_client.get(base, params={"query": "two"}).text
    assert "1 of 2 prompts" in found
    assert "One" not in found.split("prompt-list")[1]
    assert "No prompt holds these words" in admin_client.get(base, params={"query": "xyz"}).text


def test_paragraphs_may_be_prompts_of_several_lines(
    admin_client: TestClient, project_id: str
) -> None:
    admin_client.post(
        f"/projects/{project_id}/prompts/paste",
        data={"text": "a\r\nb\r\n\r\nc", "layout": "paragraphs"},
    )
    items = admin_client.get(f"/api/v1/projects/{project_id}/prompts").json()["items"]
    assert [item["text"] for item in items] == ["a\nb", "c"]


def test_bad_lines_of_a_file_are_shown_with_their_reason(
    admin_client: TestClient, project_id: str
) -> None:
    content = b'{"text": "fine"}\n{"text": "<script>"\n{"colour": "<i>"}\n'
    answer = admin_client.post(
        f"/projects/{project_id}/prompts/upload", files={"file": ("mine.jsonl", content)}
    )
    assert answer.status_code == 200
    assert "<dt>Rejected</dt><dd>2</dd>" in answer.text
    assert "mine.jsonl" in answer.text
    assert "broken JSON" in answer.text
    assert "found colour" in answer.text


def test_file_that_cannot_be_meant_says_what_would_be(
    admin_client: TestClient, project_id: str
) -> None:
    path = f"/projects/{project_id}/prompts/upload"
    for name, content, said in (
        ("picture.png", b"x", "cannot be imported"),
        ("table.csv", b"a,b\n1,2\n", "Found: a, b"),
        ("table.parquet", b"nothing", "not readable Parquet"),
    ):
        answer = admin_client.post(path, files={"file": (name, content)})
        assert answer.status_code == 422
        assert said in answer.text
    nothing = admin_client.post(path, files={"other": ("a.txt", b"x")})
    assert (nothing.status_code, "Choose a file" in nothing.text) == (422, True)


def test_too_large_file_is_refused(app: FastAPI, admin_client: TestClient, project_id: str) -> None:
    settings = app.state.settings
    app.state.settings = Settings(
        data_dir=settings.data_dir, database_url=settings.database_url, max_upload_bytes=1000
    )
    answer = admin_client.post(
        f"/projects/{project_id}/prompts/upload", files={"file": ("a.txt", b"x" * 2000)}
    )
    assert answer.status_code == 413


def test_only_admins_add_prompts(
    researcher_client: TestClient, labeler_client: TestClient, project_id: str
) -> None:
    base = f"/projects/{project_id}/prompts"
    assert researcher_client.get(base).status_code == 200
    assert labeler_client.get(base).status_code == 403
    assert researcher_client.get(f"{base}/add").status_code == 403
    assert researcher_client.post(f"{base}/paste", data={"text": "x"}).status_code == 403
    upload = researcher_client.post(f"{base}/upload", files={"file": ("a.txt", b"x")})
    assert upload.status_code == 403


def test_long_lists_come_in_pages(admin_client: TestClient, project_id: str) -> None:
    base = f"/projects/{project_id}/prompts"
    admin_client.post(f"{base}/paste", data={"text": "\n".join(f"prompt {n}" for n in range(120))})
    first, last = admin_client.get(base).text, admin_client.get(f"{base}?page=99").text
    assert "Page 1 of 3" in first
    assert 'rel="next" href="?page=2"' in first
    assert "Page 3 of 3" in last
    assert "prompt 119" in last


def test_archived_project_takes_no_prompts(
    app: FastAPI, admin_client: TestClient, project_id: str
) -> None:
    with app.state.database.write() as session:
        archive_project(session, session.get_one(Project, project_id))
    answer = admin_client.post(f"/projects/{project_id}/prompts/paste", data={"text": "x"})
    assert answer.status_code == 409
