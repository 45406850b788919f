import pytest
import torch
from transformers import GenerationConfig

from app.training.advantages import gae, masked_whiten, token_rewards
from app.training.losses import clipped_policy_loss
from app.training.policy import load_policy
from app.training.report import TrainingError
from app.training.rollouts import collect_rollout, row_groups

from .conftest import RecordingReport
from .test_policy import disturb
from .tiny import lowercase_share, make_gpt2, make_policy, make_prompts


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return load_policy(make_policy(tmp_path_factory.mktemp("policy")), 4, 0)


def rollout_of(parts, score=lowercase_share, seed=1, count=6, each=1):
    tokenizer, policy = parts
    return collect_rollout(
        policy,
        tokenizer,
        score,
        make_prompts(count),
        RecordingReport(),
        temperature=0.8,
        max_new_tokens=9,
        seed=seed,
        completions_per_prompt=each,
    )


def test_before_any_update_the_ratio_is_1_and_the_kl_0(parts):
    _, policy = parts
    rollout = rollout_of(parts)
    mask = rollout.sequences.completion_mask
    torch.testing.assert_close(rollout.kl, torch.zeros(6), atol=1e-4, rtol=0)
    rewards = token_rewards(rollout.scores, rollout.logprobs, rollout.ref_logprobs, mask, 0.1)
    advantages, _ = gae(rewards, rollout.values, mask, 0.95)
    with torch.no_grad():
        output = policy(rollout.sequences, 0.8)
    loss = clipped_policy_loss(
        output.logprobs, rollout.logprobs, masked_whiten(advantages, mask), mask, 0.2
    )
    ratio = (output.logprobs - rollout.logprobs).exp()[mask]
    torch.testing.assert_close(ratio, torch.ones_like(ratio), atol=1e-4, rtol=0)
    assert loss.clip_fraction == 0
    assert loss.approx_kl < 1e-8
    assert loss.loss.item() == pytest.approx(0, abs=1e-4)  # -mean of whitened advantages


@pytest.mark.parametrize("make", [make_policy, make_gpt2])
@pytest.mark.parametrize("completions_per_prompt", [1, 3])
def test_values_taken_while_sampling_are_those_of_a_full_forward(
    tmp_path, completions_per_prompt, make
):
    folder = make(tmp_path)
    # Ends in plenty, so that rows leave the batch.
    GenerationConfig(eos_token_id=list(range(0, 258, 20))).save_pretrained(folder)
    tokenizer, policy = load_policy(folder, 4, 0)
    disturb(policy)
    rollout = collect_rollout(
        policy,
        tokenizer,
        lowercase_share,
        make_prompts(4),
        RecordingReport(),
        temperature=0.8,
        max_new_tokens=14,
        seed=1,
        completions_per_prompt=completions_per_prompt,
    )
    mask = rollout.sequences.completion_mask
    assert len(rollout.lengths.unique()) > 1
    with torch.no_grad():
        output = policy(rollout.sequences, 0.8)
    assert rollout.values[mask].std() > 0.01
    torch.testing.assert_close(rollout.values[mask], output.values[mask], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(rollout.logprobs[mask], output.logprobs[mask], atol=1e-4, rtol=1e-4)
    assert not rollout.values[~mask].any()


def test_the_same_seed_gives_the_same_rollout_and_another_another(parts):
    a, b, c = rollout_of(parts), rollout_of(parts), rollout_of(parts, seed=2)
    assert a.texts == b.texts
    assert torch.equal(a.logprobs, b.logprobs)
    assert a.texts != c.texts


def test_scores_belong_to_their_prompts_and_completions(parts):
    def score(prompts, completions):
        numbers = [int(prompt.id[1:]) for prompt in prompts]
        return [len(text) + 100 * n for n, text in zip(numbers, completions, strict=True)]

    rollout = rollout_of(parts, score)
    expected = [len(text) + 100 * n for n, text in enumerate(rollout.texts)]
    assert rollout.scores.tolist() == expected


def test_completions_of_one_prompt_stand_beside_each_other(parts):
    tokenizer, policy = parts
    rollout = collect_rollout(
        policy,
        tokenizer,
        lowercase_share,
        make_prompts(3),
        RecordingReport(),
        temperature=0.8,
        max_new_tokens=9,
        seed=1,
        completions_per_prompt=2,
    )
    assert [prompt.id for prompt in rollout.prompts] == ["p0", "p0", "p1", "p1", "p2", "p2"]
    assert torch.equal(rollout.sequences.prompt_ids[0::2], rollout.sequences.prompt_ids[1::2])
    assert rollout.texts[0] != rollout.texts[1]
    # Against the reference, which is still the policy: each row meets its own prompt.
    torch.testing.assert_close(rollout.kl, torch.zeros(6), atol=1e-4, rtol=0)


def test_the_kl_grows_when_the_policy_leaves_the_reference(tmp_path):
    parts = load_policy(make_policy(tmp_path), None, 0)
    disturb(parts[1])
    assert rollout_of(parts).kl.mean() > 0.1


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_reward_that_is_no_number_names_its_prompt(parts, bad):
    def score(prompts, completions):
        return [bad if prompt.id == "p3" else 0.0 for prompt in prompts]

    with pytest.raises(TrainingError, match="prompt p3"):
        rollout_of(parts, score)


@pytest.mark.parametrize("each", [1, 2])
def test_row_groups_hold_every_prompt_once_and_stay_below_the_limit(parts, each):
    _, policy = parts
    sequences = rollout_of(parts, each=each).sequences
    prompts = torch.arange(6 * each).view(6, each)
    for limit in (1, 80, 10_000):
        groups = [rows.view(-1, each) for rows in row_groups(policy, sequences, limit, each)]
        assert sorted(torch.cat(groups).tolist()) == prompts.tolist()
        for group in groups:
            part = sequences.select(group.flatten())
            lengths = part.completion_mask.sum(dim=1).view(-1, each).sum(dim=1)
            width = part.prompt_ids.shape[1] + int(lengths.max())
            assert len(group) == 1 or width * len(group) <= limit


def test_what_is_drawn_does_not_depend_on_how_many_prompts_go_together(parts, monkeypatch):
    _, policy = parts
    a_row = 2 * 8 * 4 * policy.model.config.hidden_size
    found = []
    for room in (10**9, 40 * a_row, 1):
        monkeypatch.setattr("app.training.work_sizes.CACHE_BYTES", room)
        found.append(rollout_of(parts, each=2))
    whole, *others = found
    for rollout in others:
        assert rollout.texts == whole.texts
        assert torch.equal(rollout.finished, whole.finished)
        assert torch.equal(rollout.sequences.tokens, whole.sequences.tokens)
        for ours, theirs in ((rollout.logprobs, whole.logprobs), (rollout.values, whole.values)):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
