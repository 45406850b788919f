import json
import math
import random
import weakref
from dataclasses import replace

import pytest
import torch

from app.inference.loading import load_model
from app.inference.scoring import score
from app.inference.starters import ensure_starter
from app.training import reward_scorer
from app.training.configs import RewardModelConfig
from app.training.ppo import train_policy
from app.training.ranked_task import RankedTask, split_tasks
from app.training.report import Cancelled, TrainingError
from app.training.reward_model import score_tasks, train_reward_model
from app.training.reward_network import load_network
from app.training.reward_scorer import load_scorer
from app.training.schedules import scheduled_rate

from .conftest import DATA, RecordingReport, require
from .test_ppo import SMALL
from .tiny import (
    make_backbone,
    make_causal_backbone,
    make_causal_reward_model,
    make_policy,
    make_prompts,
)

CONFIG = RewardModelConfig(
    backbone="tiny",
    learning_rate=3e-3,
    tasks_per_batch=4,
    max_length=32,
    eval_fraction=0.25,
    precision="fp32",
)


@pytest.fixture(scope="module")
def backbone_dir(tmp_path_factory):
    return make_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="module")
def llama_dir(tmp_path_factory):
    return make_causal_backbone(tmp_path_factory.mktemp("llama"))


def make_tasks(count: int, seed: int = 0) -> list[RankedTask]:
    """Completions of one length, fewest letters z first; equal counts tie.

    The untrained head happens to like z, so that nothing is learned before training.
    """
    generator = random.Random(seed)
    tasks = []
    for n in range(count):
        zs = [generator.randrange(9) for _ in range(4)]
        texts = ["".join(generator.sample("z" * z + "a" * (8 - z), 8)) for z in zs]
        tasks.append(
            RankedTask(
                prompt_id=f"p{n}",
                messages=[{"role": "user", "content": f"write {n}"}],
                completions=texts,
                rankings=[[1 + sum(other < z for other in set(zs)) for z in zs]],
            )
        )
    return tasks


def train(config, backbone_dir, run_dir, report=None, tasks=None):
    return train_reward_model(
        config, backbone_dir, tasks or make_tasks(24), run_dir, report or RecordingReport()
    )


@pytest.mark.slow
def test_a_reward_model_learns_what_people_prefer(backbone_dir, tmp_path):
    report = RecordingReport()
    result = train(replace(CONFIG, epochs=6), backbone_dir, tmp_path, report, make_tasks(60))
    assert result.metrics["accuracy"] > 0.9
    assert result.metrics["log_loss"] < 0.4
    assert result.metrics["longer_wins_accuracy"] == 0.5  # all texts are of one length
    assert result.metrics["length_correlation"] is None
    assert result.metrics["train_tasks"] + result.metrics["eval_tasks"] == 60
    assert report.series["eval_accuracy"][0] < 0.5
    assert len(report.series["eval_accuracy"]) == 5
    json.dumps(result.metrics, allow_nan=False)


@pytest.mark.parametrize("kind", ["backbone_dir", "llama_dir"])
def test_rewards_average_0_on_the_training_completions_as_the_server_scores_them(
    kind, request, tmp_path
):
    tasks = make_tasks(12)
    config = replace(CONFIG, epochs=2, eval_fraction=0.0)
    result = train(config, request.getfixturevalue(kind), tmp_path, tasks=tasks)
    loaded = load_model(result.model_dir, "reward_model", device="cpu")
    trained_on, _ = split_tasks(tasks, 0.0, CONFIG.seed)
    assert len(trained_on) == 11
    rewards = [
        one.reward
        for task in trained_on
        for one in score(
            loaded.model, loaded.tokenizer, task.messages, task.completions, CONFIG.max_length
        )
    ]
    assert torch.tensor(rewards).mean().item() == pytest.approx(0, abs=1e-4)
    assert torch.tensor(rewards).std() > 0


@pytest.mark.parametrize("kind", ["backbone_dir", "llama_dir"])
def test_training_scores_equal_the_servers_whatever_the_batch(kind, request):
    network = load_network(request.getfixturevalue(kind), CONFIG)
    tasks = make_tasks(3)
    tasks[1] = replace(tasks[1], completions=["z", "zz", "a" * 20, "é"])
    ours = [scores[:, 0] for scores in score_tasks(network, tasks)]
    for task, rewards in zip(tasks, ours, strict=True):
        for k, text in enumerate(task.completions):
            (alone,) = score(network.model, network.tokenizer, task.messages, [text], 32)
            assert rewards[k].item() == pytest.approx(alone.reward, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("crash_at", [2, 4])
def test_a_killed_run_goes_on_with_the_same_next_loss(backbone_dir, tmp_path, crash_at):
    whole = RecordingReport()
    expected = train(CONFIG, backbone_dir, tmp_path / "whole", whole)
    with pytest.raises(KeyboardInterrupt):
        train(
            CONFIG,
            backbone_dir,
            tmp_path / "broken",
            RecordingReport(crash_at=crash_at, series="loss"),
        )
    torch.manual_seed(1234)
    resumed = RecordingReport()
    result = train(CONFIG, backbone_dir, tmp_path / "broken", resumed)
    assert any("Going on after" in line for line in resumed.lines)
    assert 1 not in resumed.series["loss"]
    for step, loss in resumed.series["loss"].items():
        assert loss == whole.series["loss"][step]
    assert result.metrics == expected.metrics


def test_several_labelers_rankings_are_all_learned_from(backbone_dir, tmp_path):
    # Two labelers of three put z first: the majority's order is learned, and the report says how
    # far people agree.
    tasks = [
        replace(
            task,
            completions=["zzzzzzzz", "aaaaaaaa"],
            rankings=[[1, 2], [1, 2], [2, 1]],
        )
        for task in make_tasks(24)
    ]
    metrics = train(replace(CONFIG, epochs=3), backbone_dir, tmp_path, tasks=tasks).metrics
    assert metrics["accuracy"] == pytest.approx(2 / 3)
    assert metrics["human_agreement"] == pytest.approx(1 / 3)
    # No model can lose less than the entropy of (2/3, 1/3).
    entropy = -(2 / 3) * math.log(2 / 3) - (1 / 3) * math.log(1 / 3)
    assert metrics["log_loss"] == pytest.approx(entropy, abs=0.05)


@pytest.mark.slow
def test_the_gradient_does_not_depend_on_the_grouping(backbone_dir, tmp_path, monkeypatch):
    losses = []
    for limit in (10_000, 1):
        monkeypatch.setattr("app.training.work_sizes.LARGEST_GROUP", limit)
        report = RecordingReport()
        train(CONFIG, backbone_dir, tmp_path / str(limit), report)
        losses.append(list(report.series["loss"].values()))
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_progress_rises_to_1_with_an_eta(backbone_dir, tmp_path):
    report = RecordingReport()
    train(CONFIG, backbone_dir, tmp_path, report)
    fractions = [fraction for fraction, _, _ in report.stages]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert all(eta is None or eta >= 0 for _, _, eta in report.stages)


def test_a_cancelled_run_stops(backbone_dir, tmp_path):
    report = RecordingReport()
    report.cancelled = True
    with pytest.raises(Cancelled):
        train(CONFIG, backbone_dir, tmp_path, report)
    assert not (tmp_path / "model").exists()


def test_a_loss_that_is_no_number_names_the_step(backbone_dir, tmp_path):
    with pytest.raises(TrainingError, match=r"not finite (at|after) step"):
        train(replace(CONFIG, learning_rate=1e30), backbone_dir, tmp_path)


def test_a_folder_without_a_backbone_is_one_line(tmp_path):
    with pytest.raises(TrainingError, match="Cannot load the backbone") as caught:
        train(CONFIG, tmp_path / "absent", tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_the_rate_warms_up_and_falls_to_zero():
    rates = [scheduled_rate(1.0, step, 20) for step in range(1, 21)]
    assert rates[0] == 0.5
    assert rates[1] == 1.0
    assert rates[1:] == sorted(rates[1:], reverse=True)
    assert 0 < rates[-1] < 0.06
    assert scheduled_rate(1.0, 1, 1) == 1.0


@pytest.mark.slow
def test_ppo_runs_against_a_reward_model_with_another_tokenizer(backbone_dir, tmp_path):
    reward_model = train(CONFIG, backbone_dir, tmp_path / "reward").model_dir
    report = RecordingReport()
    result = train_policy(
        SMALL,
        make_policy(tmp_path / "policy"),
        reward_model,
        make_prompts(12),
        make_prompts(16)[12:],
        tmp_path / "ppo",
        report,
    )
    scorer = load_scorer(reward_model)
    rows = result.after["samples"]
    rewards = scorer(make_prompts(16)[12:], [row["completion"] for row in rows])
    assert [row["reward"] for row in rows] == pytest.approx(rewards, abs=1e-5)
    assert sum(rewards) / 4 == pytest.approx(result.after["reward_mean"], abs=1e-5)


def test_a_reward_model_is_in_memory_only_while_it_scores(tmp_path, monkeypatch):
    folder = make_causal_reward_model(tmp_path / "reward")
    models = []

    def watched(*arguments, **options):
        loaded = load_model(*arguments, **options)
        models.append(weakref.ref(loaded.model))
        return loaded

    monkeypatch.setattr(reward_scorer, "load_model", watched)
    scorer = load_scorer(folder)
    prompts = make_prompts(2)
    first = scorer(prompts, ["some words", "more"])
    assert scorer(prompts, ["some words", "more"]) == first
    assert len(models) == 3
    assert not any(model() for model in models)

    (folder / "model.safetensors").unlink()
    with pytest.raises(TrainingError, match="Cannot load the reward model"):
        scorer(prompts, ["some words", "more"])


def test_a_folder_without_a_reward_model_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="Cannot load the reward model"):
        load_scorer(tmp_path)


@pytest.mark.model
def test_minilm_trains_on_real_rankings(tmp_path):
    path = require(DATA / "oasst_rankings.jsonl")
    tasks = []
    for line in path.read_text().splitlines():
        row = json.loads(line)
        completions = row["completions"][:4]
        if len(completions) == 4 and len(tasks) < 40:
            tasks.append(
                RankedTask(
                    prompt_id=row["tree"],
                    messages=row["prompt"],
                    completions=[completion["text"] for completion in completions],
                    rankings=[[completion["rank"] + 1 for completion in completions]],
                )
            )
    backbone = ensure_starter("minilm-l6", tmp_path / "models")
    config = RewardModelConfig(backbone="minilm-l6", max_length=64)
    report = RecordingReport()
    result = train_reward_model(config, backbone, tasks, tmp_path / "run", report)
    assert all(math.isfinite(loss) for loss in report.series["loss"].values())
    assert result.metrics["reward_std"] > 0
    assert 0 <= result.metrics["accuracy"] <= 1
