"""What the page of a reward model says its reward means."""

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.models import Model, ModelKind, ModelSource
from app.web.reward_meaning import describe_reward
from tests.projects.rounds_factory import make_model


def make_folder(folder: Path, **config: Any) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", **config}))
    return folder


def judge(**columns: Any) -> Model:
    return Model(
        id="judge", **{"kind": ModelKind.REWARD_MODEL, "source": ModelSource.FOLDER, **columns}
    )


@pytest.mark.parametrize(
    ("columns", "config", "positive", "negative"),
    [
        ({"positive_class": 0}, {"id2label": {"0": "GOOD", "1": "BAD"}}, "GOOD (class 0)", "BAD"),
        ({"positive_class": 1}, {"id2label": {"0": "GOOD", "1": "BAD"}}, "BAD (class 1)", "GOOD"),
        ({"positive_class": 0}, None, "class 0", "class 1"),
        # Of a model from a hub, downloaded since, whose preferred class nobody named.
        ({}, {"id2label": {"0": "NO", "1": "YES"}}, "YES (class 1)", "NO"),
        ({}, {"id2label": {"0": "NO", "1": "YES"}, "positive_class": 0}, "NO (class 0)", "YES"),
        ({}, {}, "class 1", "class 0"),
        ({}, {"id2label": {"0": "LABEL_0"}}, "", ""),
        ({}, {"num_labels": 1}, "", ""),
        ({}, None, "", ""),
    ],
)
def test_which_class_is_preferred_is_read_as_scoring_reads_it(
    tmp_path: Path,
    columns: dict[str, Any],
    config: dict[str, Any] | None,
    positive: str,
    negative: str,
) -> None:
    folder = None if config is None else make_folder(tmp_path / "judge", **config)
    meaning = describe_reward(judge(**columns), folder)
    assert meaning is not None
    assert meaning.positive == positive
    assert meaning.negative.startswith(negative)
    assert ("logit of" in meaning.words) == bool(positive)


def test_what_zero_means_depends_on_where_a_model_comes_from() -> None:
    trained = describe_reward(judge(source=ModelSource.JOB), None)
    elsewhere = describe_reward(judge(), None)
    assert trained is not None
    assert elsewhere is not None
    assert "average 0 on the completions it was trained on" in trained.words
    assert "0 means nothing of itself" in elsewhere.words
    assert describe_reward(judge(kind=ModelKind.POLICY), None) is None


def test_the_models_page_names_the_preferred_class(
    app: FastAPI, researcher_client: TestClient, tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / "feel", id2label={"0": "POSITIVE", "1": "NEGATIVE"})
    with app.state.database.write() as session:
        kind = ModelKind.REWARD_MODEL
        make_model(session, "feel", kind, location=str(folder), positive_class=0)
        make_model(session, "writer")
    page = researcher_client.get("/models/feel").text
    assert "<dt>Preferred class</dt><dd>POSITIVE (class 0)" in page
    assert "logit of POSITIVE (class 0) less that of NEGATIVE (class 1)" in page
    assert "<dt>Reward</dt>" not in researcher_client.get("/models/writer").text
