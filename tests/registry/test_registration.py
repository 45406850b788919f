from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from app.db import Database
from app.errors import AppError, Invalid, Unavailable
from app.models import Model, ModelKind, ModelSource, Role, User
from app.registry.registration import endpoint_base_url, register_model
from app.settings import Settings
from tests.generation.servers import obedient, running, serving
from tests.registry.folders import BERT, CLASSIFIER, LLAMA, make_folder

Register = Callable[..., Model]


@pytest.fixture
def register(sqlite_database: Database, tmp_path: Path) -> Register:
    settings = Settings(data_dir=tmp_path / "data")

    def call(**options: Any) -> Model:
        options.setdefault("kind", ModelKind.POLICY)
        with sqlite_database.write() as session:
            user = User(email="a@example.org", role=Role.ADMIN, handle="a1")
            if session.get(User, "admin") is None:
                user.id = "admin"
                session.add(user)
                session.flush()
            return register_model(session, session.get_one(User, "admin"), settings, **options)

    return call


def test_a_folder_is_registered_with_what_it_holds(register: Register, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "My Policy")
    model = register(source=ModelSource.FOLDER, location=str(folder))
    assert (model.id, model.kind, model.location) == ("my-policy", "policy", str(folder))
    assert model.parameters == 10
    assert model.sha256 is not None
    judge = make_folder(tmp_path / "judge", CLASSIFIER)
    kind = ModelKind.REWARD_MODEL
    named = register(source=ModelSource.FOLDER, location=str(judge), kind=kind, name="Strict")
    assert named.id == "strict"


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ("config.json", "no config.json"),
        ("model.safetensors", "no \\*.safetensors weights"),
        ("tokenizer.json", "no tokenizer"),
    ],
)
def test_a_folder_that_lacks_something_is_refused(
    register: Register, tmp_path: Path, missing: str, reason: str
) -> None:
    folder = make_folder(tmp_path / "model")
    (folder / missing).unlink()
    with pytest.raises(Invalid, match=reason) as refused:
        register(source=ModelSource.FOLDER, location=str(folder))
    assert "location" in refused.value.fields


def test_pickled_weights_are_not_taken(register: Register, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(Invalid, match="pickled weights are not loaded"):
        register(source=ModelSource.FOLDER, location=str(folder))


@pytest.mark.parametrize("location", ["", "relative/path", "/nowhere/at/all"])
def test_a_path_that_is_no_folder_is_refused(register: Register, location: str) -> None:
    with pytest.raises(Invalid) as refused:
        register(source=ModelSource.FOLDER, location=location)
    assert "location" in refused.value.fields


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (BERT, ModelKind.POLICY),
        (CLASSIFIER, ModelKind.POLICY),
        (LLAMA, ModelKind.REWARD_MODEL),
        ({**CLASSIFIER, "id2label": {"0": "a", "1": "b", "2": "c"}}, ModelKind.REWARD_MODEL),
    ],
)
def test_an_architecture_of_another_kind_is_refused(
    register: Register, tmp_path: Path, config: dict[str, Any], kind: ModelKind
) -> None:
    folder = make_folder(tmp_path / "model", config)
    with pytest.raises(Invalid) as refused:
        register(source=ModelSource.FOLDER, location=str(folder), kind=kind)
    assert "kind" in refused.value.fields


def test_an_endpoint_is_registered_under_the_name_it_serves(register: Register) -> None:
    with running(obedient, ["org/Big-Model"]) as server:
        model = register(source=ModelSource.ENDPOINT, location=server.url + "/v1/")
        assert model.location == server.url
        assert (model.id, model.served_name) == ("big-model", "org/Big-Model")
        with pytest.raises(Invalid, match="does not serve 'other'"):
            register(source=ModelSource.ENDPOINT, location=server.url, served_name="other")
        with pytest.raises(Invalid, match="only be a policy"):
            register(source=ModelSource.ENDPOINT, location=server.url, kind=ModelKind.REWARD_MODEL)
    with running(obedient, ["a", "b"]) as server:
        with pytest.raises(Invalid, match="serves 2 models; name one"):
            register(source=ModelSource.ENDPOINT, location=server.url)
        named = register(source=ModelSource.ENDPOINT, location=server.url, served_name="b")
        assert named.id == "b"


def test_an_endpoint_that_does_not_answer_is_refused(register: Register) -> None:
    with running(obedient) as server:
        pass
    with pytest.raises(Invalid, match="cannot be reached"):
        register(source=ModelSource.ENDPOINT, location=server.url)
    with serving(FastAPI()) as url, pytest.raises(Invalid, match="answered 404"):
        register(source=ModelSource.ENDPOINT, location=url)


@pytest.mark.parametrize("url", ["", "host:8000", "ftp://host", "http://user:key@host", "http://"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(Invalid) as refused:
        endpoint_base_url(url)
    assert "location" in refused.value.fields


def hub(files: list[str], status: int = 200) -> FastAPI:
    """A hub with one model."""
    app = FastAPI()

    @app.get("/api/models/owner/name")
    def look_up() -> dict[str, Any]:
        return {"id": "owner/name", "siblings": [{"rfilename": name} for name in files]}

    return app


FILES = ["config.json", "model.safetensors", "tokenizer.json"]


def test_a_hub_model_is_looked_up_before_it_is_registered(
    register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with serving(hub(FILES)) as url:
        monkeypatch.setenv("HF_ENDPOINT", url)
        model = register(source=ModelSource.HUB, location="owner/name")
        assert (model.id, model.location) == ("name", "owner/name")
        with pytest.raises(Invalid, match="no model 'owner/other'"):
            register(source=ModelSource.HUB, location="owner/other")
    with serving(hub(["config.json", "pytorch_model.bin"])) as url:
        monkeypatch.setenv("HF_ENDPOINT", url)
        with pytest.raises(Invalid, match=r"lacks \*.safetensors weights, a tokenizer"):
            register(source=ModelSource.HUB, location="owner/name")


def test_without_hub_access_the_error_is_one_line_with_the_way_out(
    register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with serving(FastAPI()) as url:
        pass
    monkeypatch.setenv("HF_ENDPOINT", url)
    with pytest.raises(Unavailable) as refused:
        register(source=ModelSource.HUB, location="owner/name")
    assert "owner/name" in refused.value.detail
    assert "register that folder" in refused.value.detail
    assert "\n" not in refused.value.detail
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(Unavailable):
        register(source=ModelSource.HUB, location="owner/name")


@pytest.mark.parametrize("source", [ModelSource.STARTER, ModelSource.JOB])
def test_only_what_was_made_elsewhere_is_registered(
    register: Register, source: ModelSource
) -> None:
    with pytest.raises(AppError) as refused:
        register(source=source, location="x")
    assert "source" in refused.value.fields


@pytest.mark.parametrize("location", ["name", "a/b/c", "owner/na me"])
def test_a_malformed_hub_id_is_refused(register: Register, location: str) -> None:
    with pytest.raises(Invalid):
        register(source=ModelSource.HUB, location=location)
