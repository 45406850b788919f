"""What PPO and DPO make of input that is not as it should be: an end one can act on, or a handling
that the docs tell. What they have in common is tried on both."""

import json
import math
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from app.training.configs import PPOConfig
from app.training.kl import make_controller
from app.training.report import TrainingError
from app.training.reward_scorer import load_scorer

from . import test_dpo, test_ppo, test_reward_model
from .conftest import RecordingReport
from .test_reward_bad_input import damage
from .tiny import (
    lowercase_share,
    make_backbone,
    make_causal_backbone,
    make_causal_reward_model,
    make_policy,
    make_prompts,
)


def run_ppo(policy_dir, run_dir, report=None, score=lowercase_share):
    config = replace(test_ppo.SMALL, iterations=2)
    return test_ppo.tune(config, policy_dir, run_dir, report, score)


def run_dpo(policy_dir, run_dir, report=None, score=lowercase_share):
    config = replace(test_dpo.SMALL, epochs=1)
    return test_dpo.tune(config, policy_dir, run_dir, report, score=score)


both = pytest.mark.parametrize("run", [run_ppo, run_dpo])


@pytest.fixture
def policy_dir(tmp_path):
    return make_policy(tmp_path / "policy")


def change_tokenizer(folder, *removed):
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in settings.items() if k not in removed}))


@both
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_no_number_ends_the_run_naming_the_prompt(run, policy_dir, tmp_path, bad):
    def score(prompts, completions):
        return [bad if prompt.id == prompts[-1].id else 0.0 for prompt in prompts]

    with pytest.raises(TrainingError, match=r"for prompt p\d+; train or choose another"):
        run(policy_dir, tmp_path / "run", score=score)
    assert not (tmp_path / "run" / "model").exists()


@both
def test_a_damaged_reward_model_ends_the_run(run, policy_dir, tmp_path):
    folder = make_backbone(tmp_path / "reward")
    damage(folder, math.nan)
    with pytest.raises(TrainingError, match=r"not a finite number.* another one"):
        run(policy_dir, tmp_path / "run", score=load_scorer(folder))


@both
def test_a_completion_longer_than_the_reward_model_takes_is_cut(run, policy_dir, tmp_path):
    folder = make_backbone(tmp_path / "reward")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "podium_max_length": 6}))
    judge = load_scorer(folder)

    def score(prompts, completions):
        rewards = judge(prompts, completions)
        # Six tokens have room for three beside [CLS] and two [SEP].
        assert rewards == pytest.approx(judge(prompts, [text[:3] for text in completions]))
        return rewards

    result = run(policy_dir, tmp_path / "run", score=score)
    assert math.isfinite(result.after["reward_mean"])


@both
def test_damaged_weights_are_named(run, policy_dir, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(policy_dir)
    with torch.no_grad():
        model.model.norm.weight[0] = math.nan
    model.save_pretrained(policy_dir)
    with pytest.raises(TrainingError, match="weights are damaged"):
        run(policy_dir, tmp_path / "run")


@both
def test_cut_weights_are_one_line(run, policy_dir, tmp_path):
    path = policy_dir / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(TrainingError, match="Cannot load the policy") as caught:
        run(policy_dir, tmp_path / "run")
    assert "\n" not in str(caught.value)


@both
def test_a_policy_that_says_nothing_is_tuned_all_the_same(run, policy_dir, tmp_path):
    # Whatever it writes first ends its turn.
    GenerationConfig(eos_token_id=list(range(258))).save_pretrained(policy_dir)
    result = run(policy_dir, tmp_path / "run")
    assert [row["completion"] for row in result.after["samples"]] == [""] * 4
    assert result.after["length_mean"] == 1
    assert math.isfinite(result.after["kl"])


@both
def test_a_tokenizer_without_padding_changes_nothing(run, policy_dir, tmp_path):
    expected = run(policy_dir, tmp_path / "expected")
    change_tokenizer(policy_dir, "pad_token")
    result = run(policy_dir, tmp_path / "run")
    for one, other in zip(expected.after["samples"], result.after["samples"], strict=True):
        assert one["completion"] == other["completion"]
        assert one["kl"] == pytest.approx(other["kl"], abs=1e-4)


@both
def test_a_tokenizer_without_an_end_is_refused_with_the_way_out(run, policy_dir, tmp_path):
    change_tokenizer(policy_dir, "pad_token", "eos_token")
    with pytest.raises(TrainingError, match=r"no end-of-text token.* set eos_token"):
        run(policy_dir, tmp_path / "run")


@both
def test_a_policy_without_a_chat_template_is_given_plain_text(run, policy_dir, tmp_path):
    (policy_dir / "chat_template.jinja").unlink()
    report = RecordingReport()
    run(policy_dir, tmp_path / "run", report)
    assert any("no chat template" in line for line in report.lines)


@both
def test_a_reward_model_of_another_tokenizer_reads_the_text(run, policy_dir, tmp_path):
    judge = load_scorer(make_causal_reward_model(tmp_path / "reward"))
    result = run(policy_dir, tmp_path / "run", score=judge)
    rows = result.after["samples"]
    prompts = make_prompts(16)[12:] if run is run_ppo else make_prompts(12)[8:]
    expected = judge(prompts, [row["completion"] for row in rows])
    assert [row["reward"] for row in rows] == pytest.approx(expected, abs=1e-5)


def test_ppo_on_one_prompt_goes_round_on_it(policy_dir, tmp_path):
    report = RecordingReport()
    config = replace(test_ppo.SMALL, iterations=2, prompts_per_iteration=3)
    result = test_ppo.tune(config, policy_dir, tmp_path, report, prompts=make_prompts(1))
    assert sorted(report.series["policy_loss"]) == [1, 2]
    assert math.isfinite(result.after["reward_mean"])


@pytest.mark.parametrize("completions_per_prompt", [1, 2])
def test_ppo_with_one_prompt_an_iteration(policy_dir, tmp_path, completions_per_prompt):
    report = RecordingReport()
    config = replace(
        test_ppo.SMALL,
        iterations=2,
        prompts_per_iteration=1,
        completions_per_prompt=completions_per_prompt,
    )
    test_ppo.tune(config, policy_dir, tmp_path, report)
    assert all(math.isfinite(loss) for loss in report.series["policy_loss"].values())


def test_completions_longer_than_the_policy_takes_are_refused(policy_dir, tmp_path):
    config = replace(test_ppo.SMALL, max_new_tokens=128)
    with pytest.raises(TrainingError, match=r"takes 128 tokens.* lower max_new_tokens"):
        test_ppo.tune(config, policy_dir, tmp_path)


def test_prompts_that_are_all_too_long_are_refused(policy_dir, tmp_path):
    config = replace(test_ppo.SMALL, max_prompt_tokens=3)
    with pytest.raises(TrainingError, match=r"add shorter ones .* raise max_prompt_tokens"):
        test_ppo.tune(config, policy_dir, tmp_path)


def test_every_kl_target_that_a_form_takes_can_be_aimed_at():
    (field,) = (one for one in PPOConfig.__dataclass_fields__.values() if one.name == "kl_target")
    make_controller(0.1, field.metadata["minimum"]).update(1.0)


def test_dpo_learns_from_an_empty_completion(policy_dir, tmp_path):
    tasks = [
        replace(task, completions=["", *task.completions[1:]], rankings=[[4, 1, 2, 3]])
        for task in test_dpo.make_tasks(12)
    ]
    report = RecordingReport()
    config = replace(test_dpo.SMALL, learning_rate=1e-2, lora_rank=None, epochs=3)
    test_dpo.tune(config, policy_dir, tmp_path, report, tasks)
    assert all(math.isfinite(loss) for loss in report.series["loss"].values())
    assert report.series["accuracy"][6] > report.series["accuracy"][1] == 0.5


def test_a_backbone_with_cut_weights_is_one_line(tmp_path):
    folder = make_backbone(tmp_path / "backbone")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(TrainingError, match="Cannot load the backbone") as caught:
        test_reward_model.train(test_reward_model.CONFIG, folder, tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_a_causal_backbone_without_a_chat_template_reads_plain_text(tmp_path):
    folder = make_causal_backbone(tmp_path / "backbone")
    (folder / "chat_template.jinja").unlink()
    report = RecordingReport()
    tasks = test_reward_model.make_tasks(6)
    result = test_reward_model.train(
        test_reward_model.CONFIG, folder, tmp_path / "run", report, tasks
    )
    assert any("no chat template" in line for line in report.lines)
    score = load_scorer(result.model_dir)
    rewards = score(make_prompts(1) * 2, ["zz", "aa"])
    assert all(math.isfinite(reward) for reward in rewards)
