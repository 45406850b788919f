"""The options of a reward model: what each does, and that a killed run goes on with all of them."""

import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from app.inference.loading import load_model
from app.inference.scoring import score
from app.training.losses import (
    pairwise_ranking_loss,
    preference_matrix,
    rank_margins,
    rating_margins,
)
from app.training.reward_model import accumulate_gradients, measure_uncertainty, score_tasks
from app.training.reward_network import HEADS_FILE, find_head, load_network, training_type

from .conftest import RecordingReport
from .test_reward_model import CONFIG, make_tasks, train
from .tiny import make_backbone, make_causal_backbone, make_gpt2

EVERYTHING = replace(
    CONFIG,
    lora_rank=4,
    heads=3,
    margin="rank",
    label_smoothing=0.1,
    centring=0.01,
    gradient_checkpointing=True,
    precision="bf16",
    labeler_weights="agreement",
    eval_labelers=0.3,
)


@pytest.fixture(scope="module")
def bert_dir(tmp_path_factory):
    return make_backbone(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def llama_dir(tmp_path_factory):
    return make_causal_backbone(tmp_path_factory.mktemp("llama"))


def by_labelers(tasks):
    """Every task ranked by two of five labelers, the second the other way round."""
    return [
        replace(
            task,
            task_id=f"t{number}",
            rankings=[task.rankings[0], [10 - rank for rank in task.rankings[0]]],
            labelers=[f"r{number % 5}", f"r{(number + 1) % 5}"],
        )
        for number, task in enumerate(tasks)
    ]


def gradients(network):
    return {
        name: weight.grad.clone()
        for name, weight in network.model.named_parameters()
        if weight.grad is not None
    }


def step(folder, config, tasks):
    network = load_network(folder, config)
    loss, _ = accumulate_gradients(network, tasks, torch.ones(len(tasks), config.heads), config)
    return loss, gradients(network)


@pytest.mark.slow
@pytest.mark.parametrize("config", [CONFIG, EVERYTHING], ids=["plain", "everything"])
def test_a_killed_causal_run_goes_on_with_the_same_next_loss(llama_dir, tmp_path, config):
    tasks = by_labelers(make_tasks(20))
    whole = RecordingReport()
    expected = train(config, llama_dir, tmp_path / "whole", whole, tasks)
    broken = RecordingReport(crash_at=3, series="loss")
    with pytest.raises(KeyboardInterrupt):
        train(config, llama_dir, tmp_path / "broken", broken, tasks)
    torch.manual_seed(99)
    resumed = RecordingReport()
    result = train(config, llama_dir, tmp_path / "broken", resumed, tasks)
    assert 1 not in resumed.series["loss"]
    assert resumed.series["loss"]
    for number, loss in resumed.series["loss"].items():
        assert loss == whole.series["loss"][number]
    assert result.metrics == expected.metrics


def test_margins_by_rank_are_a_share_of_the_levels():
    # Ranks 1, 3, 3, 7: three levels, so 1 → 3 is half of the way and 1 → 7 all of it.
    margins = rank_margins([[1, 3, 3, 7], [2, 1, None, 1]])
    assert margins[0, 0].tolist() == [0, 0.5, 0.5, 1]
    assert margins[0, 1].tolist() == [0, 0, 0, 0.5]
    assert margins[0, 3].tolist() == [0, 0, 0, 0]
    assert margins[1, 1].tolist() == [1, 0, 0, 0]


def test_margins_by_rating_are_a_share_of_the_scale():
    margins = rating_margins([[7, 4, None]])
    assert margins[0].tolist() == [[0, 0.5, 0], [0, 0, 0], [0, 0, 0]]


def test_the_loss_with_margin_smoothing_and_centring_by_hand():
    scores = torch.tensor([1.0, 0.5])
    preferred = preference_matrix([[1, 2]])
    # d = 1 − 0.5 − 1 = −0.5
    d = -0.5
    plain = math.log1p(math.exp(-d))
    smoothed = 0.9 * plain + 0.1 * math.log1p(math.exp(d))
    found = pairwise_ranking_loss(
        scores,
        preferred,
        margins=rank_margins([[1, 2]]),
        label_smoothing=0.1,
        centring=0.01,
    )
    assert found.item() == pytest.approx(smoothed + 0.01 * 1.5**2, abs=1e-6)


def test_each_head_takes_its_own_loss():
    scores = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    found = pairwise_ranking_loss(scores, preference_matrix([[1, 2]]))
    assert found.tolist() == pytest.approx([math.log1p(math.exp(-1)), math.log1p(math.exp(1))])


@pytest.mark.parametrize("kind", ["bert_dir", "llama_dir"])
def test_lora_trains_adapters_and_head_and_saves_an_ordinary_model(kind, request, tmp_path):
    folder = request.getfixturevalue(kind)
    network = load_network(folder, replace(CONFIG, lora_rank=4))
    trained = network.trained_state()
    head = find_head(network.model, 1)
    assert sum("lora_" in name for name in trained) > 4
    others = [name for name in trained if "lora_" not in name]
    assert {trained[name].data_ptr() for name in others} == {
        weight.data_ptr() for weight in head.parameters()
    }
    result = train(replace(CONFIG, lora_rank=4), folder, tmp_path, tasks=make_tasks(12))
    saved = load_file(result.model_dir / "model.safetensors")
    assert not any("lora" in name for name in saved)
    load_model(result.model_dir, "reward_model", device="cpu")


def test_lora_finds_the_layers_of_a_gpt2_which_are_of_another_class(tmp_path):
    network = load_network(make_gpt2(tmp_path), replace(CONFIG, lora_rank=4))
    assert sum("lora_" in name for name in network.trained_state()) > 4


@pytest.mark.parametrize("kind", ["bert_dir", "llama_dir"])
def test_gradient_checkpointing_changes_no_gradient(kind, request):
    folder = request.getfixturevalue(kind)
    tasks = make_tasks(3)
    loss, expected = step(folder, CONFIG, tasks)
    again, found = step(folder, replace(CONFIG, gradient_checkpointing=True), tasks)
    assert again == pytest.approx(loss, abs=1e-6)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4)


def test_bfloat16_is_near_float32_and_scoring_is_exactly_it(llama_dir):
    tasks = make_tasks(3)
    loss, _ = step(llama_dir, CONFIG, tasks)
    half, _ = step(llama_dir, replace(CONFIG, precision="bf16"), tasks)
    assert half == pytest.approx(loss, abs=0.01)
    assert half != loss
    exact, other = (
        torch.cat(score_tasks(load_network(llama_dir, replace(CONFIG, precision=name)), tasks))
        for name in ("fp32", "bf16")
    )
    assert torch.equal(exact, other)


@pytest.mark.parametrize("kind", ["bert_dir", "llama_dir"])
def test_the_head_computes_in_float32_under_bfloat16(kind, request):
    """bfloat16 has eight bits of a number: rewards near each other would be equal."""
    network = load_network(request.getfixturevalue(kind), replace(CONFIG, precision="bf16"))
    (task,) = make_tasks(1)
    rewards = network.train_rewards(network.encode(task))
    assert not torch.equal(rewards, rewards.bfloat16().float())


def test_precision_follows_the_hardware(monkeypatch):
    cpu = torch.device("cpu")
    for native, expected in ((True, torch.bfloat16), (False, None)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda native=native: native)
        assert training_type("auto", cpu) is expected
    assert training_type("bf16", cpu) is torch.bfloat16
    assert training_type("fp32", cpu) is None


@pytest.mark.parametrize("kind", ["bert_dir", "llama_dir"])
def test_an_ensemble_is_saved_as_its_mean_with_its_heads_beside_it(kind, request, tmp_path):
    config = replace(CONFIG, heads=4)
    tasks = by_labelers(make_tasks(12))
    result = train(config, request.getfixturevalue(kind), tmp_path, tasks=tasks)
    assert result.metrics["uncertainty"]["heads"] == 4
    loaded = load_model(result.model_dir, "reward_model", device="cpu")
    assert loaded.model.config.num_labels == 1
    head = find_head(loaded.model, 1)
    heads = load_file(result.model_dir / HEADS_FILE)
    assert heads["weight"].shape == (4, 32)
    torch.testing.assert_close(heads["weight"].mean(dim=0), head.weight[0].detach())
    assert (heads["weight"][0] - heads["weight"][1]).abs().max() > 1e-3
    rewards = [
        one.reward
        for task in tasks
        for one in score(loaded.model, loaded.tokenizer, task.messages, task.completions, 32)
    ]
    assert torch.tensor(rewards).std() > 0


def test_an_ensemble_can_start_from_a_reward_model(bert_dir, tmp_path):
    first = train(CONFIG, bert_dir, tmp_path / "first", tasks=make_tasks(12))
    second = train(
        replace(CONFIG, heads=2), first.model_dir, tmp_path / "second", tasks=make_tasks(12)
    )
    assert second.metrics["uncertainty"]["heads"] == 2


def test_uncertainty_is_the_spread_of_the_margin_of_the_two_best():
    (task,) = by_labelers(make_tasks(1))
    # Means 2, 3, 0, 0: the margins of the two best are 1 − 1 = 0, 2, and 1; their deviation is 1.
    heads = torch.tensor([[1.0, 2.0, 3.0], [1.0, 4.0, 4.0], [0, 0, 0], [0, 0, 0]])
    assert measure_uncertainty([task], [heads]) == {"t0": pytest.approx(1.0)}


def test_heads_see_different_weights_of_the_tasks(bert_dir):
    config = replace(CONFIG, heads=2)
    network = load_network(bert_dir, config)
    tasks = make_tasks(2)
    loss, _ = accumulate_gradients(network, tasks, torch.tensor([[1.0, 0.0], [1.0, 0.0]]), config)
    head = find_head(network.model, 2)
    assert head.weight.grad[0].abs().max() > 0
    assert head.weight.grad[1].abs().max() == 0
    assert loss > 0
