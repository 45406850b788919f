"""A two-class classifier made elsewhere as a reward model: registered, served, tuned against."""

import json
from pathlib import Path

import pytest

from app.db import Database
from app.errors import Invalid
from app.inference.loading import load_model
from app.inference.scoring import score
from app.jobs.kinds import ppo
from app.models import ModelKind, ModelSource
from app.registry.catalogue import DatabaseCatalogue
from app.registry.registration import register_model
from app.registry.service import get_model
from app.settings import Settings
from app.training.reward_scorer import load_scorer
from app.training.rollouts import Prompt
from tests.jobs.kinds.running import run_job
from tests.projects.rounds_factory import make_model, make_project
from tests.training.tiny import make_backbone, make_policy


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    """A random BERT over bytes with the classes `good` (0) and `bad` (1)."""
    return make_backbone(
        tmp_path / "sentiment",
        num_labels=2,
        id2label={0: "good", 1: "bad"},
        label2id={"good": 0, "bad": 1},
        initializer_range=0.3,
    )


def register(database: Database, data: Settings, folder: Path, positive_class: str) -> str:
    with database.write() as session:
        model = register_model(
            session,
            None,
            data,
            kind=ModelKind.REWARD_MODEL,
            source=ModelSource.FOLDER,
            location=str(folder),
            positive_class=positive_class,
        )
        return model.id


@pytest.mark.parametrize("named", ["good", "GOOD", "0"])
def test_the_named_class_is_passed_on_to_whoever_serves_the_model(
    sqlite_database: Database, data: Settings, classifier: Path, named: str
) -> None:
    model_id = register(sqlite_database, data, classifier, named)
    files = DatabaseCatalogue(sqlite_database, data).find(model_id)
    assert files is not None
    assert files.positive_class == 0


@pytest.mark.parametrize("named", ["", "neutral", "2"])
def test_a_class_has_to_be_named_and_to_be_there(
    sqlite_database: Database, data: Settings, classifier: Path, named: str
) -> None:
    with pytest.raises(Invalid, match="good and bad") as caught:
        register(sqlite_database, data, classifier, named)
    assert caught.value.fields == {"positive_class": "good or bad"}


def test_a_config_may_name_its_class_itself(
    sqlite_database: Database, data: Settings, classifier: Path
) -> None:
    path = classifier / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"positive_class": 1}))
    model_id = register(sqlite_database, data, classifier, "")
    files = DatabaseCatalogue(sqlite_database, data).find(model_id)
    assert files is not None
    assert files.positive_class == 1


def test_ppo_is_rewarded_with_the_difference_of_the_logits(
    sqlite_database: Database, data: Settings, classifier: Path, tmp_path: Path
) -> None:
    model_id = register(sqlite_database, data, classifier, "good")
    policy = make_policy(tmp_path / "llama")
    with sqlite_database.write() as session:
        project = make_project(session, prompts=8)
        make_model(session, "llama", location=str(policy))
        project_id = project.id
    config = {
        "policy": "llama",
        "reward_model": model_id,
        "iterations": 1,
        "prompts_per_iteration": 4,
        "minibatches": 2,
        "max_new_tokens": 6,
        "lora_rank": None,
        "eval_prompts": 3,
    }
    outputs, job = run_job(sqlite_database, data, ppo.KIND, project_id, config)
    inputs = json.loads((data.runs_dir / job.id / ppo.INPUTS_FILE).read_text())
    assert inputs["reward_model"]["positive_class"] == 0
    loaded = load_model(classifier, "reward_model", positive_class=0, device="cpu")
    with sqlite_database.read() as session:
        samples = get_model(session, outputs["model_id"]).metrics["samples"]["before"]
    differences = []
    for sample in samples:
        message = [{"role": "user", "content": sample["prompt"]}]
        (one,) = score(
            loaded.model,
            loaded.tokenizer,
            message,
            [sample["completion"]],
            loaded.context_length,
            0,
        )
        assert one.reward == pytest.approx(one.logits.positive - one.logits.negative, abs=1e-5)
        differences.append(one.reward)
    found = [sample["reward"] for sample in samples]
    assert found == pytest.approx(differences, abs=1e-4)
    turned = load_scorer(classifier, 1)
    prompt = Prompt(id="p", messages=[{"role": "user", "content": samples[0]["prompt"]}])
    (opposite,) = turned([prompt], [samples[0]["completion"]])
    assert opposite == pytest.approx(-found[0], abs=1e-4)
    assert abs(opposite) > 1e-3
