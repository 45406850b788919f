"""Packed linear layers give what the layers give, and leave no trace."""

import weakref
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaForCausalLM, PreTrainedModel

from app.inference import packing
from app.inference.packing import packed_linears
from app.inference.sampling import SamplingOptions, generate, pad_left

PROMPTS = [[5, 60, 7], [9, 8, 77, 100, 30, 12, 41]]
OPTIONS = SamplingOptions(temperature=1.0, max_new_tokens=16, seed=3, stop_token_ids=())
# Of logits up to 10 in float32, summed in another order: over 300 draws of the adapters the worst
# was 3e-5. An adapter left out or counted twice shows at 1e-2 and more.
ROUNDING = {"atol": 1e-4, "rtol": 0.0}


def with_adapters(policy: PreTrainedModel) -> PreTrainedModel:
    """A copy with LoRA adapters that do something."""
    copy = LlamaForCausalLM(policy.config)
    copy.load_state_dict(policy.state_dict())
    adapted = get_peft_model(copy, LoraConfig(r=2, target_modules="all-linear"))
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.2)
    return copy.eval()


@pytest.mark.parametrize("adapters", [False, True])
def test_completions_and_logprobs_are_those_of_the_plain_layers(
    policy: PreTrainedModel, adapters: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = with_adapters(policy) if adapters else policy
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    inputs = pad_left(PROMPTS, pad_token_id=0, device="cpu")
    packed = generate(model, *inputs, 2, OPTIONS)
    monkeypatch.setattr(packing, "FEWEST_ROWS", 1000)
    plain = generate(model, *inputs, 2, OPTIONS)
    assert packed.tokens.equal(plain.tokens)
    torch.testing.assert_close(packed.logprobs, plain.logprobs, **ROUNDING)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_adapters_are_merged_only_while_they_are_on(policy: PreTrainedModel) -> None:
    model = with_adapters(policy)
    ids = torch.tensor([PROMPTS[1]])
    with torch.no_grad():
        expected = model(input_ids=ids).logits
        with packed_linears(model, 8, 100):
            torch.testing.assert_close(model(input_ids=ids).logits, expected, **ROUNDING)
        for module in model.modules():
            if hasattr(module, "get_delta_weight"):
                module.enable_adapters(False)
        base = policy(input_ids=ids).logits
        with packed_linears(model, 8, 100):
            torch.testing.assert_close(model(input_ids=ids).logits, base, **ROUNDING)
    assert not torch.allclose(expected, base, atol=1e-2)


def test_a_merged_weight_is_dropped_as_soon_as_it_is_packed(
    policy: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Kept until the end they took as much memory as the packed copies.
    merged: list[weakref.ref[torch.Tensor]] = []
    merge = packing._merged_weight

    def watched(layer: Any) -> torch.Tensor:
        assert sum(weight() is not None for weight in merged) <= 1
        weight = merge(layer)
        merged.append(weakref.ref(weight))
        return weight

    monkeypatch.setattr(packing, "_merged_weight", watched)
    with packed_linears(with_adapters(policy), 8, 100):
        assert len(merged) > 5
        assert sum(weight() is not None for weight in merged) <= 1


def test_the_layers_are_their_own_again_also_after_an_error(policy: PreTrainedModel) -> None:
    def forwards() -> list[str]:
        return [name for name, module in policy.named_modules() if "forward" in module.__dict__]

    def fail_inside() -> None:
        with packed_linears(policy, 8, 100):
            assert len(forwards()) > 5
            raise RuntimeError("stop here")

    with pytest.raises(RuntimeError, match="stop here"):
        fail_inside()
    assert forwards() == []


@pytest.mark.parametrize(("rows", "steps"), [(1, 100), (8, 2)])
def test_nothing_is_packed_where_it_does_not_pay(
    policy: PreTrainedModel, rows: int, steps: int
) -> None:
    with packed_linears(policy, rows, steps):
        assert not any("forward" in module.__dict__ for module in policy.modules())
