import json
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select

from app.models import Prompt, Ranking, Round
from tests.conftest import sign_in, user_factory
from tests.preferences.conftest import load_rankings, make_project, ranking

API = "/api/v1"


@pytest.fixture
def everywhere(app_on_any_database: FastAPI) -> FastAPI:
    return app_on_any_database


@pytest.fixture
def boss(everywhere: FastAPI) -> TestClient:
    return sign_in(everywhere, user_factory(everywhere)("admin"))


@pytest.fixture
def project_id(everywhere: FastAPI) -> str:
    project_id = make_project(everywhere.state.database)
    lines = [
        ranking(prompt=f"p{number}", labeler=labeler, ranks=ranks)
        for number in range(4)
        for labeler, ranks in (("ann", [1, 2, 3]), ("bea", [3, 2, 1]))
    ]
    load_rankings(everywhere.state.database, project_id, lines)
    return project_id


def freeze(boss: TestClient, project_id: str) -> str:
    answer = boss.post(f"{API}/projects/{project_id}/snapshots", json={"name": "First"})
    snapshot_id: str = answer.json()["id"]
    return snapshot_id


def test_erasing_answers_with_counts_and_removes_the_downloads(
    everywhere: FastAPI, boss: TestClient, project_id: str, tmp_path: Path
) -> None:
    snapshot_id = freeze(boss, project_id)
    path = f"{API}/snapshots/{snapshot_id}/pairs"
    before = boss.get(path)
    assert b'"ann"' in before.content
    exports = tmp_path / "data" / "exports"
    assert len(list(exports.glob(f"{snapshot_id}-*"))) == 1
    erase = f"{API}/projects/{project_id}/labelers/erase"
    wrong = boss.post(erase, json={"labeler": "ann", "confirm": "anna"})
    assert (wrong.status_code, list(wrong.json()["fields"])) == (422, ["confirm"])
    done = boss.post(erase, json={"labeler": "ann", "confirm": " ann "})
    assert done.status_code == 200
    body = done.json()
    assert body["pseudonym"].startswith("erased-")
    assert {**body, "pseudonym": ""} == {
        "rankings": 4,
        "deleted": 0,
        "tombstones": 4,
        "pseudonym": "",
        "assignments": 0,
        "reopened_tasks": 0,
        "snapshots": [snapshot_id],
    }
    assert list(exports.glob(f"{snapshot_id}-*")) == []
    after = boss.get(path, headers={"If-None-Match": before.headers["ETag"]})
    assert after.status_code == 200
    assert len(after.content.splitlines()) == 12
    assert b'"ann"' not in after.content
    snapshot = boss.get(f"{API}/snapshots/{snapshot_id}").json()
    assert (snapshot["erased_rankings"], snapshot["rankings"]) == (4, 8)
    again = boss.post(erase, json={"labeler": "ann", "confirm": "ann"})
    assert (again.status_code, again.json()["code"]) == (404, "labeler_not_found")


def test_what_is_frozen_is_held_until_its_snapshot_is_deleted(
    everywhere: FastAPI, boss: TestClient, project_id: str
) -> None:
    snapshot_id = freeze(boss, project_id)
    with everywhere.state.database.read() as session:
        ids = {
            "rankings": session.scalars(select(Ranking.id)).first(),
            "prompts": session.scalars(select(Prompt.id)).first(),
            "rounds": session.scalars(select(Round.id)).first(),
        }
    for kind, one in ids.items():
        answer = boss.delete(f"{API}/{kind}/{one}")
        assert (answer.status_code, answer.json()["code"]) == (409, "held_by_snapshot")
        assert "“First”" in answer.json()["detail"]
    assert boss.delete(f"{API}/snapshots/{snapshot_id}").status_code == 204
    for kind, one in ids.items():
        answer = boss.delete(f"{API}/{kind}/{one}")
        assert (answer.status_code, answer.content) == (204, b"")
        assert boss.delete(f"{API}/{kind}/{one}").status_code == 404


@pytest.mark.parametrize("role", ["labeler", "researcher"])
def test_only_admins_take_data_away(
    everywhere: FastAPI, boss: TestClient, project_id: str, role: str
) -> None:
    snapshot_id = freeze(boss, project_id)
    client = sign_in(everywhere, user_factory(everywhere)(role))
    with everywhere.state.database.read() as session:
        ranking_id = session.scalars(select(Ranking.id)).first()
    body = {"labeler": "ann", "confirm": "ann"}
    answers = [
        client.post(f"{API}/projects/{project_id}/labelers/erase", json=body),
        client.delete(f"{API}/snapshots/{snapshot_id}"),
        client.delete(f"{API}/rankings/{ranking_id}"),
    ]
    assert {answer.status_code for answer in answers} == {403}
    assert len(boss.get(f"{API}/projects/{project_id}/rankings").content.splitlines()) == 8


def test_a_round_trip_of_what_is_left_does_not_bring_the_erased_back(
    everywhere: FastAPI, boss: TestClient, project_id: str
) -> None:
    freeze(boss, project_id)
    boss.post(
        f"{API}/projects/{project_id}/labelers/erase", json={"labeler": "ann", "confirm": "ann"}
    )
    lines = boss.get(f"{API}/projects/{project_id}/rankings").content
    assert {json.loads(line)["labeler"] for line in lines.splitlines()} == {"bea"}
    answer = boss.post(
        f"{API}/projects/{project_id}/rankings",
        content=lines,
        headers={"Content-Type": "application/x-ndjson"},
    )
    assert (answer.json()["created"], answer.json()["duplicates"]) == (0, 4)
