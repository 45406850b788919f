import math

import pytest
import torch

from app.training import reward_metrics
from app.training.ranked_task import RankedTask, split_tasks
from app.training.report import TrainingError
from app.training.reward_metrics import bootstrap_interval, evaluate_rewards, human_agreement


def task(prompt_id="p", completions=("a", "bb", "ccc"), rankings=((1, 2, 3),), weights=None):
    return RankedTask(
        prompt_id=prompt_id,
        messages=[{"role": "user", "content": prompt_id}],
        completions=list(completions),
        rankings=[list(ranks) for ranks in rankings],
        weights=weights,
    )


def test_a_constant_model_reads_one_half_and_ln_2():
    metrics = evaluate_rewards([task(), task("q")], [torch.zeros(3), torch.zeros(3)])
    assert metrics["accuracy"] == 0.5
    assert metrics["log_loss"] == pytest.approx(math.log(2))
    assert metrics["reward_std"] == 0
    assert metrics["length_correlation"] is None
    assert metrics["eval_pairs"] == 6


def test_accuracy_counts_pairs_and_equal_rewards_half():
    # Pairs (0,1), (0,2), (1,2); rewards 1, 1, 2: equal, wrong, wrong -> (0.5 + 0 + 0) / 3.
    metrics = evaluate_rewards([task()], [torch.tensor([1.0, 1.0, 2.0])])
    assert metrics["accuracy"] == pytest.approx(0.5 / 3)


def test_the_length_floor_and_correlation():
    metrics = evaluate_rewards([task()], [torch.tensor([1.0, 2.0, 3.0])])
    assert metrics["longer_wins_accuracy"] == 0.0  # the shortest is best
    assert metrics["length_correlation"] == pytest.approx(1.0)
    tie = evaluate_rewards([task(completions=("aa", "bb", "c"))], [torch.zeros(3)])
    assert tie["longer_wins_accuracy"] == pytest.approx((0.5 + 1 + 1) / 3)


def test_the_gain_over_length_is_paired_by_prompt():
    # Length and model are both right on half of the prompts, and each time on the same ones: far
    # apart as their own intervals are, the difference is 0 without a doubt.
    half = [task(f"p{n}", ("a", "bb"), ((1, 2) if n % 2 else (2, 1),)) for n in range(20)]
    likes_longer = evaluate_rewards(half, [torch.tensor([0.0, 1.0])] * 20)
    low, high = likes_longer["accuracy_ci95"]
    assert high - low > 0.3
    assert likes_longer["longer_wins_accuracy_ci95"] == [low, high]
    assert likes_longer["gain_over_longer"] == 0
    assert likes_longer["gain_over_longer_ci95"] == [0, 0]
    right = evaluate_rewards(half, [torch.tensor([n % 2, 1.0 - n % 2]) for n in range(20)])
    assert right["gain_over_longer"] == 0.5
    assert right["gain_over_longer_ci95"][0] > 0


def test_the_correlation_with_length_has_an_interval_over_prompts():
    lengths = [("a" * (n % 7 + 1), "b" * (n % 3 + 4)) for n in range(20)]
    tasks = [task(f"p{n}", texts, ((1, 2),)) for n, texts in enumerate(lengths)]
    noise = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    rewards = [torch.tensor([len(t) for t in texts]) + noise[n] for n, texts in enumerate(lengths)]
    found = evaluate_rewards(tasks, rewards)
    low, high = found["length_correlation_ci95"]
    both = torch.stack(
        [torch.tensor([float(len(t)) for p in lengths for t in p]), torch.cat(rewards)]
    )
    assert found["length_correlation"] == pytest.approx(torch.corrcoef(both)[0, 1].item())
    assert 0 < low < found["length_correlation"] < high <= 1
    constant = evaluate_rewards(tasks, [torch.zeros(2)] * 20)
    assert constant["length_correlation_ci95"] is None


def test_every_labelers_pairs_count_in_the_accuracy():
    metrics = evaluate_rewards(
        [task(rankings=((1, 2, 3), (3, 2, 1)))], [torch.tensor([3.0, 2.0, 1.0])]
    )
    assert metrics["accuracy"] == 0.5
    assert metrics["eval_pairs"] == 6


def test_human_agreement_is_over_pairs_both_labelers_order():
    # (1,2,3) against (1,1,2): the second orders (0,2) and (1,2) only, and agrees on both.
    assert human_agreement([task(rankings=((1, 2, 3), (1, 1, 2)))]) == (1.0, None, 2)
    # (1,2,3) against (1,3,2): (0,1) and (0,2) agree, (1,2) does not.
    share, interval, pairs = human_agreement([task(rankings=((1, 2, 3), (1, 3, 2)))])
    assert (share, interval, pairs) == (pytest.approx(2 / 3), None, 3)
    assert human_agreement([task()]) == (None, None, 0)
    apart = [task("p", ("a", "b"), ((1, 2), (1, 2))), task("q", ("a", "b"), ((1, 2), (2, 1)))]
    # A draw of two prompts holds 0, 1 or 2 of the one on which they agree.
    assert human_agreement(apart) == (0.5, [0.0, 1.0], 2)


def test_a_calibrated_model_has_little_error():
    # 75 of 100 pairs won at a margin of ln 3, where sigmoid is 0.75: no calibration error.
    tasks = [task(f"p{n}", ("a", "b"), ((1, 2) if n < 75 else (2, 1),)) for n in range(100)]
    metrics = evaluate_rewards(tasks, [torch.tensor([math.log(3), 0.0])] * 100)
    assert metrics["calibration_error"] == pytest.approx(0, abs=1e-6)
    (only,) = metrics["calibration"]
    assert (only["from"], only["to"], only["pairs"]) == (0.7, 0.8, 100)


def test_the_histogram_holds_every_reward():
    metrics = evaluate_rewards([task()], [torch.tensor([1.0, 2.0, 5.0])])
    assert sum(metrics["histogram"]["counts"]) == 3
    assert len(metrics["histogram"]["edges"]) == len(metrics["histogram"]["counts"]) + 1


def test_nothing_held_out_gives_no_figures_rather_than_wrong_ones():
    metrics = evaluate_rewards([], [])
    assert metrics["accuracy"] is None
    assert metrics["log_loss"] is None
    assert metrics["eval_pairs"] == 0


def test_the_interval_draws_whole_prompts():
    # Two prompts, all pairs right in one and wrong in the other: the mean of a draw is 0, ½ or 1.
    assert bootstrap_interval([1.0] * 50 + [0.0] * 50, ["a"] * 50 + ["b"] * 50) == [0.0, 1.0]
    assert bootstrap_interval([1.0, 0.0], ["a", "a"]) is None


def test_a_bootstrap_in_parts_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [float(n % 7) for n in range(60)]
    groups = [str(n // 3) for n in range(60)]
    whole = bootstrap_interval(values, groups, draws=333)
    monkeypatch.setattr(reward_metrics, "GROUPS_AT_ONCE", 20 * 50)
    assert bootstrap_interval(values, groups, draws=333) == whole
    monkeypatch.setattr(reward_metrics, "GROUPS_AT_ONCE", 1)
    assert bootstrap_interval(values, groups, draws=333) == whole


def test_no_prompt_is_on_both_sides_of_the_split():
    tasks = [task(f"p{n % 10}") for n in range(40)]
    train, held_out = split_tasks(tasks, 0.2, seed=1)
    assert {t.prompt_id for t in train}.isdisjoint(t.prompt_id for t in held_out)
    assert len({t.prompt_id for t in held_out}) == 2
    again = split_tasks(tasks[::-1], 0.2, seed=1)[1]
    assert {t.prompt_id for t in again} == {t.prompt_id for t in held_out}


@pytest.mark.parametrize("eval_fraction", [0.0, 0.1, 0.5])
def test_two_prompts_are_one_to_train_on_and_one_to_hold_out(eval_fraction):
    train, held_out = split_tasks([task("p"), task("q")], eval_fraction, seed=0)
    assert len(train) == len(held_out) == 1


def test_one_prompt_is_trained_on():
    assert split_tasks([task()], 0.1, seed=0) == ([task()], [])


def test_tasks_without_a_pair_are_on_neither_side():
    ties = task("t", rankings=((1, 1, 1),))
    train, held_out = split_tasks([task("p"), ties, task("q")], 0.1, seed=0)
    assert ties not in train + held_out


@pytest.mark.parametrize(
    "tasks", [[], [task(rankings=((1, 1, None),))], [task(completions=("x", "x", "x"))]]
)
def test_no_pair_at_all_is_refused(tasks):
    with pytest.raises(TrainingError, match="no pair"):
        split_tasks(tasks, 0.1, seed=0)


def test_a_ranking_that_does_not_fit_is_refused():
    with pytest.raises(TrainingError, match="2 ranks for 3"):
        split_tasks([task(rankings=((1, 2),))], 0.1, seed=0)
    with pytest.raises(TrainingError, match="weight"):
        split_tasks([task(weights=[1.0, 2.0])], 0.1, seed=0)
