import json
import math

import pytest
import torch

from app.training.advantages import (
    RewardScale,
    gae,
    leave_one_out,
    masked_whiten,
    penalize_unfinished,
    token_rewards,
)

from .conftest import ORACLES, require


def ragged_mask(lengths: list[int], width: int) -> torch.Tensor:
    return torch.arange(width)[None, :] < torch.tensor(lengths)[:, None]


def test_rewards_advantages_and_returns_equal_trls():
    for case in json.loads(require(ORACLES / "ppo_step.json").read_text())["cases"]:
        config, expect = case["config"], case["expect"]
        given = {name: torch.tensor(value) for name, value in case["inputs"].items()}
        mask = given["mask"].bool()
        rewards = token_rewards(
            given["scores"], given["old_logprobs"], given["ref_logprobs"], mask, config["beta"]
        )
        advantages, returns = gae(rewards, given["values"], mask, config["lam"])
        advantages = masked_whiten(advantages, mask)
        for ours, theirs in ((rewards, "rewards"), (advantages, "advantages")):
            expected = torch.tensor(expect[theirs])[mask]
            torch.testing.assert_close(ours[mask], expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(returns, torch.tensor(expect["returns"]), atol=1e-5, rtol=1e-5)


def test_the_score_stands_at_the_last_real_token():
    # beta 0.5, KL 0.2 a token: -0.1 each, and the score 3 on token 2 of 3 (index 1).
    rewards = token_rewards(
        torch.tensor([3.0]),
        torch.tensor([[-1.0, -1.0, -9.0]]),
        torch.tensor([[-1.2, -1.2, -1.0]]),
        ragged_mask([2], 3),
        0.5,
    )
    torch.testing.assert_close(rewards, torch.tensor([[-0.1, 2.9, 0.0]]))


def test_an_empty_completion_gets_no_reward():
    rewards = token_rewards(
        torch.tensor([3.0]), torch.zeros(1, 2), torch.zeros(1, 2), ragged_mask([0], 2), 0.5
    )
    assert rewards.tolist() == [[0.0, 0.0]]


def test_only_unfinished_completions_are_penalised():
    scores = penalize_unfinished(torch.tensor([1.0, 1.0]), torch.tensor([True, False]), 0.75)
    assert scores.tolist() == [1.0, 0.25]


@pytest.mark.parametrize("lam", [0.0, 0.95, 1.0])
def test_gae_equals_its_quadratic_definition(lam):
    generator = torch.Generator().manual_seed(1)
    rewards = torch.randn(5, 9, generator=generator, dtype=torch.double)
    values = torch.randn(5, 9, generator=generator, dtype=torch.double)
    lengths = [9, 1, 4, 0, 7]
    advantages, returns = gae(rewards, values, ragged_mask(lengths, 9), lam)
    for row, length in enumerate(lengths):
        following = [*values[row, 1:length].tolist(), 0.0]
        delta = [
            rewards[row, t].item() + following[t] - values[row, t].item() for t in range(length)
        ]
        for t in range(9):
            expected = sum(lam ** (u - t) * delta[u] for u in range(t, length))
            assert advantages[row, t].item() == pytest.approx(expected, abs=1e-12)
            expected_return = expected + values[row, t].item() if t < length else 0.0
            assert returns[row, t].item() == pytest.approx(expected_return, abs=1e-12)


def test_with_lambda_1_the_return_is_the_reward_to_come():
    rewards = torch.tensor([[1.0, 2.0, 4.0]])
    _, returns = gae(rewards, torch.randn(1, 3), ragged_mask([3], 3), 1.0)
    torch.testing.assert_close(returns, torch.tensor([[7.0, 6.0, 4.0]]))


def test_padding_does_not_reach_the_real_tokens():
    rewards, values = torch.randn(2, 6), torch.randn(2, 6)
    mask = ragged_mask([3, 2], 6)
    short = gae(rewards[:, :3], values[:, :3], mask[:, :3], 0.9)
    long = gae(rewards, values, mask, 0.9)
    for a, b in zip(short, long, strict=True):
        assert torch.equal(a, b[:, :3])
        assert not b[:, 3:].any()


def test_whitening_is_over_the_whole_rollout_and_leaves_padding_zero():
    mask = ragged_mask([4, 2], 5)
    values = torch.randn(2, 5) * 7 + 3
    whitened = masked_whiten(values, mask)
    assert whitened[mask].mean().item() == pytest.approx(0, abs=1e-6)
    assert whitened[mask].var().item() == pytest.approx(1, abs=1e-5)
    assert not whitened[~mask].any()
    assert whitened[0].sum().item() != pytest.approx(0, abs=1e-3)


def test_whitening_one_token_is_finite():
    assert masked_whiten(torch.tensor([[5.0]]), torch.tensor([[True]])).tolist() == [[0.0]]


def test_scores_are_measured_in_deviations_of_the_starting_policy():
    scale = RewardScale.of(torch.tensor([1.0, 3.0]))  # mean 2, unbiased deviation sqrt 2
    assert scale.normalize(torch.tensor([4.0])).item() == pytest.approx(math.sqrt(2))
    assert RewardScale.of(torch.tensor([5.0, 5.0])) == RewardScale(5.0, 1.0)
    assert RewardScale.of(torch.tensor([5.0])) == RewardScale(5.0, 1.0)


def test_with_several_completions_the_deviation_is_that_within_a_prompt():
    # Prompts worth 0 and 100, completions ±1 around them: unbiased variance 2 within each.
    scale = RewardScale.of(torch.tensor([-1.0, 1.0, 99.0, 101.0]), 2)
    assert scale == RewardScale(50.0, pytest.approx(math.sqrt(2)))


def test_a_score_is_compared_with_the_other_completions_of_its_prompt():
    # (1, 2, 6): the others' means are 4, 3.5 and 1.5. A constant for the prompt changes nothing.
    scores = torch.tensor([1.0, 2.0, 6.0, 11.0, 12.0, 16.0])
    assert leave_one_out(scores, 3).tolist() == [-3.0, -1.5, 4.5, -3.0, -1.5, 4.5]
    assert leave_one_out(scores, 1) is scores
