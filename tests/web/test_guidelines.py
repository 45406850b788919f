import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.projects.service import create_project, update_project


@pytest.fixture
def project_id(app: FastAPI, admin) -> str:
    with app.state.database.write() as session:
        project = create_project(session, admin, name="P", guidelines="Be **kind**.\nBe short.")
        update_project(
            session, admin, project, guidelines="Be **kind**.\n<script>alert(1)</script>"
        )
        return project.id


def test_everyone_who_may_rank_reads_every_version(
    project_id: str, labeler_client: TestClient
) -> None:
    page = labeler_client.get(f"/projects/{project_id}/guidelines")
    assert page.status_code == 200
    assert page.text.index("Version 2") < page.text.index("Version 1</h2>")
    assert "<strong>kind</strong>" in page.text
    assert '<span class="visually-hidden">Removed: </span>' in page.text
    assert "Be short." in page.text
    assert "<script>alert" not in page.text
    assert "Ada Admin" not in page.text
    assert "rankings</p>" not in page.text


def test_admins_see_by_whom_and_how_many_rankings(
    project_id: str, admin_client: TestClient
) -> None:
    page = admin_client.get(f"/projects/{project_id}/guidelines").text
    assert page.count("Ada Admin") >= 2
    assert page.count("0 rankings") == 2


def test_the_versions_of_a_restricted_project_are_for_its_members(
    app: FastAPI, project_id: str, admin_client: TestClient, labeler_client: TestClient
) -> None:
    admin_client.patch(f"/api/v1/projects/{project_id}", json={"restricted": True})
    assert labeler_client.get(f"/projects/{project_id}/guidelines").status_code == 404


def test_rest_lists_the_versions_a_page_at_a_time(
    project_id: str,
    admin_client: TestClient,
    researcher_client: TestClient,
    labeler_client: TestClient,
) -> None:
    path = f"/api/v1/projects/{project_id}/guidelines"
    first = admin_client.get(path, params={"limit": 1}).json()
    assert [item["version"] for item in first["items"]] == [2]
    assert first["items"][0]["created_by"] == "Ada Admin"
    rest = researcher_client.get(path, params={"cursor": first["next_cursor"]}).json()
    assert [(item["version"], item["text"]) for item in rest["items"]] == [
        (1, "Be **kind**.\nBe short.")
    ]
    assert rest["items"][0]["created_by"] is None
    assert rest["next_cursor"] is None
    assert labeler_client.get(path).status_code == 403
    assert admin_client.get(path, params={"cursor": "x"}).status_code == 422
