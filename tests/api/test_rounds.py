from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.jobs.kinds import generation
from app.jobs.service import finish_job, get_job
from app.models import JobState, Model, User, utc_now
from tests.conftest import make_client, sign_in, user_factory
from tests.projects.rounds_factory import make_model, make_project


@pytest.fixture
def project_id(app: FastAPI) -> str:
    with app.state.database.write() as session:
        make_model(session, "first")
        make_model(session, "second")
        return make_project(session, prompts=3).id


def test_a_round_is_started_watched_and_listed(app_on_any_database: FastAPI) -> None:
    app = app_on_any_database
    with app.state.database.write() as session:
        make_model(session, "first")
        make_model(session, "second")
        project_id = make_project(session, prompts=3).id
    client = sign_in(app, user_factory(app)("admin"))
    body = {
        "policies": ["first", "second"],
        "completions_per_prompt": 4,
        "sampling": {"temperature": 0.5, "max_new_tokens": 8, "seed": 3},
        "labelers_per_task": 2,
        "prompt_limit": 2,
    }
    created = client.post(f"/api/v1/projects/{project_id}/rounds", json=body)
    assert created.status_code == 201
    answer = created.json()
    assert answer["job_id"]
    assert answer["sampling"] == {
        "temperature": 0.5,
        "top_p": 0.95,
        "max_new_tokens": 8,
        "seed": 3,
    }
    seen = client.get(f"/api/v1/rounds/{answer['id']}").json()
    assert seen == answer
    assert seen["state"] == "generating"
    counts = seen["counts"]
    assert (counts["tasks"], counts["completions_wanted"]) == (2, 8)
    assert (counts["rankings_wanted"], counts["rankings_got"]) == (4, 0)
    listed = client.get(f"/api/v1/projects/{project_id}/rounds").json()
    assert [item["id"] for item in listed["items"]] == [answer["id"]]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"policies": []}, "policies"),
        ({"policies": ["nobody"]}, "policies"),
        ({"policies": ["first"], "completions_per_prompt": 10}, "completions_per_prompt"),
        ({"policies": ["first"], "labelers_per_task": 0}, "labelers_per_task"),
        ({"policies": ["first"], "prompt_limit": 0}, "prompt_limit"),
        ({"policies": ["first"], "sampling": {"temperature": 5}}, "sampling.temperature"),
        ({"policies": ["first"], "sampling": {"temperature": 0}}, "sampling.temperature"),
        ({"policies": ["first"], "surprise": 1}, "surprise"),
    ],
)
def test_a_bad_round_is_refused_naming_the_field(
    admin_client: TestClient, project_id: str, body: dict[str, Any], field: str
) -> None:
    answer = admin_client.post(f"/api/v1/projects/{project_id}/rounds", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert field in answer.json()["fields"]


def test_tasks_made_elsewhere_become_a_round(admin_client: TestClient, project_id: str) -> None:
    good = {"prompt": "Why?", "completions": [{"text": "a", "model": "gpt"}, {"text": "b"}]}
    chat = {**good, "prompt": [{"role": "user", "content": "And this?"}]}
    body = {"tasks": [good, {"prompt": ""}, good, chat], "labelers_per_task": 2}
    answer = admin_client.post(f"/api/v1/projects/{project_id}/tasks", json=body)
    assert answer.status_code == 201
    made = answer.json()
    assert (made["created"], made["duplicates"]) == (2, 1)
    assert made["rejected"] == [{"index": 1, "reason": "prompt is empty"}]
    assert (made["kind"], made["state"], made["counts"]["open"]) == ("imported", "open", 2)
    refused = admin_client.post(
        f"/api/v1/projects/{project_id}/tasks", json={"tasks": [{"prompt": ""}]}
    )
    assert refused.status_code == 422
    assert refused.json()["fields"] == {"tasks[0]": "prompt is empty"}


def test_a_round_is_completed_accepted_closed_and_reopened(
    app: FastAPI, admin_client: TestClient, project_id: str
) -> None:
    made = admin_client.post(f"/api/v1/projects/{project_id}/rounds", json={"policies": ["first"]})
    url = f"/api/v1/rounds/{made.json()['id']}"
    for step in ("retry", "accept", "close"):
        busy = admin_client.post(f"{url}/{step}")
        assert (busy.status_code, busy.json()["code"]) == (409, "round_generating")
    with app.state.database.write() as session:
        job = get_job(session, made.json()["job_id"])
        finish_job(session, job, JobState.FAILED, kind=generation.KIND)
    assert admin_client.post(f"{url}/accept").json()["counts"]["short"] == 3
    again = admin_client.post(f"{url}/retry").json()
    assert again["state"] == "generating"
    assert again["job_id"] != made.json()["job_id"]
    with app.state.database.write() as session:
        finish_job(
            session, get_job(session, again["job_id"]), JobState.CANCELLED, kind=generation.KIND
        )
    assert admin_client.post(f"{url}/close").json()["state"] == "closed"
    assert admin_client.post(f"{url}/reopen").json()["state"] == "open"


def test_a_round_that_names_no_policy_asks_the_promoted_one(
    app: FastAPI, admin_client: TestClient, project_id: str
) -> None:
    """Without a promotion that is the newest."""
    path = f"/api/v1/projects/{project_id}"
    assert admin_client.post(f"{path}/rounds", json={}).json()["policies"] == ["second"]
    admin_client.post(f"{path}/promotions", json={"model_id": "first"})
    assert admin_client.post(f"{path}/rounds", json={}).json()["policies"] == ["first"]
    assert admin_client.post(f"{path}/rounds", json={"policies": []}).status_code == 422
    with app.state.database.write() as session:
        for name in ("first", "second"):
            session.get_one(Model, name).archived_at = utc_now()
    refused = admin_client.post(f"{path}/rounds", json={})
    assert (refused.status_code, set(refused.json()["fields"])) == (422, {"policies"})


def test_rounds_are_for_admins(
    app: FastAPI, make_user: Callable[..., User], project_id: str, admin_client: TestClient
) -> None:
    body = {"policies": ["first"]}
    path = f"/api/v1/projects/{project_id}/rounds"
    assert make_client(app).post(path, json=body).status_code == 401
    for role in ("labeler", "researcher"):
        person = sign_in(app, make_user(role))
        assert person.post(path, json=body).status_code == 403
        assert person.post(f"/api/v1/projects/{project_id}/tasks", json={}).status_code == 403
        assert person.get("/api/v1/rounds/x").status_code == 403
    missing = admin_client.get("/api/v1/rounds/x")
    assert (missing.status_code, missing.json()["code"]) == (404, "round_not_found")
    assert admin_client.post("/api/v1/projects/x/rounds", json=body).status_code == 404


def test_a_round_is_changed_and_says_so(admin_client: TestClient, project_id: str) -> None:
    body = {"policies": ["first"], "calibration_share": 0.4, "priority": 3}
    made = admin_client.post(f"/api/v1/projects/{project_id}/rounds", json=body).json()
    assert (made["calibration_share"], made["priority"]) == (0.4, 3)
    assert made["counts"]["calibration"] == 1
    path = f"/api/v1/rounds/{made['id']}"
    changed = admin_client.patch(path, json={"labelers_per_task": 4}).json()
    assert (changed["labelers_per_task"], changed["counts"]["rankings_wanted"]) == (4, 12)
    assert (changed["calibration_share"], changed["priority"]) == (0.4, 3), "the rest stays"
    again = admin_client.patch(path, json={"priority": 1, "calibration_share": 1}).json()
    assert (again["priority"], again["counts"]["calibration"]) == (1, 3)
    for bad in ({"priority": 0}, {"labelers_per_task": 0}, {"calibration_share": 2}, {"seed": 1}):
        assert admin_client.patch(path, json=bad).status_code == 422


def test_tasks_made_elsewhere_may_be_gold_at_once(
    admin_client: TestClient, labeler_client: TestClient, project_id: str
) -> None:
    task = {"completions": [{"text": "a"}, {"text": "b"}]}
    body = {
        "tasks": [
            task | {"prompt": "1", "gold": [2, 1], "priority": 1},
            task | {"prompt": "2"},
            task | {"prompt": "3", "gold": [1, 1]},
        ],
        "calibration_share": 1,
        "priority": 8,
    }
    made = admin_client.post(f"/api/v1/projects/{project_id}/tasks", json=body).json()
    assert (made["created"], made["counts"]["gold"], made["counts"]["calibration"]) == (2, 1, 1)
    assert made["rejected"] == [{"index": 2, "reason": "gold: at least two different ranks"}]
    assert made["counts"]["rankings_beyond"] == 0
    assert labeler_client.patch(f"/api/v1/rounds/{made['id']}", json={}).status_code == 403
