import math
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM

from app.training.configs import PPOConfig
from app.training.policy import load_policy
from app.training.ppo import draw_prompts, tune_policy
from app.training.ppo_update import draw_minibatches, update_policy
from app.training.report import Cancelled, TrainingError
from app.training.rollouts import collect_rollout

from .conftest import RecordingReport
from .tiny import lowercase_share, make_policy, make_prompts

SMALL = PPOConfig(
    policy="tiny",
    reward_model="lowercase",
    iterations=4,
    prompts_per_iteration=4,
    completions_per_prompt=2,
    max_new_tokens=6,
    epochs=2,
    minibatches=2,
    learning_rate=1e-3,
    lora_rank=4,
    eval_prompts=4,
    evaluate_every=2,
    best_of=1,
)
SERIES = (
    "reward_mean",
    "reward_std",
    "kl",
    "kl_coef",
    "objective",
    "policy_loss",
    "value_loss",
    "clip_fraction",
    "approx_kl",
    "entropy",
    "length_mean",
    "eos_fraction",
    "grad_norm",
)
SECONDS = ("generate_seconds", "score_seconds", "logprobs_seconds", "train_seconds")


@pytest.fixture(scope="module")
def policy_dir(tmp_path_factory):
    return make_policy(tmp_path_factory.mktemp("policy"))


def tune(config, policy_dir, run_dir, report=None, score=lowercase_share, prompts=None, **judges):
    return tune_policy(
        config,
        policy_dir,
        score,
        make_prompts(12) if prompts is None else prompts,
        make_prompts(16)[12:],
        run_dir,
        report or RecordingReport(),
        judges,
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_reward_rises_and_the_kl_stays_bounded(tmp_path, seed):
    # Completions of 12 bytes. All lowercase and otherwise as the reference would be costs about
    # 12 ln(258 / 26) = 27.5 nats, and one certain text would cost 12 ln 258 = 66.6.
    config = PPOConfig(
        policy="tiny",
        reward_model="lowercase",
        iterations=14,
        prompts_per_iteration=32,
        completions_per_prompt=2,
        max_new_tokens=12,
        epochs=4,
        minibatches=2,
        learning_rate=1e-2,
        kl_coef=0.02,
        kl_target=None,
        lora_rank=None,
        eval_prompts=16,
        seed=seed,
    )
    report = RecordingReport()
    policy_dir = make_policy(tmp_path / "policy", seed)
    prompts = make_prompts(80)
    result = tune_policy(
        config, policy_dir, lowercase_share, prompts[:64], prompts[64:], tmp_path / "run", report
    )
    assert result.before["reward_mean"] < -0.6
    assert result.after["reward_mean"] > 0.4
    assert result.before["kl"] == pytest.approx(0, abs=1e-3)
    assert 1 < result.after["kl"] < 40
    assert max(report.series["kl"].values()) < 40


def test_the_best_look_is_kept_and_reported(policy_dir, tmp_path):
    calls = []

    def fading(prompts, completions):
        # Before, then two rollouts and a look, three times; all is worth less from the last look.
        calls.append(len(prompts))
        worth = 1.0 if len(calls) < 10 else -10.0
        return [worth + share for share in lowercase_share(prompts, completions)]

    config = replace(SMALL, iterations=6, evaluate_every=2)
    report = RecordingReport()
    result = tune(config, policy_dir, tmp_path / "whole", report, fading)
    looks = report.series["eval_reward_mean"]
    assert sorted(looks) == [2, 4, 6]
    best = max(looks, key=looks.get)
    assert best != 6
    assert result.iteration == best
    assert any(f"Kept the policy of iteration {best}" in line for line in report.lines)
    series = {"eval_kl", "eval_length_mean"}  # its texts are too short to repeat themselves
    assert series <= report.series.keys()

    calls.clear()
    shorter = replace(config, iterations=best, evaluate_every=0)
    expected = tune(shorter, policy_dir, tmp_path / "shorter", score=fading)
    ours = AutoModelForCausalLM.from_pretrained(result.model_dir).state_dict()
    theirs = AutoModelForCausalLM.from_pretrained(expected.model_dir).state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_plateau_ends_the_run_and_stays_ended(policy_dir, tmp_path):
    config = replace(SMALL, iterations=9, evaluate_every=1, patience=2, learning_rate=1e-8)
    report = RecordingReport()
    result = tune(config, policy_dir, tmp_path, report, lambda _prompts, texts: [0.0] * len(texts))
    assert "has not risen since iteration 1" in result.stopped
    assert sorted(report.series["reward_mean"]) == [1, 2, 3]
    assert result.iteration == 1
    again = RecordingReport()
    tune(config, policy_dir, tmp_path, again, lambda _prompts, texts: [0.0] * len(texts))
    assert "reward_mean" not in again.series


def test_a_run_far_from_the_reference_ends(policy_dir, tmp_path):
    free = replace(SMALL, kl_coef=0.0, kl_target=None, learning_rate=0.05)
    config = replace(free, iterations=9, stop_kl=0.5, evaluate_every=0)
    report = RecordingReport()
    result = tune(config, policy_dir, tmp_path, report)
    assert "above stop_kl, 0.5" in result.stopped
    assert result.iteration == max(report.series["kl"]) < 9
    assert max(report.series["kl"].values()) > 0.5


def test_the_best_of_several_completions_is_what_tuning_has_to_beat(policy_dir, tmp_path):
    result = tune(replace(SMALL, iterations=1, best_of=4), policy_dir, tmp_path)
    best_of = result.best_of
    assert best_of["n"] == 4
    assert best_of["kl"] == pytest.approx(math.log(4) - 3 / 4)
    # The first completion of each prompt is that of the report before, so the best is no worse.
    assert best_of["reward_mean"] > result.before["reward_mean"]
    low, high = best_of["reward_ci95"]
    assert low <= best_of["reward_mean"] <= high


def test_judges_see_the_held_out_prompts_alone_and_change_nothing(policy_dir, tmp_path):
    asked = []

    def judge(prompts, texts):
        asked.extend(prompt.id for prompt in prompts)
        return [float(len(text)) for text in texts]

    plain, judged = RecordingReport(), RecordingReport()
    alone = tune(SMALL, policy_dir, tmp_path / "alone", plain)
    result = tune(SMALL, policy_dir, tmp_path / "judged", judged, second_opinion=judge)
    held_out = {prompt.id for prompt in make_prompts(16)[12:]}
    assert set(asked) == held_out
    assert len(asked) == 4 * len(held_out), "before, at both looks, after"
    assert judged.series["policy_loss"] == plain.series["policy_loss"]
    assert sorted(judged.series["eval_second_opinion_mean"]) == [2, 4]
    assert "eval_second_opinion_mean" not in plain.series
    assert result.after["reward_mean"] == alone.after["reward_mean"]
    lengths = [len(row["completion"]) for row in result.after["samples"]]
    assert [row["second_opinion"] for row in result.after["samples"]] == lengths
    assert result.after["second_opinion_mean"] == sum(lengths) / len(lengths)

    def broken(_prompts, texts):
        return [math.nan] * len(texts)

    with pytest.raises(TrainingError, match="second opinion gave a reward that is not finite"):
        tune(SMALL, policy_dir, tmp_path / "broken", second_opinion=broken)


def test_minibatches_hold_every_row_once_and_keep_the_completions_of_a_prompt_together():
    config = replace(SMALL, completions_per_prompt=3, minibatches=4)
    for epoch in range(2):
        parts = draw_minibatches(15, config, 1, epoch)
        assert sorted(torch.cat(parts).tolist()) == list(range(15))
        assert [len(part) for part in parts] == [6, 3, 3, 3]
        assert all(
            row // 3 == group[0] // 3
            for part in parts
            for group in part.view(-1, 3).tolist()
            for row in group
        )
    assert len(draw_minibatches(3, config, 1, 0)) == 1


def test_every_series_has_a_point_for_every_iteration(policy_dir, tmp_path):
    report = RecordingReport()
    tune(SMALL, policy_dir, tmp_path, report)
    for name in (*SERIES, *SECONDS):
        assert sorted(report.series[name]) == [1, 2, 3, 4], name
        assert all(math.isfinite(value) for value in report.series[name].values()), name
    assert {"prompt", "completion", "reward", "kl"} <= set(report.rows[4][0])
    fractions = [fraction for fraction, _, _ in report.stages]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert report.stages[-4][2] > 0  # an ETA, once an iteration was timed


@pytest.mark.parametrize("lora_rank", [4, None])
@pytest.mark.parametrize("crash_at", [1, 3])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(policy_dir, tmp_path, crash_at, lora_rank):
    config = replace(SMALL, lora_rank=lora_rank)
    whole = RecordingReport()
    expected = tune(config, policy_dir, tmp_path / "whole", whole)

    broken = RecordingReport(crash_at=crash_at, series="policy_loss")
    with pytest.raises(KeyboardInterrupt):
        tune(config, policy_dir, tmp_path / "broken", broken)
    torch.manual_seed(1234)  # another process has another global generator
    resumed = RecordingReport()
    result = tune(config, policy_dir, tmp_path / "broken", resumed)

    assert any("Going on after" in line for line in resumed.lines)
    for name in SERIES:
        for step, value in resumed.series[name].items():
            assert value == whole.series[name][step], (name, step)
        assert {crash_at, 4} <= set(resumed.series[name])
    assert result.before == expected.before
    assert result.after == expected.after
    ours = AutoModelForCausalLM.from_pretrained(result.model_dir).state_dict()
    theirs = AutoModelForCausalLM.from_pretrained(expected.model_dir).state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_torn_checkpoint_costs_an_iteration_and_not_the_run(policy_dir, tmp_path):
    whole = RecordingReport()
    tune(SMALL, policy_dir, tmp_path / "whole", whole)
    with pytest.raises(KeyboardInterrupt):
        tune(
            SMALL,
            policy_dir,
            tmp_path / "broken",
            RecordingReport(crash_at=4, series="policy_loss"),
        )
    newest = max((tmp_path / "broken" / "checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:1000])
    resumed = RecordingReport()
    tune(SMALL, policy_dir, tmp_path / "broken", resumed)
    assert any(newest.name in line for line in resumed.lines)
    assert resumed.series["policy_loss"][4] == whole.series["policy_loss"][4]


def test_a_finished_run_that_is_run_again_gives_the_same_result(policy_dir, tmp_path):
    first = tune(SMALL, policy_dir, tmp_path)
    report = RecordingReport()
    again = tune(SMALL, policy_dir, tmp_path, report)
    assert again.after == first.after
    assert "policy_loss" not in report.series


def test_a_cancelled_run_stops_and_leaves_no_model(policy_dir, tmp_path):
    report = RecordingReport()

    def score(prompts, completions):
        report.cancelled = len(report.series.get("reward_mean", {})) == 2
        return lowercase_share(prompts, completions)

    with pytest.raises(Cancelled):
        tune(SMALL, policy_dir, tmp_path, report, score)
    assert max(report.series["reward_mean"]) == 2
    assert not (tmp_path / "model").exists()


def test_a_reward_that_is_no_number_names_the_iteration(policy_dir, tmp_path):
    calls = []

    def score(prompts, completions):
        calls.append(1)
        return [float("nan") if len(calls) == 4 else 0.0 for _ in prompts]

    # The starting policy is measured in one call, so the fourth is iteration 3.
    with pytest.raises(TrainingError, match="Iteration 3: The reward model gave nan"):
        tune(replace(SMALL, evaluate_every=0), policy_dir, tmp_path, score=score)


def test_nothing_to_train_on_is_refused(policy_dir, tmp_path):
    with pytest.raises(TrainingError, match="no prompt"):
        tune(SMALL, policy_dir, tmp_path, prompts=[])


def test_prompts_that_do_not_fit_are_left_out_and_counted(policy_dir, tmp_path):
    report = RecordingReport()
    tune(replace(SMALL, iterations=1, max_prompt_tokens=7), policy_dir, tmp_path, report)
    # "say 0>" has 6 tokens, "say 1!>" 7, "say 2!!>" 8: 2, 5, 8, 10 and 11 are too long.
    assert any("Left out 5 of 12" in line for line in report.lines)


def test_the_rollout_is_trained_on_alike_in_parts_and_whole(policy_dir, tmp_path, monkeypatch):
    weights = []
    for limit in (10_000, 1):
        monkeypatch.setattr("app.training.work_sizes.LARGEST_GROUP", limit)
        tokenizer, policy = load_policy(policy_dir, None, 0)
        rollout = collect_rollout(
            policy,
            tokenizer,
            lowercase_share,
            make_prompts(8),
            RecordingReport(),
            temperature=1.0,
            max_new_tokens=6,
            seed=0,
        )
        # Plain gradient descent: Adam would blow rounding up to its full step.
        optimizer = torch.optim.SGD(policy.parameters(), lr=0.1)
        report = RecordingReport()
        update_policy(policy, optimizer, rollout, rollout.scores, 0.1, SMALL, 1, report)
        weights.append({name: weight.clone() for name, weight in policy.trained_state().items()})
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, atol=1e-5, rtol=1e-4)


def test_every_prompt_is_drawn_once_a_pass():
    prompts = make_prompts(10)
    drawn = [
        prompt.id
        for iteration in (1, 2, 3, 4, 5)
        for prompt in draw_prompts(prompts, 4, iteration, 7)
    ]
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == sorted(prompt.id for prompt in prompts)
    assert drawn[:10] != drawn[10:]
