import math
import random
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from app.training.configs import DPOConfig
from app.training.dpo import tune_on_rankings
from app.training.dpo_data import encode_tasks
from app.training.policy import load_policy
from app.training.ranked_task import RankedTask
from app.training.report import Cancelled, TrainingError

from .conftest import RecordingReport
from .tiny import lowercase_share, make_policy, make_prompts

SMALL = DPOConfig(
    policy="tiny",
    epochs=2,
    learning_rate=1e-3,
    tasks_per_batch=4,
    max_length=128,
    lora_rank=4,
    eval_prompts=4,
    max_new_tokens=6,
)
SERIES = (
    "loss",
    "accuracy",
    "margin",
    "chosen_logprobs",
    "rejected_logprobs",
    "chosen_reward",
    "rejected_reward",
    "kl",
    "learning_rate",
    "grad_norm",
)


@pytest.fixture(scope="module")
def policy_dir(tmp_path_factory):
    return make_policy(tmp_path_factory.mktemp("policy"))


def make_tasks(count: int, seed: int = 0, characters: int = 8) -> list[RankedTask]:
    """Four completions each, ranked by how many of their characters are lowercase letters.

    The others are of every length in bytes: a byte that no completion has would gain what the
    rejected ones lose.
    """
    generator = random.Random(seed)

    def other() -> str:
        ranges = [(1, 97), (1, 97), (0x80, 0x800), (0x800, 0xD800), (0x10000, 0x110000)]
        return chr(generator.randrange(*generator.choice(ranges)))

    tasks = []
    for prompt in make_prompts(count):
        texts = []
        for _ in range(4):
            share = generator.random()
            texts.append(
                "".join(
                    chr(generator.randrange(97, 123)) if generator.random() < share else other()
                    for _ in range(characters)
                )
            )
        lower = [sum("a" <= character <= "z" for character in text) for text in texts]
        ranks: list[int | None] = [1 + sum(one > own for one in lower) for own in lower]
        tasks.append(
            RankedTask(
                prompt_id=prompt.id,
                messages=prompt.messages,
                completions=texts,
                rankings=[ranks],
            )
        )
    return tasks


def tune(config, policy_dir, run_dir, report=None, tasks=None, prompts=None, **judges):
    return tune_on_rankings(
        config,
        policy_dir,
        make_tasks(12) if tasks is None else tasks,
        make_prompts(12)[8:] if prompts is None else prompts,
        run_dir,
        report or RecordingReport(),
        **judges,
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_the_policy_learns_to_prefer_what_the_rankings_prefer(tmp_path, seed):
    config = DPOConfig(
        policy="tiny",
        beta=0.05,
        epochs=4,
        learning_rate=1e-2,
        tasks_per_batch=8,
        lora_rank=None,
        max_length=128,
        max_new_tokens=12,
        seed=seed,
    )
    report = RecordingReport()
    result = tune(
        config,
        make_policy(tmp_path / "policy", seed),
        tmp_path / "run",
        report,
        make_tasks(80, seed, characters=12),
        make_prompts(80)[64:],
        score=lowercase_share,
    )
    held_out = report.series["eval_accuracy"]
    assert held_out[0] == 0.5, "the policy is the reference: every pair is a tie"
    assert held_out[max(held_out)] > 0.85
    assert report.series["eval_loss"][max(held_out)] < 0.35
    assert result.comparison["win_rate"] > 0.7
    assert result.after["reward_mean"] > result.before["reward_mean"] + 0.4
    assert result.before["kl"] == pytest.approx(0, abs=1e-3)
    assert 1 < result.after["kl"] < 40


@pytest.mark.parametrize("beta", [0.05, 2.0])
@pytest.mark.parametrize("lora_rank", [4, None])
def test_the_first_loss_is_ln_2(policy_dir, tmp_path, beta, lora_rank):
    report = RecordingReport()
    tune(replace(SMALL, beta=beta, lora_rank=lora_rank, epochs=1), policy_dir, tmp_path, report)
    assert report.series["loss"][1] == pytest.approx(math.log(2), abs=1e-4)
    assert report.series["accuracy"][1] == 0.5
    assert report.series["kl"][1] == pytest.approx(0, abs=1e-4)
    assert report.series["eval_loss"][0] == pytest.approx(math.log(2), abs=1e-4)


def test_every_series_has_a_point_for_every_step(policy_dir, tmp_path):
    report = RecordingReport()
    tune(SMALL, policy_dir, tmp_path, report)
    for name in (*SERIES, "step_seconds"):
        assert sorted(report.series[name]) == [1, 2, 3, 4], name
        assert all(math.isfinite(value) for value in report.series[name].values()), name
    for name in ("eval_loss", "eval_accuracy", "eval_margin"):
        assert sorted(report.series[name]) == [0, 1, 2, 3, 4], name
    assert {"prompt", "completion", "reward", "rank"} <= set(report.rows[4][0])
    fractions = [fraction for fraction, _, _ in report.stages]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert all(eta is not None and eta > 0 for _, stage, eta in report.stages if "Step" in stage)


@pytest.mark.parametrize("lora_rank", [4, None])
@pytest.mark.parametrize("crash_at", [1, 3])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(policy_dir, tmp_path, crash_at, lora_rank):
    config = replace(SMALL, lora_rank=lora_rank)
    whole = RecordingReport()
    expected = tune(config, policy_dir, tmp_path / "whole", whole, score=lowercase_share)

    with pytest.raises(KeyboardInterrupt):
        tune(
            config,
            policy_dir,
            tmp_path / "broken",
            RecordingReport(crash_at=crash_at, series="grad_norm"),
            score=lowercase_share,
        )
    torch.manual_seed(1234)  # another process has another global generator
    resumed = RecordingReport()
    result = tune(config, policy_dir, tmp_path / "broken", resumed, score=lowercase_share)

    assert any("Going on after" in line for line in resumed.lines)
    for name in SERIES:
        assert resumed.series[name], name
        for step, value in resumed.series[name].items():
            assert value == whole.series[name][step], (name, step)
        assert {crash_at, 4} <= set(resumed.series[name])
    assert (result.before, result.after) == (expected.before, expected.after)
    assert result.comparison == expected.comparison
    ours = AutoModelForCausalLM.from_pretrained(result.model_dir).state_dict()
    theirs = AutoModelForCausalLM.from_pretrained(expected.model_dir).state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_finished_run_that_is_run_again_gives_the_same_result(policy_dir, tmp_path):
    first = tune(SMALL, policy_dir, tmp_path)
    report = RecordingReport()
    again = tune(SMALL, policy_dir, tmp_path, report)
    assert again.after == first.after
    assert "loss" not in report.series


def test_the_reference_is_read_again_when_rankings_were_erased_meanwhile(policy_dir, tmp_path):
    tasks = make_tasks(12)
    broken = RecordingReport(crash_at=2, series="grad_norm")
    with pytest.raises(KeyboardInterrupt):
        tune(SMALL, policy_dir, tmp_path, broken, tasks)
    report = RecordingReport()
    tune(SMALL, policy_dir, tmp_path, report, tasks[1:])
    assert max(report.series["loss"]) == 4


def test_a_batch_in_parts_has_the_gradient_of_the_whole(policy_dir, tmp_path, monkeypatch):
    norms = []
    for limit in (10_000, 1):
        monkeypatch.setattr("app.training.work_sizes.LARGEST_GROUP", limit)
        report = RecordingReport()
        tune(replace(SMALL, tasks_per_batch=8), policy_dir, tmp_path / str(limit), report)
        norms.append(report.series["grad_norm"][1])
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


@pytest.mark.parametrize(
    "variant",
    [{"loss": "ipo"}, {"length_normalized": True, "beta": 2.0}, {"label_smoothing": 0.2}],
    ids=str,
)
def test_the_variants_learn_too(policy_dir, tmp_path, variant):
    report = RecordingReport()
    config = replace(SMALL, lora_rank=None, epochs=6, learning_rate=3e-3, **variant)
    tune(config, policy_dir, tmp_path, report)
    accuracy, loss = report.series["accuracy"], report.series["loss"]
    assert accuracy[max(accuracy)] > 0.8
    assert loss[max(loss)] < loss[1]


def test_ties_and_unranked_completions_teach_nothing(policy_dir, tmp_path):
    tied = [replace(task, rankings=[[1, 1, None, 1]]) for task in make_tasks(3)]
    with pytest.raises(TrainingError, match="no pair to train on"):
        tune(SMALL, policy_dir, tmp_path / "none", tasks=tied)
    report = RecordingReport()
    ranked = [task for task in make_tasks(12)[3:] if task.pair_count()]
    tune(SMALL, policy_dir, tmp_path / "some", report, [*tied, *ranked])
    assert any("3 tasks without a pair left out" in line for line in report.lines)


def test_one_task_is_trained_on_and_nothing_compared(policy_dir, tmp_path):
    report = RecordingReport()
    result = tune(SMALL, policy_dir, tmp_path, report, make_tasks(1), prompts=[])
    assert sorted(report.series["loss"]) == [1, 2]
    assert result.after["prompts"] == 0
    assert result.after["reward_mean"] is None
    assert result.comparison == {}
    assert any("nothing could be compared" in line for line in report.lines)


def test_nothing_left_beside_the_held_out_prompts_is_refused(policy_dir, tmp_path):
    with pytest.raises(TrainingError, match="Lower eval_prompts"):
        tune(SMALL, policy_dir, tmp_path, tasks=make_tasks(4), prompts=make_prompts(4))


def test_a_learning_rate_that_breaks_the_policy_ends_the_run(policy_dir, tmp_path):
    config = replace(SMALL, lora_rank=None, learning_rate=1e30)
    with pytest.raises(TrainingError, match=r"not finite .*lower learning rate"):
        tune(config, policy_dir, tmp_path, prompts=[])
    assert not (tmp_path / "model").exists()


def test_broken_weights_are_named(tmp_path):
    folder = make_policy(tmp_path / "policy")
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.model.norm.weight[0] = math.nan
    model.save_pretrained(folder)
    with pytest.raises(TrainingError):
        tune(SMALL, folder, tmp_path / "run", prompts=[])


def test_a_cancelled_run_stops_and_leaves_no_model(policy_dir, tmp_path):
    class CancelledLater(RecordingReport):
        def metrics(self, step, values):
            super().metrics(step, values)
            self.cancelled = len(self.series.get("loss", {})) == 2

    report = CancelledLater()
    with pytest.raises(Cancelled):
        tune(SMALL, policy_dir, tmp_path, report)
    assert max(report.series["loss"]) == 2
    assert not (tmp_path / "model").exists()


def test_long_completions_are_cut_and_long_prompts_left_out(policy_dir):
    tokenizer, policy = load_policy(policy_dir, None, 0)
    report = RecordingReport()
    tasks = [
        RankedTask(
            prompt_id=name,
            messages=[{"role": "user", "content": prompt}],
            completions=["x" * 5, "y" * 40],
            rankings=[[1, 2]],
        )
        for name, prompt in (("short", "say it"), ("long", "z" * 40))
    ]
    (kept,) = encode_tasks(policy.model, tokenizer, tasks, 32, report)
    assert kept.ranked.prompt_id == "short"
    prompt, completions = kept.encoded.prompt, kept.encoded.completions
    assert completions[0][-1] == tokenizer.eos_token_id
    assert len(prompt) + len(completions[1]) == 32
    assert tokenizer.eos_token_id not in completions[1]
    assert any("Cut 1 completions" in line for line in report.lines)
    assert any("Left out 1 of 2" in line for line in report.lines)


def test_only_what_ended_has_an_end(policy_dir):
    tokenizer, policy = load_policy(policy_dir, None, 0)
    task = replace(make_tasks(1)[0], finished=[True, False, True, False])
    (encoded,) = encode_tasks(policy.model, tokenizer, [task], 128, RecordingReport())
    ends = [one[-1] == tokenizer.eos_token_id for one in encoded.encoded.completions]
    assert ends == [True, False, True, False]


def test_a_policy_without_a_chat_template_is_given_plain_text(tmp_path):
    folder = make_policy(tmp_path / "policy")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    report = RecordingReport()
    tune(replace(SMALL, epochs=1), folder, tmp_path / "run", report)
    assert any("no chat template" in line for line in report.lines)


def test_the_context_of_the_policy_bounds_the_length(policy_dir, tmp_path):
    report = RecordingReport()
    tune(replace(SMALL, max_length=4096, epochs=1), policy_dir, tmp_path, report)
    assert any("takes 128 tokens at most" in line for line in report.lines)


def test_both_judges_are_asked_about_the_same_texts(policy_dir, tmp_path):
    def shortness(prompts, completions):
        return [-float(len(text)) for text in completions]

    result = tune(SMALL, policy_dir, tmp_path, score=lowercase_share, judges={"gold": shortness})
    for measured in (result.before, result.after):
        rows = measured["samples"]
        assert len(rows) == measured["prompts"] == 4
        assert measured["gold_mean"] == pytest.approx(sum(row["gold"] for row in rows) / 4)
        assert measured["reward_ci95"][0] <= measured["reward_mean"] <= measured["reward_ci95"][1]
    wins = [
        0.5 if old["gold"] == new["gold"] else float(new["gold"] > old["gold"])
        for old, new in zip(result.before["samples"], result.after["samples"], strict=True)
    ]
    assert result.comparison["gold_win_rate"] == sum(wins) / 4
    assert {"win_rate", "win_rate_ci95", "gold_win_rate_ci95"} <= set(result.comparison)


def test_without_a_judge_there_is_no_reward(policy_dir, tmp_path):
    result = tune(SMALL, policy_dir, tmp_path)
    assert result.before["reward_mean"] is None
    assert "reward" not in result.before["samples"][0]
    assert result.comparison == {}
    assert result.after["kl"] is not None
