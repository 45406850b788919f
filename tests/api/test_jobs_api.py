"""Jobs over REST, with the counting kind in the registry."""

import json
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.jobs.relay import upsert_metrics
from app.jobs.service import finish_job, lock_job
from app.models import Job, JobEvent, JobState
from tests.jobs.counting_kind import COUNTING, JOB_KINDS


@pytest.fixture(autouse=True)
def counting_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.jobs.kinds.registry.JOB_KINDS", JOB_KINDS)


def create(client: TestClient, **config: Any) -> str:
    answer = client.post("/api/v1/jobs", json={"kind": "counting", "config": config})
    assert answer.status_code == 201, answer.text
    assert answer.headers["Location"] == f"/api/v1/jobs/{answer.json()['id']}"
    job_id: str = answer.json()["id"]
    return job_id


def finish(app: FastAPI, job_id: str, state: JobState, **fields: Any) -> None:
    with app.state.database.write() as session:
        finish_job(session, lock_job(session, job_id), state, kind=COUNTING, **fields)


def read_stream(client: TestClient, job_id: str, **headers: str) -> list[dict[str, Any]]:
    """Every server-sent event until the stream ends."""
    answer = client.get(
        f"/api/v1/jobs/{job_id}/events", headers={"Accept": "text/event-stream", **headers}
    )
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in answer.text.replace("\r\n", "\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "event" in fields:
            found.append(
                {"id": fields["id"], "event": fields["event"], "data": json.loads(fields["data"])}
            )
    return found


def test_kinds_have_a_schema_that_says_everything(admin_client: TestClient) -> None:
    items = admin_client.get("/api/v1/job-kinds").json()["items"]
    assert [item["name"] for item in items] == ["counting"]
    schema = items[0]["config_schema"]
    assert schema["required"] == ["steps"]
    assert schema["properties"]["steps"]["minimum"] == 1
    assert schema["properties"]["fail_at"]["type"] == ["integer", "null"]


def test_a_job_is_created_read_and_listed(admin_client: TestClient) -> None:
    first, second = create(admin_client, steps=3), create(admin_client, steps=4)
    job = admin_client.get(f"/api/v1/jobs/{first}").json()
    assert (job["state"], job["progress"], job["config"]["steps"]) == ("queued", 0.0, 3)
    page = admin_client.get("/api/v1/jobs", params={"limit": 1}).json()
    assert [item["id"] for item in page["items"]] == [second]
    rest = admin_client.get("/api/v1/jobs", params={"cursor": page["next_cursor"]}).json()
    assert [item["id"] for item in rest["items"]] == [first]
    assert rest["next_cursor"] is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "counting", "config": {"steps": 0}}, "steps"),
        ({"kind": "counting", "config": {}}, "steps"),
        ({"kind": "counting", "config": {"steps": 1, "stepz": 2}}, "stepz"),
        ({"kind": "counting", "config": {"steps": 13}}, "steps"),
        ({"kind": "counting", "config": [1]}, "config"),
        ({"kind": "nothing", "config": {}}, "kind"),
    ],
)
def test_what_could_not_run_is_refused_by_field(
    admin_client: TestClient, body: dict[str, Any], field: str
) -> None:
    answer = admin_client.post("/api/v1/jobs", json=body)
    assert answer.status_code == 422
    assert field in answer.json()["fields"]
    assert admin_client.get("/api/v1/jobs").json()["items"] == []


def test_jobs_are_for_admins(
    admin_client: TestClient, labeler_client: TestClient, researcher_client: TestClient
) -> None:
    job_id = create(admin_client, steps=3)
    for client in (labeler_client, researcher_client):
        assert client.get(f"/api/v1/jobs/{job_id}").status_code == 403
        assert client.get(f"/api/v1/jobs/{job_id}/events").status_code == 403
        assert client.post(f"/api/v1/jobs/{job_id}/cancel").status_code == 403
        assert client.post("/api/v1/jobs", json={"kind": "counting"}).status_code == 403


def test_cancel_and_resume_answer_409_at_the_wrong_time(
    app: FastAPI, admin_client: TestClient
) -> None:
    job_id = create(admin_client, steps=3)
    assert admin_client.post(f"/api/v1/jobs/{job_id}/resume").status_code == 409
    assert admin_client.post(f"/api/v1/jobs/{job_id}/cancel").json()["state"] == "cancelled"
    assert admin_client.post(f"/api/v1/jobs/{job_id}/cancel").status_code == 409
    resumed = admin_client.post(f"/api/v1/jobs/{job_id}/resume").json()
    assert (resumed["state"], resumed["attempt"]) == ("queued", 2)
    assert admin_client.get("/api/v1/jobs/nothing").status_code == 404
    assert admin_client.get("/api/v1/jobs/nothing/metrics").status_code == 404
    assert admin_client.post("/api/v1/jobs/nothing/cancel").status_code == 404


def add_points(app: FastAPI, job_id: str, steps: range) -> None:
    with app.state.database.write() as session:
        at = lock_job(session, job_id).created_at
        rows = [
            {"job_id": job_id, "name": name, "step": step, "value": 1.0 / (step + 1), "at": at}
            for step in steps
            for name in ("loss", "reward_mean")
        ]
        upsert_metrics(session, rows)


def test_series_are_thinned_evenly_and_keep_both_ends(
    app: FastAPI, admin_client: TestClient
) -> None:
    job_id = create(admin_client, steps=3)
    add_points(app, job_id, range(1000))
    series = admin_client.get(f"/api/v1/jobs/{job_id}/metrics").json()["items"]
    assert [one["name"] for one in series] == ["loss", "reward_mean"]
    assert len(series[0]["steps"]) == len(series[0]["values"]) == 1000
    thin = admin_client.get(
        f"/api/v1/jobs/{job_id}/metrics", params={"name": "loss", "max_points": 11}
    ).json()["items"]
    assert len(thin) == 1
    assert thin[0]["steps"] == [0, 100, 200, 300, 400, 500, 599, 699, 799, 899, 999]


def test_the_stream_tells_everything_and_ends_with_the_job(
    app: FastAPI, admin_client: TestClient
) -> None:
    job_id = create(admin_client, steps=3)
    add_points(app, job_id, range(600))
    finish(app, job_id, JobState.FAILED, reason="No luck.")
    events = read_stream(admin_client, job_id)
    kinds = [event["event"] for event in events]
    assert kinds[-1] == "end"
    points = [
        point
        for event in events
        if event["event"] == "metrics"
        for point in event["data"]["points"]
    ]
    assert len(points) == 1200
    states = [event["data"]["state"] for event in events if event["event"] == "state"]
    assert states == ["queued", "failed"]
    job = [event["data"] for event in events if event["event"] == "job"][-1]
    assert (job["state"], job["reason"]) == ("failed", "No luck.")


def test_a_reader_that_comes_back_gets_only_what_it_has_not_seen(
    app: FastAPI, admin_client: TestClient
) -> None:
    job_id = create(admin_client, steps=3)
    add_points(app, job_id, range(3))
    finish(app, job_id, JobState.FAILED)
    events = read_stream(admin_client, job_id)
    for seen, event in enumerate(events):
        if event["event"] not in ("metrics", "state"):
            continue
        rest = read_stream(admin_client, job_id, **{"Last-Event-ID": event["id"]})
        told = ("metrics", "state")
        assert [one for one in rest if one["event"] in told] == [
            one for one in events[seen + 1 :] if one["event"] in told
        ]


def test_events_are_a_list_where_no_stream_is_asked_for(
    app: FastAPI, admin_client: TestClient
) -> None:
    job_id = create(admin_client, steps=3)
    with app.state.database.write() as session:
        for number in range(5):
            payload = {"text": f"note {number}"}
            session.add(JobEvent(job_id=job_id, kind="note", payload=payload))
            session.flush()
    url = f"/api/v1/jobs/{job_id}/events"
    first = admin_client.get(url, params={"limit": 4}).json()
    assert [item["kind"] for item in first["items"]] == ["state", "note", "note", "note"]
    rest = admin_client.get(url, params={"after": first["next_cursor"]}).json()
    assert [item["text"] for item in rest["items"]] == ["note 3", "note 4"]
    assert rest["next_cursor"] is None


def test_a_stream_holds_no_connection_between_its_looks(
    app: FastAPI, admin_client: TestClient
) -> None:
    job_id = create(admin_client, steps=3)
    finish(app, job_id, JobState.SUCCEEDED, outputs={})
    for _ in range(50):
        read_stream(admin_client, job_id)
    assert app.state.database.reader.pool.checkedout() == 0
    with app.state.database.read() as session:
        assert session.get_one(Job, job_id).state == JobState.SUCCEEDED
