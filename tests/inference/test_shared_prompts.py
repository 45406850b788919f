"""Completions that share their prompt's computation score as each would alone."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BloomConfig,
    BloomForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    MistralConfig,
    MistralForSequenceClassification,
)

from app.inference import shared_prompts
from app.inference.classifying import classifier_logits, even_batches
from app.inference.formatting import EncodedPair, encode_completions
from app.inference.loading import load_model
from app.inference.scoring import score, score_pairs
from app.inference.shared_prompts import lay_out, run_rows, share_rows, shares_prompts
from app.inference.starters import ensure_starter

from .conftest import save_byte_tokenizer

PAD = 0
TINY = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "pad_token_id": PAD,
}


def llama(attention: str = "sdpa", **changes: Any) -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(**TINY, intermediate_size=64, num_key_value_heads=2, num_labels=1)
    for name, value in changes.items():
        setattr(config, name, value)
    model = LlamaForSequenceClassification._from_config(config, attn_implementation=attention)
    return model.eval()


def make_pairs(prompts: int, completions: int, seed: int = 0) -> list[EncodedPair]:
    """Completions of 0 to 9 tokens; half of them end in padding, as with pad = end of text."""
    generator = random.Random(seed)
    pairs = []
    for _ in range(prompts):
        prompt = [generator.randrange(1, 50) for _ in range(generator.randrange(1, 20))]
        for number in range(completions):
            text = [generator.randrange(1, 50) for _ in range(generator.randrange(10))]
            pairs.append(EncodedPair(prompt + text + [PAD] * (number % 2), None, len(prompt)))
    return pairs


def alone(model: Any, pairs: list[EncodedPair]) -> torch.Tensor:
    return torch.cat([model(input_ids=torch.tensor([pair.input_ids])).logits for pair in pairs])


def test_keys_are_kept_for_the_gradient_once_for_the_heads_that_share_them() -> None:
    model = llama()  # four heads, two of keys and values
    heads: list[int] = []

    def keep(states: torch.Tensor) -> torch.Tensor:
        if states.dim() == 4 and states.shape[-1] == 8 and states.shape[1] > 1:
            heads.append(states.shape[1])
        return states

    layout = lay_out([([3] * 20, [[4] * 10, [5] * 10])], PAD)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda states: states):
        run_rows(model, layout)
    # Of each of two layers and three segments: query and output, key and value.
    assert sorted(heads) == [2] * 12 + [4] * 12


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_values_and_gradients_are_those_of_the_plain_computation(attention: str) -> None:
    model = llama(attention)
    assert shares_prompts(model)
    pairs = make_pairs(3, 4)
    weights = torch.randn(len(pairs), 1, generator=torch.Generator().manual_seed(1))
    gradients = []
    outputs = []
    for logits in (
        classifier_logits(model, PAD, pairs, 4096, share_prompts=True),
        alone(model, pairs),
    ):
        model.zero_grad()
        torch.autograd.backward((logits * weights).sum())
        outputs.append(logits)
        gradients.append(torch.cat([weight.grad.flatten() for weight in model.parameters()]))
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-5, rtol=0)
    assert gradients[0].abs().max() > 0.01


def test_one_pass_computes_each_prompt_once() -> None:
    model = llama()
    assert shares_prompts(model)
    pairs = [EncodedPair([*range(1, 21), token, token], None, 20) for token in range(21, 25)]
    seen: list[int] = []
    model.model.register_forward_hook(
        lambda _module, _args, named, _output: seen.append(named["input_ids"].numel()),
        with_kwargs=True,
    )
    classifier_logits(model, PAD, pairs, 4096, share_prompts=True)
    assert seen == [20 + 4 * 2]


def test_a_text_that_is_there_twice_is_computed_once() -> None:
    model = llama()
    seen: list[int] = []
    model.model.register_forward_hook(
        lambda _module, _args, output: seen.append(len(output.last_hidden_state))
    )
    one, other = EncodedPair([1, 2, 3], None, 1), EncodedPair([4, 5, 6], None, 1)
    found = classifier_logits(model, PAD, [one, other, one, one], 4096)
    assert sum(seen) == 2
    torch.testing.assert_close(found, alone(model, [one, other, one, one]), atol=1e-5, rtol=0)


def test_a_prompt_cut_differently_is_not_shared() -> None:
    pairs = [
        EncodedPair([1, 2, 3, 4, 9], None, 4),
        EncodedPair([1, 2, 3, 4, 8], None, 4),
        EncodedPair([2, 3, 4, 7, 7], None, 3),
    ]
    rows, single = share_rows(pairs, 32)
    assert [row.pairs for row in rows] == [(0, 1)]
    assert single == [2]
    model = llama()
    together = classifier_logits(model, PAD, pairs, 4096, share_prompts=True)
    torch.testing.assert_close(together, alone(model, pairs), atol=1e-5, rtol=0)


def test_long_completions_of_a_short_prompt_stay_alone() -> None:
    # 4 × 100 tokens in one row: attention costs more than four prompts of 2 tokens.
    pairs = [EncodedPair([1, 2] + [3 + k] * 100, None, 2) for k in range(4)]
    assert share_rows(pairs, 8) == ([], [0, 1, 2, 3])


def test_a_row_keeps_to_its_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_prompts, "LONGEST_ROW", 30)
    pairs = [EncodedPair(list(range(1, 21)) + [k] * 4, None, 20) for k in range(21, 26)]
    rows, single = share_rows(pairs, 64)
    assert [row.pairs for row in rows] == [(0, 1), (2, 3)]
    assert [row.length for row in rows] == [28, 28]
    assert single == [4]


@pytest.mark.parametrize(
    ("factory", "config", "expected"),
    [
        (GPT2ForSequenceClassification, GPT2Config(**TINY, n_positions=64, num_labels=1), True),
        (BertForSequenceClassification, BertConfig(**TINY, intermediate_size=64), False),
        (
            MistralForSequenceClassification,
            MistralConfig(**TINY, intermediate_size=64, num_key_value_heads=2, sliding_window=4),
            False,
        ),
        (BloomForSequenceClassification, BloomConfig(**TINY, num_labels=1), False),
    ],
    ids=["learned positions", "encoder", "sliding window", "ALiBi"],
)
def test_only_architectures_that_give_the_same_share(
    factory: Any, config: Any, expected: bool
) -> None:
    config.bos_token_id = config.eos_token_id = None
    torch.manual_seed(0)
    model = factory._from_config(config, attn_implementation="eager").eval()
    assert shares_prompts(model) is expected


def test_positions_counted_in_the_row_show_in_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    model = llama()
    plain = model.model.forward

    def without_positions(*args: Any, position_ids: Any = None, **named: Any) -> Any:
        return plain(*args, **named)

    monkeypatch.setattr(model.model, "forward", without_positions)
    assert not shares_prompts(model)


def test_served_scores_share_prompts_wherever_they_stand(tmp_path: Path) -> None:
    save_byte_tokenizer(tmp_path)
    llama(vocab_size=259).save_pretrained(tmp_path)
    loaded = load_model(tmp_path, "reward_model", device="cpu")
    assert shares_prompts(loaded.model)
    pairs = [("a longer prompt " * 3, "x"), ("b", "y"), ("a longer prompt " * 3, "z" * 9)]
    together = score_pairs(loaded.model, loaded.tokenizer, pairs, 100)
    for (prompt, text), one in zip(pairs, together, strict=True):
        (single,) = score(loaded.model, loaded.tokenizer, prompt, [text], 100)
        assert one.reward == pytest.approx(single.reward, abs=1e-5)
        assert one.tokens == single.tokens


def test_batches_trade_padding_for_calls() -> None:
    assert list(even_batches([10, 10, 10], 100, 1)) == [[0, 1, 2]]
    # 90 + 10 tokens and two calls, or 180 tokens and one.
    assert list(even_batches([10, 90], 1000, 5)) == [[1], [0]]
    assert list(even_batches([10, 90], 1000, 100)) == [[1, 0]]
    assert list(even_batches([], 1000, 5)) == []


def test_batches_hold_every_text_once_and_keep_to_the_limit() -> None:
    generator = random.Random(0)
    lengths = [generator.randrange(200) for _ in range(97)]
    batches = list(even_batches(lengths, 400, 20))
    assert sorted(index for batch in batches for index in batch) == list(range(97))
    for batch in batches:
        assert len(batch) == 1 or max(lengths[index] for index in batch) * len(batch) <= 400


@pytest.mark.model
def test_smollm2_scores_the_same_with_and_without_sharing(tmp_path: Path) -> None:
    folder = ensure_starter("smollm2-135m-instruct", tmp_path)
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=1, dtype=torch.float32
    ).eval()
    model.config.pad_token_id = tokenizer.pad_token_id
    texts = ["Paris.", "It is Paris, of course, the city of light.", "", "I do not know."]
    pairs = encode_completions(tokenizer, "What is the capital of France?", texts, 256)
    assert shares_prompts(model)
    results = []
    for share in (True, False):
        model.zero_grad()
        logits = classifier_logits(model, tokenizer.pad_token_id, pairs, 4096, share_prompts=share)
        torch.autograd.backward(logits[0, 0] - logits[1, 0])
        gradient = model.model.layers[3].mlp.down_proj.weight.grad.clone()
        results.append((logits.detach(), gradient))
    torch.testing.assert_close(results[0][0], results[1][0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(results[0][1], results[1][1], atol=1e-5, rtol=1e-5)


class Calls(TorchFunctionMode):
    """How many tokens ask and how many are asked, of every attention."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, int]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """As it is."""
        if func is torch.nn.functional.scaled_dot_product_attention:
            self.seen.append((args[0].shape[-2], args[1].shape[-2]))
        return func(*args, **(kwargs or {}))


def test_attention_computes_only_what_a_token_may_see() -> None:
    model = llama()
    assert shares_prompts(model)
    long, short = [*range(1, 21)], [*range(1, 6)]
    pairs = [EncodedPair([*long, *range(30, 30 + size)], None, 20) for size in (2, 3)]
    pairs += [EncodedPair([*short, *range(40, 40 + size)], None, 5) for size in (4, 0, 1)]
    with Calls() as calls:
        states = run_rows(model, lay_out([(long, [[30, 31], [30, 31, 32]])], PAD))
    assert calls.seen == 2 * [(20, 20), (2, 22), (3, 23)], "in each of two layers"
    assert states.shape == (1, 25, 32)
    with Calls() as calls:
        together = classifier_logits(model, PAD, pairs, 4096, share_prompts=True)
    assert max(asked for _, asked in calls.seen) == 23
    torch.testing.assert_close(together, alone(model, pairs), atol=1e-5, rtol=0)


def test_a_pass_that_is_computed_again_attends_by_its_mask() -> None:
    model = llama()
    layout = lay_out([([1, 2, 3, 4], [[5, 6], [7]])], PAD)
    plain = run_rows(model, layout).detach()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    with Calls() as calls:
        again = run_rows(model, layout)
        again.sum().backward()
    assert set(calls.seen) == {(7, 7)}
    torch.testing.assert_close(again, plain, atol=1e-5, rtol=0)
