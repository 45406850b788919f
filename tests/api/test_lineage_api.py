import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from tests.registry.family import Family, make_family


@pytest.fixture
def family(app_on_any_database: FastAPI) -> Family:
    return make_family(app_on_any_database.state.database)


@pytest.fixture
def app(app_on_any_database: FastAPI) -> FastAPI:
    """So that everybody signs in to the app that the family is in."""
    return app_on_any_database


def test_a_ranking_names_all_it_touched(researcher_client: TestClient, family: Family) -> None:
    answer = researcher_client.get(f"/api/v1/rankings/{family.first_revision}/lineage")
    assert answer.status_code == 200
    found = answer.json()
    assert (found["labeler"], found["project_id"]) == ("ann", family.project_id)
    assert [(one["revision"], one["current"]) for one in found["revisions"]] == [
        (1, False),
        (2, True),
    ]
    assert [(one["name"], one["revision"], one["pairs"]) for one in found["snapshots"]] == [
        ("First", 1, 3),
        ("Second", 2, 2),
    ]
    assert found["snapshots"][0]["part"] in ("train", "test")
    assert found["snapshots"][1]["part"] is None
    models = {one["id"]: one for one in found["models"]}
    assert models.keys() == {"judge", "judge-2", "tuned", "child"}
    assert models["tuned"]["reward_model_id"] == "judge"
    assert models["judge-2"]["snapshot_id"] == family.second_snapshot
    assert [(one["id"], one["policies"]) for one in found["rounds"]] == [
        (family.round_id, ["tuned"])
    ]


def test_a_tombstone_tells_when_it_was_erased_and_what_it_touched(
    researcher_client: TestClient, family: Family
) -> None:
    found = researcher_client.get(f"/api/v1/rankings/{family.cyd}/lineage").json()
    assert found["revisions"][0]["erased_at"] is not None
    assert "cyd" not in str(found)
    assert [one["pairs"] for one in found["snapshots"]] == [0]
    assert "tuned" in {one["id"] for one in found["models"]}


def test_a_model_names_its_labelers_page_by_page(
    researcher_client: TestClient, family: Family
) -> None:
    path = "/api/v1/models/child/lineage"
    found = researcher_client.get(path).json()
    assert found["ancestry"]["parent"]["reward_model"]["id"] == "judge"
    assert [one["name"] for one in found["snapshots"]] == ["First"]
    assert found["snapshots"][0]["erased_rankings"] == 1
    assert (found["rankings"], found["pairs"], found["simulated_rankings"]) == (4, 11, 1)
    assert (found["revoked"], found["erased"]["rankings"]) == (1, 1)
    assert found["labelers"]["next_cursor"] is None
    names, cursor = [], ""
    while cursor is not None:
        page = researcher_client.get(path, params={"limit": 2, "cursor": cursor}).json()["labelers"]
        names += [one["labeler"] for one in page["items"]]
        cursor = page["next_cursor"]
    assert names == [one["labeler"] for one in found["labelers"]["items"]] == ["ann", "bob", "bot"]
    assert found["labelers"]["items"][0]["guidelines_versions"] == {"1": 2}
    assert researcher_client.get("/api/v1/models/alone/lineage").json()["erased"] is None


def test_lineage_is_for_researchers_and_admins(
    admin_client: TestClient, labeler_client: TestClient, client: TestClient, family: Family
) -> None:
    for path in (f"rankings/{family.bob}", "models/tuned"):
        assert admin_client.get(f"/api/v1/{path}/lineage").status_code == 200
        assert labeler_client.get(f"/api/v1/{path}/lineage").json()["code"] == "forbidden"
        assert client.get(f"/api/v1/{path}/lineage").json()["code"] == "unauthenticated"
    for path in ("rankings/none", "models/none"):
        missing = admin_client.get(f"/api/v1/{path}/lineage")
        assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
