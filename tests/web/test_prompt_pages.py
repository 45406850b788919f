import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.models import Project
from app.projects.messages import plain_messages
from app.projects.prompts import add_prompt


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


def test_prompts_are_found_by_words_tag_and_metadata(
    app: FastAPI, admin_client: TestClient, project_id: str
) -> None:
    base = f"/projects/{project_id}/prompts"
    with app.state.database.write() as session:
        project = session.get_one(Project, project_id)
        for text, tags, metadata in (
            ("One <b>?", ["short", "a & b"], {"level": 2, "topic": "sky"}),
            ("Two?", ["short"], {"level": 3}),
        ):
            add_prompt(session, project, plain_messages(text), metadata=metadata, tags=tags)
    listed = admin_client.get(base).text
    assert "2 prompts" in listed
    assert "One &lt;b&gt;?" in listed
    assert '<option value="short">short (2)</option>' in listed
    assert 'href="?tag=a+%26+b"' in listed
    assert 'href="?metadata=level%3D2"' in listed
    for filters, found in (
        ({"query": "two"}, "Two?"),
        ({"tag": "a & b"}, "One"),
        ({"metadata": "level=3"}, "Two?"),
        ({"query": "one", "tag": "short", "metadata": "topic=sky"}, "One"),
    ):
        page = admin_client.get(base, params=filters).text
        assert "1 of 2 prompts" in page
        assert found in page.split("prompt-list")[1]
    assert "No prompt is like that" in admin_client.get(base, params={"query": "xyz"}).text
    wrong = admin_client.get(base, params={"metadata": "level"})
    assert wrong.status_code == 422
    assert "key=value, such as" in wrong.text


def test_long_lists_come_in_pages(app: FastAPI, admin_client: TestClient, project_id: str) -> None:
    base = f"/projects/{project_id}/prompts"
    with app.state.database.write() as session:
        project = session.get_one(Project, project_id)
        for n in range(120):
            add_prompt(session, project, plain_messages(f"prompt {n}"), tags=["x"])
    first, last = admin_client.get(base).text, admin_client.get(f"{base}?page=99").text
    assert "Page 1 of 3" in first
    assert 'rel="next" href="?page=2"' in first
    assert "Page 3 of 3" in last
    assert "prompt 119" in last

    assert 'rel="next" href="?tag=x&page=2"' in admin_client.get(f"{base}?tag=x").text.replace(
        "&amp;", "&"
    )
