from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.accounts.audit import list_events
from app.preferences.snapshots import create_snapshot
from tests.web.crowd import Person, seed_crowd

ODD = 'a/b?c&d é "x"'
CROWD = [Person(name="ada"), Person(name="ben"), Person(name=ODD, account=False)]


@pytest.fixture
def project_id(app: FastAPI) -> str:
    with app.state.database.write() as session:
        return seed_crowd(session, CROWD, tasks=20, skip_share=0.1).id


def post(client: TestClient, project_id: str, action: str, **body: str) -> tuple[int, Any]:
    answer = client.post(f"/api/v1/projects/{project_id}/labelers/{action}", json=body)
    return answer.status_code, answer.json()


def find(client: TestClient, project_id: str, labeler: str) -> dict[str, Any]:
    answer = client.get(f"/api/v1/projects/{project_id}/labelers")
    assert answer.status_code == 200, answer.text
    return next(one for one in answer.json()["items"] if one["labeler"] == labeler)


def test_labelers_come_with_figures_days_and_weeks(
    admin_client: TestClient, project_id: str
) -> None:
    ada = find(admin_client, project_id, "ada")
    assert ada["rankings"] == sum(ada["days"].values()) > 0
    assert ada["rankings"] == sum(week["rankings"] for week in ada["weeks"])
    assert 0 < ada["agreement"]["low"] <= ada["agreement"]["value"] <= ada["agreement"]["high"] <= 1
    assert ada["skips"] == sum(ada["skip_reasons"].values())
    imported = find(admin_client, project_id, ODD)
    assert imported["user_id"] is None
    assert imported["first_slot"] == {"value": None, "low": None, "high": None, "n": 0}


def test_labelers_come_page_by_page_and_filtered(admin_client: TestClient, project_id: str) -> None:
    path = f"/api/v1/projects/{project_id}/labelers"
    first = admin_client.get(path, params={"limit": 2}).json()
    rest = admin_client.get(path, params={"limit": 2, "cursor": first["next_cursor"]}).json()
    names = [one["labeler"] for one in first["items"] + rest["items"]]
    assert names == sorted([ODD, "ada", "ben"])
    assert rest["next_cursor"] is None
    only = admin_client.get(path, params={"labeler": "ben"}).json()["items"]
    assert [one["labeler"] for one in only] == ["ben"]
    assert admin_client.get(path, params={"round_id": "none"}).status_code == 422


def test_revoking_and_restoring_change_what_counts(
    app: FastAPI, admin_client: TestClient, project_id: str
) -> None:
    with app.state.database.write() as session:
        snapshot_id = create_snapshot(session, None, project_id).id
    before = find(admin_client, project_id, ODD)["rankings"]
    status, done = post(admin_client, project_id, "revoke", labeler=ODD, reason="Another language")
    assert (status, done["rankings"], done["snapshots"]) == (200, before, [snapshot_id])
    after = find(admin_client, project_id, ODD)
    assert (after["rankings"], after["revoked"]) == (0, before)
    assert post(admin_client, project_id, "revoke", labeler=ODD, reason="Again")[1]["rankings"] == 0
    status, restored = post(admin_client, project_id, "restore", labeler=ODD)
    assert (status, restored) == (200, {"labeler": ODD, "rankings": before})
    assert find(admin_client, project_id, ODD)["rankings"] == before
    with app.state.database.read() as session:
        actions = {event.action for event, _ in list_events(session)}
    assert {"labeler.revoke", "labeler.restore"} <= actions


def test_pausing_and_resuming(admin_client: TestClient, project_id: str) -> None:
    status, paused = post(admin_client, project_id, "pause", labeler="ada", reason="Let us talk")
    assert status == 200
    assert paused == {"labeler": "ada", "paused": True, "reason": "Let us talk"}
    assert find(admin_client, project_id, "ada")["paused"]
    assert post(admin_client, project_id, "resume", labeler="ada")[1]["paused"] is False
    assert not find(admin_client, project_id, "ada")["paused"]


@pytest.mark.parametrize("action", ["pause", "revoke"])
@pytest.mark.parametrize("body", [{"labeler": "ada"}, {"labeler": "ada", "reason": "  "}, {}])
def test_a_reason_is_asked_for(
    admin_client: TestClient, project_id: str, action: str, body: dict[str, str]
) -> None:
    status, problem = post(admin_client, project_id, action, **body)
    assert status == 422
    assert problem["fields"]


@pytest.mark.parametrize("action", ["pause", "resume", "revoke", "restore"])
def test_unknown_labelers_and_projects_are_not_found(
    admin_client: TestClient, project_id: str, action: str
) -> None:
    body = {"labeler": "nobody"} | ({"reason": "x"} if action in ("pause", "revoke") else {})
    assert post(admin_client, project_id, action, **body)[0] == 404
    assert post(admin_client, "none", action, **body)[0] == 404


def test_labelers_known_from_imports_alone_cannot_be_paused(
    admin_client: TestClient, project_id: str
) -> None:
    status, problem = post(admin_client, project_id, "pause", labeler=ODD, reason="x")
    assert (status, problem["code"]) == (422, "labeler_without_account")


def test_only_admins_may(
    labeler_client: TestClient, researcher_client: TestClient, project_id: str
) -> None:
    for client in (labeler_client, researcher_client):
        assert client.get(f"/api/v1/projects/{project_id}/labelers").status_code == 403
        for action in ("pause", "revoke"):
            assert post(client, project_id, action, labeler="ada", reason="x")[0] == 403
        for action in ("resume", "restore"):
            assert post(client, project_id, action, labeler="ada")[0] == 403
