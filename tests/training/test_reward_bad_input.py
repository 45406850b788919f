"""What a reward model makes of input that is not as it should be: an end one can act on, or a
handling that the docs tell."""

import json
from dataclasses import replace

import pytest
import torch

from app.inference.catalogue import ModelUnavailable
from app.inference.loading import load_model
from app.inference.scoring import score
from app.training.report import TrainingError
from app.training.reward_network import find_head, load_network
from app.training.reward_scorer import load_scorer
from app.training.rollouts import Prompt

from .conftest import RecordingReport
from .test_reward_model import CONFIG, make_tasks, train
from .tiny import make_backbone, make_causal_backbone

PROMPT = [{"role": "user", "content": "write"}]


@pytest.fixture(params=[make_backbone, make_causal_backbone], ids=["bert", "llama"])
def backbone_dir(request, tmp_path):
    return request.param(tmp_path / "backbone")


def damage(folder, value):
    loaded = load_model(folder, "reward_model", device="cpu")
    with torch.no_grad():
        find_head(loaded.model, 1).weight.fill_(value)
    loaded.model.save_pretrained(folder)
    return loaded


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_reward_that_is_no_number_is_not_given_out(backbone_dir, tmp_path, value):
    folder = train(CONFIG, backbone_dir, tmp_path / "run", tasks=make_tasks(6)).model_dir
    loaded = damage(folder, value)
    with pytest.raises(ModelUnavailable, match="not a finite number"):
        score(loaded.model, loaded.tokenizer, PROMPT, ["a", "b"], 32)
    scorer = load_scorer(folder)
    with pytest.raises(TrainingError, match="not a finite number"):
        scorer([Prompt(id="p", messages=PROMPT)], ["a"])


def test_a_backbone_with_damaged_weights_ends_the_run_before_it_costs_time(tmp_path):
    folder = make_backbone(tmp_path / "backbone")
    damage(folder, float("nan"))
    with pytest.raises(TrainingError, match="not finite after step 0"):
        train(CONFIG, folder, tmp_path / "run")


def test_an_empty_completion_is_scored_like_any_other(backbone_dir, tmp_path):
    tasks = [
        replace(task, completions=["", *task.completions[1:]], rankings=[[1, 2, 3, 4]])
        for task in make_tasks(8)
    ]
    result = train(CONFIG, backbone_dir, tmp_path / "run", tasks=tasks)
    loaded = load_model(result.model_dir, "reward_model", device="cpu")
    (one,) = score(loaded.model, loaded.tokenizer, PROMPT, [""], 32)
    assert one.tokens > 0
    (nothing,) = score(loaded.model, loaded.tokenizer, "", [""], 32)
    assert nothing.tokens > 0


def test_texts_longer_than_the_model_takes_are_cut_and_that_is_said(backbone_dir, tmp_path):
    tasks = [
        replace(task, completions=[text * 40 for text in task.completions])
        for task in make_tasks(4)
    ]
    report = RecordingReport()
    config = replace(CONFIG, max_length=512)
    result = train(config, backbone_dir, tmp_path / "run", report, tasks)
    assert any("takes 128 tokens" in line for line in report.lines)
    assert load_model(result.model_dir, "reward_model").context_length == 128


def test_a_tokenizer_without_padding_and_end_is_refused_with_the_way_out(tmp_path):
    folder = make_causal_backbone(tmp_path / "backbone")
    path = folder / "tokenizer_config.json"
    kept = {
        name: value
        for name, value in json.loads(path.read_text()).items()
        if name not in ("pad_token", "eos_token")
    }
    path.write_text(json.dumps(kept))
    with pytest.raises(TrainingError, match="neither a padding nor an end-of-text token"):
        load_network(folder, CONFIG)


def test_one_task_is_trained_on_and_nothing_is_reported(backbone_dir, tmp_path):
    report = RecordingReport()
    result = train(CONFIG, backbone_dir, tmp_path / "run", report, make_tasks(1))
    assert result.metrics["accuracy"] is None
    assert result.metrics["collapsed"] is None
    assert result.metrics["by_labeler"] == result.metrics["worst_mistakes"] == []
    assert result.metrics["train_tasks"] == 1
    assert any("nothing could be held out" in line for line in report.lines)
    json.dumps(result.metrics, allow_nan=False)
