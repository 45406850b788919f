"""A run that is killed at any moment and started again ends as if it had never been killed."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from app.training import held_out_watch
from app.training.checkpoint import Checkpoints

from . import test_dpo, test_ppo, test_reward_model
from .conftest import RecordingReport
from .tiny import lowercase_share, make_backbone, make_policy

SECONDS = "_seconds"


class KilledAt(RecordingReport):
    """Dies at the nth time that a stage begins."""

    def __init__(self, stage: str, nth: int = 1) -> None:
        super().__init__()
        self._stage = stage
        self._left = nth

    def progress(self, fraction: float, stage: str, eta_seconds: float | None = None) -> None:
        super().progress(fraction, stage, eta_seconds)
        if self._stage in stage:
            self._left -= 1
            if not self._left:
                raise KeyboardInterrupt("killed")


class KilledAtToken(RecordingReport):
    """Dies in the middle of sampling, once a stage has begun."""

    def __init__(self, stage: str) -> None:
        super().__init__()
        self._stage = stage
        self._tokens = 0

    def check_cancelled(self) -> None:
        if self.stages and self._stage in self.stages[-1][1]:
            self._tokens += 1
            if self._tokens == 3:
                raise KeyboardInterrupt("killed")


@pytest.fixture(scope="module")
def policy_dir(tmp_path_factory):
    return make_policy(tmp_path_factory.mktemp("policy"))


@pytest.fixture(scope="module")
def backbone_dir(tmp_path_factory):
    return make_backbone(tmp_path_factory.mktemp("backbone"))


def run_ppo(folder, run_dir, report):
    config = replace(test_ppo.SMALL, iterations=4, evaluate_every=2, kl_coef=0.3, temperature=0.7)
    result = test_ppo.tune(config, folder, run_dir, report, lowercase_share)
    return result, (result.before, result.after, result.iteration, result.stopped)


def run_dpo(folder, run_dir, report):
    result = test_dpo.tune(test_dpo.SMALL, folder, run_dir, report, score=lowercase_share)
    return result, (result.before, result.after, result.comparison)


def run_reward_model(folder, run_dir, report):
    config = replace(test_reward_model.CONFIG, epochs=2)
    result = test_reward_model.train(config, folder, run_dir, report)
    return result, result.metrics


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a run gives that nobody kills, each made once: result, figures, series."""
    made = {}

    def make(run, folder):
        if run not in made:
            report = RecordingReport()
            result, figures = run(folder, tmp_path_factory.mktemp("whole"), report)
            made[run] = result, figures, report.series
        return made[run]

    return make


def assert_goes_on(run, folder, tmp_path, killed, whole):
    expected, figures, series = whole(run, folder)
    with pytest.raises(KeyboardInterrupt):
        run(folder, tmp_path / "killed", killed)
    torch.manual_seed(1234)  # another process has another global generator
    resumed = RecordingReport()
    result, ours = run(folder, tmp_path / "killed", resumed)
    assert ours == figures
    for name, points in series.items():
        if not name.endswith(SECONDS):
            together = {**killed.series.get(name, {}), **resumed.series.get(name, {})}
            assert together == points, name
    saved, again = (load_file(one.model_dir / "model.safetensors") for one in (expected, result))
    assert saved.keys() == again.keys()
    assert all(torch.equal(weight, again[name]) for name, weight in saved.items())


@pytest.mark.parametrize(
    "killed",
    [
        KilledAtToken("Measuring the starting policy"),
        KilledAtToken("Iteration 3 of 4: sampling"),
        KilledAt("Iteration 2 of 4: training"),
        KilledAtToken("Iteration 2 of 4: held-out prompts"),
        KilledAtToken("Iteration 4 of 4: held-out prompts"),
        KilledAtToken("Measuring the tuned policy"),
        KilledAt("Saving the tuned policy"),
        KilledAt("Done"),
    ],
    ids=lambda killed: f"{type(killed).__name__} {killed._stage}",
)
def test_ppo_goes_on(policy_dir, tmp_path, killed, whole):
    assert_goes_on(run_ppo, policy_dir, tmp_path, killed, whole)


@pytest.mark.parametrize(
    "killed",
    [
        KilledAtToken("Measuring the starting policy"),
        KilledAt("Reading the rankings with the reference"),
        KilledAt("Reading held-out rankings"),
        KilledAt("Reading held-out rankings", 3),
        KilledAt("Step 2 of 4"),
        KilledAtToken("Measuring the tuned policy"),
        KilledAt("Saving the tuned policy"),
    ],
    ids=lambda killed: f"{type(killed).__name__} {killed._stage}",
)
def test_dpo_goes_on(policy_dir, tmp_path, killed, whole):
    assert_goes_on(run_dpo, policy_dir, tmp_path, killed, whole)


@pytest.mark.parametrize(
    "killed",
    [
        KilledAt("Scoring held-out prompts"),
        KilledAt("Scoring held-out prompts", 3),
        KilledAt("Step 4 of"),
        KilledAt("Centring rewards"),
        KilledAt("Done"),
    ],
    ids=lambda killed: f"{type(killed).__name__} {killed._stage}",
)
def test_a_reward_model_goes_on(backbone_dir, tmp_path, killed, whole):
    assert_goes_on(run_reward_model, backbone_dir, tmp_path, killed, whole)


def test_a_reward_model_starts_again_where_rankings_were_erased_meanwhile(backbone_dir, tmp_path):
    """Another split: what the checkpoint learned from may be among what is held out now."""
    config = test_reward_model.CONFIG
    tasks = test_reward_model.make_tasks(24)
    killed = RecordingReport(crash_at=4, series="loss")
    with pytest.raises(KeyboardInterrupt):
        test_reward_model.train(config, backbone_dir, tmp_path / "killed", killed, tasks)
    resumed = RecordingReport()
    result = test_reward_model.train(config, backbone_dir, tmp_path / "killed", resumed, tasks[1:])
    assert any("starting again" in line for line in resumed.lines)
    expected = test_reward_model.train(
        config, backbone_dir, tmp_path / "whole", RecordingReport(), tasks[1:]
    )
    assert result.metrics == expected.metrics
    again = RecordingReport()
    test_reward_model.train(config, backbone_dir, tmp_path / "killed", again, tasks[1:])
    assert "loss" not in again.series


def test_ppo_goes_on_between_the_best_weights_and_their_checkpoint(
    policy_dir, tmp_path, monkeypatch
):
    """Even where the machine that takes over rounds otherwise, and finds no new best there."""
    rewards = {"killed": [0.0, 5.0], "resumed": [-1.0]}
    config = replace(test_ppo.SMALL, iterations=4, evaluate_every=2)
    run_dir = tmp_path / "run"

    def tune(looks):
        taken = iter(looks)
        evaluate = held_out_watch.HeldOutWatch.take

        def take(watch, iteration, figures, policy):
            evaluate(watch, iteration, {**figures, "reward_mean": next(taken)}, policy)

        with monkeypatch.context() as patch:
            patch.setattr(held_out_watch.HeldOutWatch, "take", take)
            return test_ppo.tune(config, policy_dir, run_dir, RecordingReport())

    save = Checkpoints.save

    def die_at_the_last(checkpoints, step, state):
        if step == 4:
            raise KeyboardInterrupt("killed")
        return save(checkpoints, step, state)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", die_at_the_last)
        with pytest.raises(KeyboardInterrupt):
            tune(rewards["killed"])
    assert tune(rewards["resumed"]).iteration == 2
    shorter = replace(config, iterations=2)
    expected = test_ppo.tune(shorter, policy_dir, tmp_path / "shorter", RecordingReport())
    kept, second = (
        load_file(folder / "model" / "model.safetensors")
        for folder in (run_dir, tmp_path / "shorter")
    )
    assert expected.iteration == 2
    assert all(torch.equal(weight, second[name]) for name, weight in kept.items())
