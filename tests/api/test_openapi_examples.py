"""Every example of the OpenAPI document is sent to a real app, and the answer is as documented."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response

from app.accounts.users import create_user, find_user_by_email
from app.api.assignments import COMPLETION_ID, OTHER_ID
from app.api.problems import codes_in
from app.main import create_app
from app.models import Role
from app.registry.service import ensure_starters
from app.settings import Settings
from tests.api.openapi_walk import DocumentSchemas, Operation, list_operations
from tests.conftest import sign_in

API = "/api/v1"
NOT_SENT = {"cursor", "after", "split", "against"}
"""Parameters that only make sense with what an earlier answer gave."""

REFUSED = {
    # What an example asks for that a fresh installation on this machine cannot do.
    "DELETE /prompts/{prompt_id}": 409,  # its completions are being made
    "DELETE /rounds/{round_id}": 409,  # it is open
    "GET /rounds/{round_id}/evaluation": 409,  # nobody says who wrote its completions
    "POST /jobs/{job_id}/evaluation": 409,  # it tuned no policy
    "POST /rounds/{round_id}/evaluation/rewards": 409,
    "POST /projects/{project_id}/promotions": 422,  # the round it names compares nothing
    "POST /jobs/{job_id}/resume": 409,  # it waits, it did not fail
    "POST /models": 422,  # the folder is not on this machine
    "POST /models/{model_id}/score": 422,  # the model is a policy
    "POST /models/{model_id}/generate": 503,  # no inference process
    "POST /rounds/{round_id}/retry": 409,  # its completions were made elsewhere
}


@dataclass(frozen=True)
class Seeded:
    """An app with one of everything, an admin's browser, and the ids by parameter name."""

    client: TestClient
    ids: dict[str, str]
    completions: dict[str, str]


@pytest.fixture(scope="module")
def seeded_template(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, str], dict[str, str]]:
    """A database file with one of everything; each example gets a copy of it."""
    folder = tmp_path_factory.mktemp("seeded")
    shutil.copyfile(sqlite_template, folder / "podium.sqlite3")
    app = start(folder)
    with app.state.database.write() as session:
        ensure_starters(session)
        admin = create_user(session, email="ada@example.org", role=Role.ADMIN)
        lena = create_user(session, email="lena@example.org", role=Role.LABELER, handle="lena")
    ids, completions = seed(sign_in(app, admin), sign_in(app, lena))
    with app.state.database.reader.connect() as connection:
        connection.connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    app.state.database.dispose()
    return folder / "podium.sqlite3", ids, completions


def start(folder: Path) -> FastAPI:
    settings = Settings(
        data_dir=folder / "data",
        database_url=f"sqlite:///{folder / 'podium.sqlite3'}",
        inference_url="http://127.0.0.1:9",
    )
    return create_app(settings)


def seed(admin: TestClient, lena: TestClient) -> tuple[dict[str, str], dict[str, str]]:
    """A project with prompts, rounds, rankings, a snapshot in two parts and a job."""

    def post(client: TestClient, path: str, body: Any = None) -> Any:
        answer = client.post(f"{API}{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json()

    project_id = post(admin, "/projects", {"name": "Colours"})["id"]
    post(admin, f"/projects/{project_id}/prompts", {"prompts": [{"text": "Name a colour."}]})
    prompt_id = admin.get(f"{API}/projects/{project_id}/prompts").json()["items"][0]["id"]
    tasks = [
        {"prompt": f"Question {number}?", "completions": [{"text": "Yes."}, {"text": "No, no."}]}
        for number in range(6)
    ]
    round_ = post(admin, f"/projects/{project_id}/tasks", {"tasks": tasks, "labelers_per_task": 2})
    rankings = [rank_next(lena, project_id) for _ in range(4)]
    ranked = rank_next(admin, project_id)
    snapshot = post(
        admin,
        f"/projects/{project_id}/snapshots",
        {"name": "First", "splits": {"shares": {"train": 0.5, "test": 0.5}}},
    )
    # Revised since: what is current and what is frozen differ.
    rankings.append(rank_next(lena, project_id))
    assignment = post(admin, f"/projects/{project_id}/assignments")
    generated = post(
        admin,
        f"/projects/{project_id}/rounds",
        {"policies": ["smollm2-135m-instruct"], "completions_per_prompt": 2},
    )
    assert ranked["task_id"] != assignment["task_id"]
    shown = [completion["id"] for completion in assignment["completions"]]
    ids = {
        "project_id": project_id,
        "round_id": round_["id"],
        "task_id": assignment["task_id"],
        "prompt_id": prompt_id,
        "assignment_id": assignment["id"],
        "ranking_id": rankings[-1]["id"],
        "snapshot_id": snapshot["id"],
        "job_id": generated["job_id"],
        "model_id": "smollm2-135m-instruct",
        "against": snapshot["id"],
        "split": "train",
    }
    return ids, dict(zip((COMPLETION_ID, OTHER_ID), shown, strict=True))


def rank_next(client: TestClient, project_id: str) -> Any:
    assignment = client.post(f"{API}/projects/{project_id}/assignments").json()
    ranks = {one["id"]: place for place, one in enumerate(assignment["completions"], start=1)}
    path = f"{API}/assignments/{assignment['id']}/ranking"
    return client.put(path, json={"ranks": ranks}).json()


@pytest.fixture
def seeded(
    seeded_template: tuple[Path, dict[str, str], dict[str, str]], tmp_path: Path
) -> Iterator[Seeded]:
    """An app of its own, for an example that may change it."""
    yield from copied(seeded_template, tmp_path)


@pytest.fixture(scope="module")
def shared(
    seeded_template: tuple[Path, dict[str, str], dict[str, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Seeded]:
    """An app for what is refused, and so changes nothing."""
    yield from copied(seeded_template, tmp_path_factory.mktemp("shared"))


def copied(
    seeded_template: tuple[Path, dict[str, str], dict[str, str]], folder: Path
) -> Iterator[Seeded]:
    template, ids, completions = seeded_template
    shutil.copyfile(template, folder / "podium.sqlite3")
    app = start(folder)
    with app.state.database.read() as session:
        admin = find_user_by_email(session, "ada@example.org")
    assert admin is not None
    yield Seeded(sign_in(app, admin), ids, completions)
    app.state.database.dispose()


@cache
def schemas() -> DocumentSchemas:
    app = create_app(Settings(database_url="sqlite://"))
    app.state.database.dispose()
    return DocumentSchemas(app)


def operations() -> list[Operation]:
    return list_operations(schemas().document)


def bodies(operation: Operation) -> list[tuple[str | None, Any]]:
    """The media type and value of every example of its body; one of nothing where it takes none."""
    content = operation.spec.get("requestBody", {}).get("content", {})
    found = [
        (media_type, part["example"]) for media_type, part in content.items() if "example" in part
    ]
    return found or [(None, None)]


EXAMPLES = [
    pytest.param(operation, media_type, body, id=f"{operation.name} {media_type or ''}".strip())
    for operation in operations()
    for media_type, body in bodies(operation)
]


@pytest.mark.parametrize(("operation", "media_type", "body"), EXAMPLES)
def test_an_example_gets_an_answer_as_documented(
    seeded: Seeded, operation: Operation, media_type: str | None, body: Any
) -> None:
    answer = send(seeded, operation, media_type, body)
    expected = REFUSED.get(operation.name)
    if expected is None:
        assert answer.is_success, f"{answer.status_code}: {answer.text}"
    else:
        assert answer.status_code == expected, answer.text
    check_answer(operation, answer)


def test_every_refusal_is_of_an_operation() -> None:
    assert set(REFUSED) <= {operation.name for operation in operations()}


@pytest.mark.parametrize(
    "operation", [one for one in operations() if "{" in one.path], ids=lambda one: one.name
)
def test_an_unknown_id_gets_the_404_that_is_documented(
    shared: Seeded, operation: Operation
) -> None:
    media_type, body = bodies(operation)[0]
    own_id = operation.path.partition("{")[2].partition("}")[0]
    nothing = Seeded(shared.client, {**shared.ids, own_id: "nothing"}, shared.completions)
    answer = send(nothing, operation, media_type, body, with_query=False)
    assert answer.status_code == 404, answer.text
    check_answer(operation, answer)


@pytest.mark.parametrize("operation", operations(), ids=lambda one: one.name)
def test_nobody_gets_the_401_that_is_documented(shared: Seeded, operation: Operation) -> None:
    stranger = TestClient(shared.client.app, headers={"Authorization": "Bearer wrong"})
    media_type, body = bodies(operation)[0]
    answer = send(Seeded(stranger, shared.ids, shared.completions), operation, media_type, body)
    assert answer.status_code == 401, answer.text
    check_answer(operation, answer)


@pytest.mark.parametrize(
    "operation",
    [one for one in operations() if "403" in one.spec["responses"]],
    ids=lambda one: one.name,
)
def test_a_labeler_gets_the_403_that_is_documented(shared: Seeded, operation: Operation) -> None:
    app = shared.client.app
    assert isinstance(app, FastAPI)
    with app.state.database.read() as session:
        lena = find_user_by_email(session, "lena@example.org")
    assert lena is not None
    media_type, body = bodies(operation)[0]
    labeler = Seeded(sign_in(app, lena), shared.ids, shared.completions)
    answer = send(labeler, operation, media_type, body)
    assert answer.status_code == 403, answer.text
    check_answer(operation, answer)


def send(
    seeded: Seeded,
    operation: Operation,
    media_type: str | None,
    body: Any,
    *,
    with_query: bool = True,
) -> Response:
    """The example as a client would send it, with ids of things that are there."""
    path = operation.path.format(**seeded.ids)
    query = {
        parameter["name"]: seeded.ids.get(parameter["name"], parameter["example"])
        for parameter in operation.spec.get("parameters", [])
        if parameter["in"] == "query"
        and (parameter.get("required") or (with_query and parameter["name"] not in NOT_SENT))
    }
    sent = {name: value for name, value in query.items() if value is not None}
    if media_type is None:
        return seeded.client.request(operation.method, path, params=sent)
    content = body if isinstance(body, str) else json.dumps(with_seeded_ids(seeded, body))
    headers = {"Content-Type": media_type}
    return seeded.client.request(
        operation.method, path, params=sent, content=content, headers=headers
    )


def with_seeded_ids(seeded: Seeded, value: Any) -> Any:
    if isinstance(value, list):
        return [with_seeded_ids(seeded, one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        seeded.completions.get(name, name): seeded.ids.get(name, with_seeded_ids(seeded, one))
        for name, one in value.items()
    }


def check_answer(operation: Operation, answer: Response) -> None:
    """The status, the media type, the schema and the code are those of the document."""
    documented = operation.spec["responses"].get(str(answer.status_code))
    assert documented is not None, f"{answer.status_code} is not documented: {answer.text}"
    content = documented.get("content")
    if not content:
        assert answer.content == b""
        return
    media_type = answer.headers["Content-Type"].partition(";")[0]
    assert media_type in content
    schema = content[media_type].get("schema", {})
    if media_type.endswith("json") and media_type != "application/x-ndjson":
        assert schemas().problems(schema, answer.json()) == []
    if media_type == "application/problem+json":
        assert answer.json()["code"] in codes_in(documented["description"], answer.status_code)
    if media_type == "application/x-ndjson":
        assert all(isinstance(json.loads(line), dict) for line in answer.text.splitlines())
