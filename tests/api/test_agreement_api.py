import json

import orjson
import pytest
from fastapi.testclient import TestClient

from tests.preferences.conftest import ranking

FIGURES = ("pairwise_agreement", "kendall_tau_b", "kendall_w", "krippendorff_alpha")


@pytest.fixture
def project_id(admin_client: TestClient) -> str:
    project_id = str(admin_client.post("/api/v1/projects", json={"name": "P"}).json()["id"])
    lines = [
        ranking(prompt=prompt, ranks=ranks, labeler=labeler, simulated=labeler == "rule")
        for prompt in ("Why?", "How?")
        for labeler, ranks in (("ann", [2, 1, 3]), ("bob", [2, 1, 3]), ("rule", [3, 1, 2]))
    ]
    answer = admin_client.post(
        f"/api/v1/projects/{project_id}/rankings",
        content=b"\n".join(orjson.dumps(line) for line in lines),
        headers={"Content-Type": "application/x-ndjson"},
    )
    assert answer.json()["created"] == 6
    return project_id


def test_agreement_has_every_figure_with_interval_and_n(
    admin_client: TestClient, project_id: str
) -> None:
    path = f"/api/v1/projects/{project_id}/agreement"
    answer = admin_client.get(path)
    assert answer.status_code == 200, answer.text
    measured = answer.json()
    counts = {name: measured[name] for name in ("tasks", "labelers", "rankings")}
    assert counts == {"tasks": 2, "labelers": 3, "rankings": 6}
    assert measured["simulated_rankings"] == 2
    # Ann and Bob agree on all 3 pairs of a task, the rule with either on 2 of 3.
    share = measured["pairwise_agreement"]
    assert (share["value"], share["n"]) == (pytest.approx(14 / 18), 18)
    assert share["low"] == share["high"] == share["value"]
    for name in FIGURES:
        assert measured[name].keys() == {"value", "low", "high", "n"}
    pairs = measured["labeler_pairs"]
    assert [(one["first"], one["second"], one["tasks"]) for one in pairs] == [
        ("ann", "bob", 2),
        ("ann", "rule", 2),
        ("bob", "rule", 2),
    ]
    assert pairs[0]["cohen_kappa"]["value"] == 1
    assert pairs[1]["kendall_tau_b"]["value"] == pytest.approx(1 / 3)
    assert measured["filters"] == {}

    people = admin_client.get(path, params={"simulated": False}).json()
    assert (people["rankings"], people["simulated_rankings"]) == (4, 0)
    assert all(people[name]["value"] == 1 for name in FIGURES)
    assert people["filters"] == {"simulated": False}


def test_agreement_of_nothing_is_null_and_not_zero(admin_client: TestClient) -> None:
    project_id = admin_client.post("/api/v1/projects", json={"name": "New"}).json()["id"]
    measured = admin_client.get(f"/api/v1/projects/{project_id}/agreement").json()
    for name in FIGURES:
        assert measured[name] == {"value": None, "low": None, "high": None, "n": 0}
    assert measured["labeler_pairs"] == []


def test_agreement_is_for_admins_and_consensus_for_researchers_too(
    researcher_client: TestClient, labeler_client: TestClient, client: TestClient, project_id: str
) -> None:
    agreement = f"/api/v1/projects/{project_id}/agreement"
    consensus = f"/api/v1/projects/{project_id}/consensus"
    assert client.get(agreement).status_code == 401
    assert labeler_client.get(agreement).status_code == 403
    assert researcher_client.get(agreement).status_code == 403
    assert labeler_client.get(consensus).status_code == 403
    assert researcher_client.get(consensus).status_code == 200


def test_wrong_filters_methods_and_projects_are_named(
    admin_client: TestClient, project_id: str
) -> None:
    path = f"/api/v1/projects/{project_id}"
    for query in ({"round_id": "no such"}, {"nonsense": 1}):
        answer = admin_client.get(f"{path}/agreement", params=query)
        assert answer.status_code == 422
        assert query.keys() == answer.json()["fields"].keys()
    answer = admin_client.get(f"{path}/consensus", params={"method": "mean"})
    assert answer.status_code == 422
    assert "bradley-terry" in answer.json()["fields"]["method"]
    for end in ("agreement", "consensus"):
        assert admin_client.get(f"/api/v1/projects/none/{end}").status_code == 404


@pytest.mark.parametrize("method", [None, "majority", "borda", "bradley-terry"])
def test_consensus_streams_one_ranking_a_task(
    researcher_client: TestClient, project_id: str, method: str | None
) -> None:
    path = f"/api/v1/projects/{project_id}/consensus"
    answer = researcher_client.get(path, params={"method": method} if method else {})
    assert answer.headers["content-type"] == "application/x-ndjson"
    rows = [json.loads(line) for line in answer.text.splitlines()]
    assert len(rows) == 2
    for row in rows:
        assert row["labeler"] == f"consensus-{method or 'majority'}"
        assert row["ranks"] == [2, 1, 3]
        assert [item["text"] for item in row["completions"]] == ["a", "b", "c"]
        assert len(row["scores"]) == 3
        assert (row["labelers"], row["simulated"]) == (3, True)
        assert row["agreement"] == pytest.approx(7 / 9)
    exported = json.loads(
        researcher_client.get(f"/api/v1/projects/{project_id}/rankings").text.splitlines()[0]
    )
    assert exported.keys() <= rows[0].keys()
    one = researcher_client.get(path, params={"labeler": "rule"}).text.splitlines()
    assert json.loads(one[0])["ranks"] == [3, 1, 2]
