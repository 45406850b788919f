from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.inference.server import create_inference_app
from app.main import create_app
from app.models import ModelKind, ModelSource, User
from app.registry.catalogue import DatabaseCatalogue
from app.registry.service import ensure_starters
from app.settings import Settings
from tests.conftest import make_client, sign_in
from tests.generation.servers import obedient, running, serving
from tests.projects.rounds_factory import make_model
from tests.registry.folders import make_folder
from tests.training.tiny import make_backbone, make_policy


@pytest.fixture
def tiny(app: FastAPI, tmp_path: Path) -> Iterator[None]:
    """The app's registry has a tiny policy and a tiny reward model, and they are really served."""
    policy, judge = make_policy(tmp_path / "policy"), make_backbone(tmp_path / "judge")
    database, settings = app.state.database, app.state.settings
    with database.write() as session:
        make_model(session, "writer", location=str(policy))
        make_model(session, "judge", ModelKind.REWARD_MODEL, location=str(judge))
    catalogue = DatabaseCatalogue(database, settings)
    with serving(create_inference_app(catalogue), lifespan="on") as url:
        app.state.settings = settings.model_copy(update={"inference_url": url})
        yield


def test_models_are_listed_by_kind(app: FastAPI, researcher_client: TestClient) -> None:
    with app.state.database.write() as session:
        ensure_starters(session)
    every = researcher_client.get("/api/v1/models").json()
    assert {item["id"] for item in every["items"]} == {"smollm2-135m-instruct", "minilm-l6"}
    assert every["next_cursor"] is None
    encoders = researcher_client.get("/api/v1/models", params={"kind": "encoder"}).json()
    assert [item["id"] for item in encoders["items"]] == ["minilm-l6"]
    assert researcher_client.get("/api/v1/models", params={"kind": "x"}).status_code == 422


def test_a_model_shows_its_lineage(app: FastAPI, researcher_client: TestClient) -> None:
    with app.state.database.write() as session:
        make_model(session, "base")
        make_model(session, "judge", ModelKind.REWARD_MODEL, simulated_labels=True)
        make_model(session, "tuned", parent_id="base", reward_model_id="judge")
    tuned = researcher_client.get("/api/v1/models/tuned").json()
    assert tuned["lineage"]["ancestry"]["parent"]["id"] == "base"
    assert tuned["lineage"]["ancestry"]["reward_model"]["simulated_labels"]
    base = researcher_client.get("/api/v1/models/base").json()
    assert base["lineage"]["children"] == ["tuned"]
    missing = researcher_client.get("/api/v1/models/nobody")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


def test_a_folder_and_an_endpoint_are_registered(admin_client: TestClient, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "mine")
    body = {"source": "folder", "location": str(folder), "kind": "policy"}
    made = admin_client.post("/api/v1/models", json=body)
    assert made.status_code == 201
    assert (made.json()["id"], made.json()["parameters"]) == ("mine", 10)
    with running(obedient, ["big"]) as server:
        body = {"source": "endpoint", "location": server.url, "kind": "policy", "name": "Hosted"}
        assert admin_client.post("/api/v1/models", json=body).json()["id"] == "hosted"
    refused = admin_client.post("/api/v1/models", json={**body, "source": "folder"})
    assert refused.status_code == 422
    assert "location" in refused.json()["fields"]


def test_a_hub_id_without_access_is_one_line(
    admin_client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    body = {"source": "hub", "location": "owner/name", "kind": "policy"}
    answer = admin_client.post("/api/v1/models", json=body)
    assert (answer.status_code, answer.json()["code"]) == (503, "no_hub_access")
    assert "owner/name" in answer.json()["detail"]


@pytest.mark.usefixtures("tiny")
def test_a_reward_model_scores_completions(researcher_client: TestClient) -> None:
    body = {"prompt": "Name a colour.", "completions": ["Blue.", "Ten."]}
    answer = researcher_client.post("/api/v1/models/judge/score", json=body)
    assert answer.status_code == 200, answer.text
    scores = answer.json()
    assert len(scores["rewards"]) == len(scores["logits"]) == len(scores["probabilities"]) == 2
    for probability in scores["probabilities"]:
        assert probability["negative"] + probability["positive"] == pytest.approx(1)
    wrong = researcher_client.post("/api/v1/models/writer/score", json=body)
    assert (wrong.status_code, wrong.json()["code"]) == (422, "wrong_model_kind")


@pytest.mark.usefixtures("tiny")
def test_a_policy_generates_completions(researcher_client: TestClient) -> None:
    chat = [{"role": "user", "content": "Hello"}]
    body = {"prompt": chat, "n": 3, "sampling": {"max_new_tokens": 5, "seed": 1}}
    answer = researcher_client.post("/api/v1/models/writer/generate", json=body)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["completions"]) == 3
    wrong = researcher_client.post("/api/v1/models/judge/generate", json=body)
    assert (wrong.status_code, wrong.json()["code"]) == (422, "wrong_model_kind")


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("score", {"prompt": "x", "completions": []}, "completions"),
        ("score", {"prompt": " ", "completions": ["a"]}, "prompt"),
        ("generate", {"prompt": "x", "n": 0}, "n"),
        ("generate", {"prompt": [{"role": "assistant", "content": "x"}]}, "prompt"),
        ("generate", {"prompt": "x", "sampling": {"top_p": 2}}, "sampling.top_p"),
    ],
)
def test_a_bad_question_names_the_field(
    app: FastAPI, researcher_client: TestClient, path: str, body: dict[str, object], field: str
) -> None:
    with app.state.database.write() as session:
        make_model(session, "writer")
    answer = researcher_client.post(f"/api/v1/models/writer/{path}", json=body)
    assert answer.status_code == 422
    assert field in answer.json()["fields"]


def test_without_the_inference_process_the_answer_is_503_and_says_what_to_start(
    app: FastAPI, researcher_client: TestClient
) -> None:
    with running(obedient) as server:
        pass
    update = {"inference_url": server.url}
    app.state.settings = app.state.settings.model_copy(update=update)
    with app.state.database.write() as session:
        make_model(session, "writer")
        make_model(session, "judge", ModelKind.REWARD_MODEL)
        make_model(session, "far", source=ModelSource.ENDPOINT, location=server.url)
    for model, path, body in (
        ("writer", "generate", {"prompt": "x"}),
        ("judge", "score", {"prompt": "x", "completions": ["a"]}),
        ("far", "generate", {"prompt": "x"}),
    ):
        answer = researcher_client.post(f"/api/v1/models/{model}/{path}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (503, "inference_unavailable")
        assert ("podium inference" in answer.json()["detail"]) == (model != "far")


def test_labelers_see_no_registry_and_researchers_register_nothing(
    app: FastAPI, make_user: Callable[..., User]
) -> None:
    body = {"source": "folder", "location": "/x", "kind": "policy"}
    labeler, researcher = sign_in(app, make_user("labeler")), sign_in(app, make_user("researcher"))
    assert make_client(app).get("/api/v1/models").status_code == 401
    assert labeler.get("/api/v1/models").status_code == 403
    assert labeler.post("/api/v1/models/x/generate", json={"prompt": "x"}).status_code == 403
    assert researcher.post("/api/v1/models", json=body).status_code == 403


@pytest.mark.slow
def test_the_web_process_does_not_import_torch(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from app.main import create_app; create_app(); "
        "from app.jobs.service import job_kinds; job_kinds(); "
        "heavy = {'torch', 'transformers', 'dbos', 'huggingface_hub'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_settings_and_app_take_endpoint_keys(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, endpoint_keys={"http://host": "key"})
    assert create_app(settings).state.settings.endpoint_keys == {"http://host": "key"}
