import pytest

from app.labeling.revocation import revoke_rankings
from app.models import User
from tests.labeling.factory import make_project, make_tasks


@pytest.fixture
def project_id(app):
    with app.state.database.write() as session:
        project = make_project(session)
        make_tasks(session, project, 3)
        return project.id


@pytest.fixture
def rank_next(labeler_client, project_id):
    def rank(*ranks: int) -> dict:
        task = labeler_client.post(f"/api/v1/projects/{project_id}/assignments").json()
        ids = [completion["id"] for completion in task["completions"]]
        answer = labeler_client.put(
            f"/api/v1/assignments/{task['id']}/ranking",
            json={"ranks": dict(zip(ids, ranks, strict=True)), "active_ms": 1500},
        )
        assert answer.status_code == 200
        return task

    return rank


def test_own_rankings_are_listed_page_by_page(labeler_client, rank_next, project_id):
    tasks = [rank_next(1, 2, 3), rank_next(2, 2, 1), rank_next(3, 2, 1)]
    page = labeler_client.get("/api/v1/me/rankings", params={"limit": 2}).json()
    assert [item["order"] for item in page["items"]] == ["C > B > A", "C > A = B"]
    assert page["items"][0]["assignment_id"] == tasks[2]["id"]
    assert page["items"][0]["active_ms"] == 1500
    assert page["items"][0]["project_id"] == project_id
    rest = labeler_client.get(
        "/api/v1/me/rankings", params={"limit": 2, "cursor": page["next_cursor"]}
    ).json()
    assert [item["order"] for item in rest["items"]] == ["A > B > C"]
    assert rest["next_cursor"] is None
    none = labeler_client.get("/api/v1/me/rankings", params={"project_id": "0" * 32}).json()
    assert none == {"items": [], "next_cursor": None}


def test_an_edit_keeps_the_earlier_revision_and_a_revoked_one_is_marked(
    app, labeler, labeler_client, rank_next, project_id
):
    task = rank_next(1, 2, 3)
    ids = [completion["id"] for completion in task["completions"]]
    labeler_client.put(
        f"/api/v1/assignments/{task['id']}/ranking",
        json={"ranks": dict(zip(ids, (1, 1, 1), strict=True))},
    )
    (item,) = labeler_client.get("/api/v1/me/rankings").json()["items"]
    assert (item["revision"], item["order"], item["revoked_at"]) == (2, "A = B = C", None)
    assert [(one["revision"], one["order"]) for one in item["earlier"]] == [(1, "A > B > C")]
    with app.state.database.write() as session:
        handle = session.get_one(User, labeler.id).handle
        revoke_rankings(session, None, project_id, handle, reason="careless")
    (item,) = labeler_client.get("/api/v1/me/rankings").json()["items"]
    assert item["revoked_at"] is not None
    assert "careless" not in str(item)


def test_nobody_sees_the_rankings_of_others(researcher_client, client, rank_next):
    rank_next(1, 2, 3)
    assert researcher_client.get("/api/v1/me/rankings").json()["items"] == []
    assert client.get("/api/v1/me/rankings").status_code == 401


def test_nothing_tells_gold_calibration_and_repeats_from_others(labeler_client, rank_next):
    rank_next(1, 2, 3)
    (item,) = labeler_client.get("/api/v1/me/rankings").json()["items"]
    assert not {"is_repeat", "purpose", "gold_ranks", "model"} & set(item)
