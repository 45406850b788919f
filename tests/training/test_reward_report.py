"""The report of a reward model, on rewards whose figures can be counted by hand."""

import json
from dataclasses import replace

import pytest
import torch

from app.training.ranked_task import RankedTask, hold_out_labelers, weigh_labelers
from app.training.reward_report import COLLAPSED_STD, LENGTH_POINTS, Scored, describe_rewards

NOBODY = Scored([], [])


def make_task(number, rankings=((1, 2, 3),), labelers=("r0",), round_id="round"):
    return RankedTask(
        prompt_id=f"p{number}",
        messages=[{"role": "user", "content": f"prompt {number}"}],
        completions=["a", "bb", "ccc"],
        rankings=[list(ranks) for ranks in rankings],
        task_id=f"t{number}",
        round_id=round_id,
        completion_ids=[f"c{number}{place}" for place in range(3)],
        ranking_ids=[f"k{number}{place}" for place in range(len(rankings))],
        labelers=list(labelers),
    )


def one_head(*rewards):
    return [torch.tensor(values)[:, None] for values in rewards]


def test_accuracy_by_distance_round_and_labeler():
    tasks = [
        make_task(0, [(1, 2, 3), (3, 2, 1)], ["r0", "r1"], "first"),
        make_task(1, [(1, 1, 2)], ["r0"], "second"),
    ]
    # Task 0: 3 > 2 > 1, as r0 says and r1 does not. Task 1: equal rewards.
    report = describe_rewards(Scored(tasks, one_head([3.0, 2.0, 1.0], [1.0, 1.0, 1.0])), NOBODY)
    by_distance = {row["distance"]: row for row in report["by_rank_distance"]}
    # Distance 1: two right of r0, two wrong of r1, two ties of task 1, whose ranks are two levels.
    assert by_distance[1]["accuracy"] == pytest.approx((2 + 0 + 1) / 6)
    assert by_distance[1]["pairs"] == 6
    assert by_distance[2]["accuracy"] == pytest.approx(1 / 2)
    by_round = {row["round_id"]: row["accuracy"] for row in report["by_round"]}
    assert by_round == {"first": 0.5, "second": 0.5}
    by_labeler = {row["ranking_id"]: row for row in report["by_labeler"]}
    assert by_labeler["r0"]["accuracy"] == pytest.approx((3 + 1) / 5)
    assert by_labeler["r1"]["accuracy"] == 0
    assert by_labeler["r1"]["accuracy_ci95"] is None, "one prompt tells no interval"
    assert report["held_out_labelers"] is None
    assert report["constant_accuracy"] == 0.5
    assert report["uncertainty"] is None
    json.dumps(report, allow_nan=False)


def test_completions_are_shown_by_their_length_a_sample_of_many():
    few = describe_rewards(Scored([make_task(0)], one_head([3.0, 2.0, 1.0])), NOBODY)
    assert few["length_sample"]["points"] == [[1, 3.0], [2, 2.0], [3, 1.0]]
    assert [part["reward"] for part in few["length_sample"]["fifths"]] == [3.0, 2.0, 1.0]
    tasks = [make_task(number) for number in range(LENGTH_POINTS)]
    rewards = one_head(*[[float(number), 0.0, 0.0] for number in range(LENGTH_POINTS)])
    many = describe_rewards(Scored(tasks, rewards), NOBODY)["length_sample"]
    assert many["completions"] == 3 * LENGTH_POINTS
    assert len(many["points"]) == LENGTH_POINTS
    assert sum(part["completions"] for part in many["fifths"]) == 3 * LENGTH_POINTS
    # Of three equally many lengths, the shortest fill the first fifth.
    assert (many["fifths"][0]["from"], many["fifths"][0]["to"]) == (1, 1)
    assert (many["fifths"][-1]["from"], many["fifths"][-1]["to"]) == (3, 3)


def test_chosen_and_rejected_rewards_share_their_bins():
    report = describe_rewards(Scored([make_task(0)], one_head([3.0, 2.0, 1.0])), NOBODY)
    chosen, rejected = report["chosen_histogram"], report["rejected_histogram"]
    assert chosen["edges"] == rejected["edges"]
    assert (chosen["edges"][0], chosen["edges"][-1]) == (1, 3)
    # Pairs (3, 2), (3, 1), (2, 1).
    assert (chosen["counts"][-1], sum(chosen["counts"])) == (2, 3)
    assert (rejected["counts"][0], sum(rejected["counts"])) == (2, 3)


def test_the_worst_mistakes_are_one_a_task_and_only_mistakes():
    tasks = [make_task(number) for number in range(12)]
    rewards = [[0.0, 1.0, 2.0 + number] for number in range(11)] + [[3.0, 2.0, 1.0]]
    worst = describe_rewards(Scored(tasks, one_head(*rewards)), NOBODY)["worst_mistakes"]
    assert [row["task_id"] for row in worst] == [f"t{number}" for number in range(10, 0, -1)]
    first = worst[0]
    assert first["margin"] == -12
    assert (first["prompt"], first["chosen"], first["rejected"]) == ("prompt 10", "a", "ccc")
    assert (first["chosen_completion_id"], first["rejected_completion_id"]) == ("c100", "c102")
    assert first["ranking_id"] == "k100"


def test_a_model_that_gives_all_nearly_the_same_is_collapsed():
    tasks = [make_task(0)]
    for spread, expected in ((0.5 * COLLAPSED_STD, True), (4 * COLLAPSED_STD, False)):
        rewards = one_head([1.0, 1.0 + spread, 1.0 - spread])
        assert describe_rewards(Scored(tasks, rewards), NOBODY)["collapsed"] is expected
    assert describe_rewards(NOBODY, NOBODY)["collapsed"] is None


def test_an_ensemble_is_less_right_where_it_is_unsure():
    tasks = [make_task(0), make_task(1)]
    sure = torch.tensor([[3.0, 3.0], [2.0, 2.0], [1.0, 1.0]])
    unsure = torch.tensor([[1.0, -1.0], [3.0, -1.0], [9.0, -3.0]])
    found = describe_rewards(Scored(tasks, [sure, unsure]), NOBODY)["uncertainty"]
    assert found["heads"] == 2
    assert (found["sure"]["accuracy"], found["sure"]["pairs"]) == (1, 3)
    assert found["unsure"]["accuracy"] == 0
    assert found["mean"] > 0


def crowd(counts):
    """So many tasks of each labeler, named by number."""
    return [
        make_task(f"{name}-{number}", labelers=[f"r{name}"])
        for name, count in enumerate(counts)
        for number in range(count)
    ]


def test_held_out_labelers_make_at_most_their_share_of_the_rankings():
    tasks = crowd([10, 10, 60, 20])
    for seed in range(8):
        train, unseen = hold_out_labelers(tasks, 0.2, seed)
        theirs = {name for task in unseen for name in task.labelers}
        assert 0 < len(unseen) <= 20
        assert "r2" not in theirs
        assert not theirs & {name for task in train for name in task.labelers}
        assert len(train) + len(unseen) == 100
    drawn = {hold_out_labelers(tasks, 0.1, seed)[1][0].labelers[0] for seed in range(8)}
    assert len(drawn) == 2, "the seed decides who"


@pytest.mark.parametrize("counts", [[50, 50], [40, 40, 40]], ids=["two people", "large shares"])
def test_nobody_is_held_out_where_that_would_cost_too_much(counts):
    tasks = crowd(counts)
    assert hold_out_labelers(tasks, 0.1, 0) == (tasks, [])


def test_nobody_is_held_out_where_the_others_only_tie():
    tie, order = (1, 1, 1), (1, 2, 3)
    tasks = [
        make_task(number, [tie, tie, order if number < 2 else tie], ["r0", "r1", "r2"])
        for number in range(4)
    ]
    for seed in range(6):
        train, unseen = hold_out_labelers(tasks, 0.4, seed)
        assert sum(task.pair_count() for task in train) > 0
        assert not unseen or train != tasks


def test_a_task_of_several_labelers_is_divided_between_the_two_sides():
    shared = make_task("shared", [(1, 2, 3), (2, 1, 3)], ["r0", "r1"])
    tasks = [replace(shared, ratings=[[7, 1, 1], [1, 7, 1]]), *crowd([0, 0, 30, 30])]
    for seed in range(20):
        train, unseen = hold_out_labelers(tasks, 0.02, seed)
        if unseen:
            (part,) = unseen
            (rest,) = (task for task in train if task.task_id == "tshared")
            assert {part.labelers[0], rest.labelers[0]} == {"r0", "r1"}
            place = int(part.labelers[0] == "r1")
            assert part.rankings == [shared.rankings[place]]
            assert part.ratings == [[[7, 1, 1], [1, 7, 1]][place]]
            return
    pytest.fail("nobody was ever held out")


def test_who_agrees_with_nobody_weighs_next_to_nothing():
    good, bad = (1, 2, 3), (3, 2, 1)
    tasks = [make_task(n, [good, good, bad], ["r0", "r1", "r2"]) for n in range(40)]
    weights = dict(zip(("r0", "r1", "r2"), weigh_labelers(tasks)[0].weights, strict=True))
    assert weights["r2"] == 0.05
    # r0 agrees on half of 240 pairs and the average is a third: (120 + 20/3) / 260 is below ½.
    assert weights["r0"] == weights["r1"] == 0.05
    tasks = [make_task(n, [good, good, good, bad], ["r0", "r1", "r3", "r2"]) for n in range(40)]
    # r0: 240 of 360 pairs, the average ½: (240 + 10) / 380, so 2a − 1 = 0.316.
    weights = dict(zip(("r0", "r1", "r3", "r2"), weigh_labelers(tasks)[0].weights, strict=True))
    assert weights["r0"] == pytest.approx(2 * 250 / 380 - 1)
    assert weights["r2"] == 0.05


def test_without_common_tasks_everybody_weighs_the_same():
    tasks = crowd([3, 3])
    assert weigh_labelers(tasks) == tasks
