import pytest

from app.models import Completion
from tests.conftest import sign_in
from tests.labeling.factory import make_project, make_tasks


@pytest.fixture
def project_id(app):
    with app.state.database.write() as session:
        project = make_project(session)
        make_tasks(session, project, 2)
        return project.id


@pytest.fixture
def leased(labeler_client, project_id):
    response = labeler_client.post(f"/api/v1/projects/{project_id}/assignments")
    assert response.status_code == 201, response.text
    return response.json()


def test_a_lease_is_the_prompt_and_anonymous_completions(leased):
    assert set(leased) == {"id", "task_id", "prompt", "completions", "lease_expires_at"}
    assert leased["prompt"].startswith("Question")
    assert {completion["text"] for completion in leased["completions"]} == {
        "first",
        "second",
        "third",
    }
    assert all(set(completion) == {"id", "text"} for completion in leased["completions"])
    assert leased["lease_expires_at"].endswith("Z")


def test_a_chat_prompt_is_its_messages(app, labeler_client):
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    with app.state.database.write() as session:
        project = make_project(session)
        make_tasks(session, project, 1, messages=messages)
        project_id = project.id
    response = labeler_client.post(f"/api/v1/projects/{project_id}/assignments")
    assert response.json()["prompt"] == messages


def test_ranking_is_idempotent_and_brings_the_next_task(labeler_client, project_id, leased):
    ranks = {completion["id"]: 1 for completion in leased["completions"]}
    url = f"/api/v1/assignments/{leased['id']}/ranking"
    first = labeler_client.put(url, json={"ranks": ranks, "active_ms": 1200})
    assert first.status_code == 200, first.text
    assert first.json()["ranks"] == ranks
    assert labeler_client.put(url, json={"ranks": ranks}).json()["id"] == first.json()["id"]
    following = labeler_client.post(f"/api/v1/projects/{project_id}/assignments").json()
    assert following["task_id"] != leased["task_id"]


def test_nothing_waiting_is_204(labeler_client, project_id):
    for _ in range(2):
        leased = labeler_client.post(f"/api/v1/projects/{project_id}/assignments").json()
        ranks = {completion["id"]: 1 for completion in leased["completions"]}
        labeler_client.put(f"/api/v1/assignments/{leased['id']}/ranking", json={"ranks": ranks})
    response = labeler_client.post(f"/api/v1/projects/{project_id}/assignments")
    assert (response.status_code, response.content) == (204, b"")


@pytest.mark.parametrize("rank", [0, "first", 1.5, True, None])
def test_a_wrong_rank_is_422_and_named(labeler_client, leased, rank):
    ids = [completion["id"] for completion in leased["completions"]]
    response = labeler_client.put(
        f"/api/v1/assignments/{leased['id']}/ranking",
        json={"ranks": {ids[0]: rank, ids[1]: 2, ids[2]: 3}},
    )
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert list(response.json()["fields"]) == [f"ranks.{ids[0]}"]


def test_missing_and_foreign_completions_are_422_and_named(labeler_client, leased):
    ids = [completion["id"] for completion in leased["completions"]]
    response = labeler_client.put(
        f"/api/v1/assignments/{leased['id']}/ranking",
        json={"ranks": {ids[0]: 1, ids[1]: 2, "elsewhere": 3}},
    )
    assert response.status_code == 422
    assert set(response.json()["fields"]) == {"ranks.elsewhere", f"ranks.{ids[2]}"}


@pytest.mark.parametrize("body", [{}, {"ranks": []}, {"ranks": {}, "extra": 1}, []])
def test_a_malformed_body_is_422(labeler_client, leased, body):
    response = labeler_client.put(f"/api/v1/assignments/{leased['id']}/ranking", json=body)
    assert response.status_code == 422
    assert response.json()["fields"]


def test_somebody_elses_assignment_is_404(app, make_user, leased):
    stranger = sign_in(app, make_user())
    ranks = {completion["id"]: 1 for completion in leased["completions"]}
    address = f"/api/v1/assignments/{leased['id']}"
    assert stranger.get(address).status_code == 404
    assert stranger.put(f"{address}/ranking", json={"ranks": ranks}).status_code == 404
    assert stranger.post(f"{address}/skip", json={"reason": "no"}).status_code == 404
    assert stranger.post(f"{address}/renew").status_code == 404
    assert stranger.post(f"{address}/return").status_code == 404


def test_a_skipped_task_can_no_longer_be_ranked(labeler_client, leased):
    address = f"/api/v1/assignments/{leased['id']}"
    assert labeler_client.post(f"{address}/skip", json={"reason": ""}).status_code == 422
    skipped = labeler_client.post(f"{address}/skip", json={"reason": "not my field"})
    assert skipped.json()["state"] == "skipped"
    ranks = {completion["id"]: 1 for completion in leased["completions"]}
    response = labeler_client.put(f"{address}/ranking", json={"ranks": ranks})
    assert (response.status_code, response.json()["code"]) == (409, "lease_lost")


def test_a_lease_is_renewed_and_returned(labeler_client, leased):
    address = f"/api/v1/assignments/{leased['id']}"
    renewed = labeler_client.post(f"{address}/renew").json()
    assert renewed["lease_expires_at"] >= leased["lease_expires_at"]
    assert labeler_client.post(f"{address}/return").json()["state"] == "returned"


def test_nobody_signed_in_is_401(client, project_id):
    assert (
        client.post(
            f"/api/v1/projects/{project_id}/assignments", headers={"Authorization": "Bearer x"}
        ).status_code
        == 401
    )


def test_nothing_sent_names_a_policy(app, labeler_client, project_id):
    with app.state.database.write() as session:
        for completion in session.query(Completion):
            completion.model_label = "secret-policy-v7"
    response = labeler_client.post(f"/api/v1/projects/{project_id}/assignments")
    assert "secret-policy" not in response.text
    assert "model" not in response.text
