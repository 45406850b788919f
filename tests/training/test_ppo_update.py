"""The PPO update against the same algorithm written out token by token, from whole logits."""

from dataclasses import replace

import pytest
import torch
from transformers import GenerationConfig

from app.training import ppo
from app.training.advantages import RewardScale
from app.training.policy import load_policy
from app.training.ppo_update import draw_minibatches, update_policy
from app.training.rollouts import collect_rollout

from .conftest import RecordingReport
from .test_policy import disturb
from .test_ppo import SMALL, tune
from .tiny import lowercase_share, make_policy, make_prompts

CONFIG = replace(SMALL, temperature=0.7, epochs=2, minibatches=2, gae_lambda=0.9)
KL_COEF = 0.3
VALUE_COEF, GRADIENT_CLIP = 0.1, 1.0


def sampled_rollout(tokenizer, policy):
    return collect_rollout(
        policy,
        tokenizer,
        lowercase_share,
        make_prompts(4),
        RecordingReport(),
        temperature=CONFIG.temperature,
        max_new_tokens=7,
        seed=3,
        completions_per_prompt=2,
    )


def look_at(policy, rollout, row):
    """Logprobs and values of one completion, in a row of its own without padding."""
    sequences = rollout.sequences
    prompt = sequences.prompt_ids[row][sequences.prompt_mask[row]]
    tokens = sequences.tokens[row][sequences.completion_mask[row]]
    ids = torch.cat([prompt, tokens])[None]
    output = policy.model(input_ids=ids, output_hidden_states=True)
    before = slice(len(prompt) - 1, -1)
    log_p = torch.log_softmax(output.logits[0, before] / CONFIG.temperature, dim=-1)
    values = policy.value_head(output.hidden_states[-1][0, before]).squeeze(-1)
    return log_p.gather(1, tokens[:, None]).squeeze(1), values


def plain_advantages(rollout, scores):
    advantages, returns = [], []
    for row, length in enumerate(rollout.lengths.int().tolist()):
        kl = (rollout.logprobs - rollout.ref_logprobs)[row, :length].tolist()
        values = rollout.values[row, :length].tolist()
        rewards = [-KL_COEF * one for one in kl]
        rewards[-1] += scores[row].item()
        delta = [
            reward + following - value
            for reward, value, following in zip(rewards, values, [*values[1:], 0.0], strict=True)
        ]
        own = [
            sum(CONFIG.gae_lambda ** (u - t) * delta[u] for u in range(t, length))
            for t in range(length)
        ]
        advantages.append(torch.tensor(own))
        returns.append(torch.tensor(own) + torch.tensor(values))
    together = torch.cat(advantages)
    return [(one - together.mean()) / together.std() for one in advantages], returns


def plain_update(policy, optimizer, rollout, scores):
    advantages, returns = plain_advantages(rollout, scores)
    low, high = 1 - CONFIG.clip_range, 1 + CONFIG.clip_range
    norms = []
    for epoch in range(CONFIG.epochs):
        for minibatch in draw_minibatches(len(scores), CONFIG, 1, epoch):
            losses = []
            for row in minibatch.tolist():
                logprobs, values = look_at(policy, rollout, row)
                for t in range(len(logprobs)):
                    ratio = torch.exp(logprobs[t] - rollout.logprobs[row, t])
                    gain = advantages[row][t]
                    surrogate = torch.min(gain * ratio, gain * ratio.clamp(low, high))
                    old = rollout.values[row, t]
                    near = old + (values[t] - old).clamp(-CONFIG.clip_range, CONFIG.clip_range)
                    target = returns[row][t]
                    error = torch.max((values[t] - target) ** 2, (near - target) ** 2)
                    losses.append(-surrogate + VALUE_COEF * error / 2)
            optimizer.zero_grad()
            torch.stack(losses).mean().backward()
            norms.append(torch.nn.utils.clip_grad_norm_(policy.parameters(), GRADIENT_CLIP).item())
            optimizer.step()
    return norms


@pytest.mark.parametrize("lora_rank", [4, None])
def test_the_update_is_the_algorithm_written_out(tmp_path, lora_rank):
    folder = make_policy(tmp_path)
    # Ends in plenty, so that completions differ in length.
    GenerationConfig(eos_token_id=list(range(0, 258, 5))).save_pretrained(folder)
    found = []
    for run in (update_policy, plain_update):
        tokenizer, policy = load_policy(folder, lora_rank, 0)
        disturb(policy)  # away from the reference, and with values that are not 0
        rollout = sampled_rollout(tokenizer, policy)
        assert rollout.kl.abs().max() > 0.1
        assert rollout.values.abs().max() > 0.1
        assert len(rollout.lengths.unique()) > 1
        scores = 20 * (rollout.scores - rollout.scores.mean())
        trained = [weight for weight in policy.parameters() if weight.requires_grad]
        # Plain descent: Adam would blow rounding up to its full step.
        optimizer = torch.optim.SGD(trained, lr=0.05)
        if run is update_policy:
            report = RecordingReport()
            update_policy(policy, optimizer, rollout, scores, KL_COEF, CONFIG, 1, report)
        else:
            norms = run(policy, optimizer, rollout, scores)
            assert max(norms) > GRADIENT_CLIP, "or clipping would not be seen"
        found.append({name: weight.clone() for name, weight in policy.trained_state().items()})
    start = load_policy(folder, lora_rank, 0)[1]
    disturb(start)
    for name, weight in start.trained_state().items():
        torch.testing.assert_close(found[0][name], found[1][name], atol=1e-5, rtol=1e-4)
        assert not torch.allclose(found[0][name], weight, atol=1e-4), name


def test_the_first_minibatch_has_ratio_1_and_kl_0(tmp_path):
    report = RecordingReport()
    # Enough rows and steps that the sampler packs its weights; the update computes without.
    config = replace(CONFIG, iterations=1, epochs=1, minibatches=1, max_new_tokens=16)
    tune(config, make_policy(tmp_path / "policy"), tmp_path / "run", report)
    assert report.series["kl"][1] == pytest.approx(0, abs=1e-4)
    assert report.series["approx_kl"][1] == pytest.approx(0, abs=1e-8)
    assert report.series["clip_fraction"][1] == 0
    assert report.series["policy_loss"][1] == pytest.approx(0, abs=1e-4)


def test_an_update_is_given_relative_penalised_scores_in_deviations_and_the_steered_coefficient(
    tmp_path, monkeypatch
):
    given = []

    def update(policy, optimizer, rollout, scores, kl_coef, *args):
        assert optimizer.defaults["eps"] == 1e-5
        given.append((rollout, scores, kl_coef))
        return update_policy(policy, optimizer, rollout, scores, kl_coef, *args)

    monkeypatch.setattr(ppo, "update_policy", update)
    config = replace(
        SMALL, iterations=3, missing_eos_penalty=0.5, kl_target=0.01, learning_rate=1e-2
    )
    tune(config, make_policy(tmp_path / "policy"), tmp_path / "run")
    scale = RewardScale.of(given[0][0].scores, 2)
    assert scale.std > 0
    kl_coef = config.kl_coef
    for rollout, scores, used in given:
        normal = (rollout.scores - scale.mean) / scale.std - 0.5 * (~rollout.finished).float()
        pairs = normal.view(-1, 2)
        torch.testing.assert_close(scores, (pairs - pairs.flip(1)).flatten())
        assert used == pytest.approx(kl_coef)
        error = min(max(rollout.kl.mean().item() / 0.01 - 1, -0.2), 1.0)
        kl_coef *= 1 + (0.5 if error > 0 else 0.1) * error
    assert given[-1][2] != config.kl_coef
