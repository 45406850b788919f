import json
import math

import pytest
import torch

from app.training.losses import (
    clipped_policy_loss,
    clipped_value_loss,
    masked_mean,
    pairwise_ranking_loss,
    preference_matrix,
)

from .conftest import ORACLES, require


def test_only_pairs_of_the_lengths_asked_for_count() -> None:
    texts = ["a", "longer", "mid"]
    every = preference_matrix([[1, 2, 3]], texts)[0].nonzero().tolist()
    assert every == [[0, 1], [0, 2], [1, 2]]
    shorter_won = preference_matrix([[1, 2, 3]], texts, (None, -1))[0].nonzero().tolist()
    assert shorter_won == [[0, 1], [0, 2]]
    assert preference_matrix([[1, 2, 3]], texts, (-2, 3))[0].nonzero().tolist() == [[0, 2], [1, 2]]


def test_the_ranking_loss_and_its_gradient_equal_open_assistants():
    cases = json.loads(require(ORACLES / "reward_model_loss.json").read_text())["cases"]
    for case in cases:
        scores = torch.tensor(case["scores_best_first"], requires_grad=True)
        losses = [
            pairwise_ranking_loss(group, preference_matrix([list(range(1, len(group) + 1))]))
            for group in scores.split(case["group_sizes"])
        ]
        loss = torch.stack(losses).mean()
        loss.backward()
        assert loss.item() == pytest.approx(case["mean_per_prompt_loss"], abs=1e-6)
        torch.testing.assert_close(
            scores.grad, torch.tensor(case["mean_per_prompt_grad"]), atol=1e-6, rtol=1e-5
        )


def test_ranks_2_1_3_make_their_three_pairs():
    # The second is best: (2nd, 1st), (2nd, 3rd), (1st, 3rd).
    pairs = preference_matrix([[2, 1, 3]])[0].nonzero().tolist()
    assert pairs == [[0, 2], [1, 0], [1, 2]]


def test_ties_unranked_and_identical_completions_make_no_pair():
    assert not preference_matrix([[1, 1], [1, None], [None, None]]).any()
    assert not preference_matrix([[1, 2]], ["same", "same"]).any()
    assert preference_matrix([[1, 1, 2]]).sum() == 2


def test_rankings_of_unlike_length_are_refused():
    with pytest.raises(ValueError, match="differ in length"):
        preference_matrix([[1, 2], [1, 2, 3]])


def test_a_constant_reward_model_loses_ln_2():
    # -log sigmoid(0) = ln 2 for each pair, so the mean is ln 2 whatever the rankings.
    loss = pairwise_ranking_loss(torch.zeros(4), preference_matrix([[1, 2, 3, 4], [2, 1, 1, 3]]))
    assert loss.item() == pytest.approx(math.log(2))


def test_rankings_of_one_task_are_averaged_by_weight():
    # Two labelers disagree about one pair, s = (1, 0): losses ln(1+e^-1) and ln(1+e^1).
    scores = torch.tensor([1.0, 0.0])
    preferred = preference_matrix([[1, 2], [2, 1]])
    agree, disagree = math.log1p(math.exp(-1)), math.log1p(math.exp(1))
    equal = pairwise_ranking_loss(scores, preferred)
    assert equal.item() == pytest.approx((agree + disagree) / 2)
    weighted = pairwise_ranking_loss(scores, preferred, torch.tensor([3.0, 1.0]))
    assert weighted.item() == pytest.approx((3 * agree + disagree) / 4)


def test_a_ranking_without_pairs_does_not_dilute_the_loss():
    scores = torch.tensor([1.0, 0.0])
    alone = pairwise_ranking_loss(scores, preference_matrix([[1, 2]]))
    beside_a_tie = pairwise_ranking_loss(scores, preference_matrix([[1, 2], [1, 1]]))
    assert beside_a_tie.item() == pytest.approx(alone.item())


def test_a_task_of_ties_gives_no_loss_and_no_gradient():
    scores = torch.tensor([1.0, -1.0], requires_grad=True)
    loss = pairwise_ranking_loss(scores, preference_matrix([[1, 1]]))
    loss.backward()
    assert loss.item() == 0
    assert scores.grad.tolist() == [0, 0]


def test_ppo_losses_equal_trls():
    for case in json.loads(require(ORACLES / "ppo_step.json").read_text())["cases"]:
        config, expect = case["config"], case["expect"]
        given = {name: torch.tensor(value) for name, value in case["inputs"].items()}
        mask = given["mask"].bool()
        advantages = torch.tensor(expect["advantages"])
        policy = clipped_policy_loss(
            given["new_logprobs"], given["old_logprobs"], advantages, mask, config["cliprange"]
        )
        value = clipped_value_loss(
            given["vpreds"],
            given["values"],
            torch.tensor(expect["returns"]),
            mask,
            config["cliprange_value"],
        )
        assert policy.loss.item() == pytest.approx(expect["policy_loss"], abs=1e-6)
        assert policy.clip_fraction.item() == pytest.approx(expect["policy_clipfrac"])
        assert policy.approx_kl.item() == pytest.approx(expect["approxkl"], abs=1e-6)
        scaled = config["vf_coef"] * value.item()
        assert scaled == pytest.approx(expect["vf_coef_times_value_loss"], abs=1e-6)


def test_the_policy_loss_is_clipped_on_the_side_that_gains():
    # Ratio 2, eps 0.2. A = 1: max(-2, -1.2) = -1.2, clipped. A = -1: max(2, 1.2) = 2, not.
    # Mean -1.2 and 2 -> 0.4; one of two tokens clipped; k2 = (ln 2)^2 / 2.
    logprobs = torch.log(torch.tensor([[2.0, 2.0]])).requires_grad_()
    loss = clipped_policy_loss(
        logprobs,
        torch.zeros(1, 2),
        torch.tensor([[1.0, -1.0]]),
        torch.ones(1, 2, dtype=torch.bool),
        0.2,
    )
    loss.loss.backward()
    assert loss.loss.item() == pytest.approx(0.4)
    assert loss.clip_fraction.item() == pytest.approx(0.5)
    assert loss.approx_kl.item() == pytest.approx(math.log(2) ** 2 / 2)
    assert logprobs.grad.tolist() == [[0.0, pytest.approx(1.0)]]


def test_what_stands_in_the_padding_changes_nothing():
    mask = torch.tensor([[True, False]])
    logprobs = torch.tensor([[-1.0, float("-inf")]], requires_grad=True)
    loss = clipped_policy_loss(
        logprobs, torch.tensor([[-1.2, 5.0]]), torch.tensor([[1.0, 9.0]]), mask, 0.2
    ).loss
    loss.backward()
    assert torch.isfinite(logprobs.grad).all()
    assert loss.item() == pytest.approx(-min(math.exp(0.2), 1.2))


def test_the_clipped_value_loss_takes_the_worse_of_the_two():
    # Old 0, new 1, eps 0.2. Return 1: max(0, 0.64) = 0.64. Return -1: max(4, 1.44) = 4. Half of
    # the mean: (0.64 + 4) / 4 = 1.16.
    loss = clipped_value_loss(
        torch.ones(1, 2),
        torch.zeros(1, 2),
        torch.tensor([[1.0, -1.0]]),
        torch.ones(1, 2, dtype=torch.bool),
        0.2,
    )
    assert loss.item() == pytest.approx(1.16)


def test_the_mean_of_nothing_is_zero():
    assert masked_mean(torch.ones(2, 2), torch.zeros(2, 2, dtype=torch.bool)).item() == 0
