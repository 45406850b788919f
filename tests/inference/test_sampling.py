import inspect

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from app.inference.sampling import (
    SamplingOptions,
    SamplingRequest,
    generate,
    pad_left,
    sample_completions,
    sample_requests,
)

PROMPTS = [[5, 60, 7], [9, 8, 77, 100, 30, 12, 41], [20, 21, 22, 23]]
NEVER = ()


def left_padded(prompts: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    return pad_left(prompts, pad_token_id=0, device="cpu")


def full_logits(model: PreTrainedModel, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0]


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_logprobs_of_cached_padded_decode_are_those_of_a_full_forward(
    policy: PreTrainedModel, temperature: float
) -> None:
    options = SamplingOptions(temperature=temperature, max_new_tokens=9, seed=1, top_p=0.9)
    drawn = generate(policy, *left_padded(PROMPTS), 2, options)
    for row in range(6):
        prompt = PROMPTS[row // 2]
        length = int(drawn.completion_mask[row].sum())
        completion = drawn.tokens[row, :length]
        logits = full_logits(policy, prompt + completion.tolist())[len(prompt) - 1 : -1]
        expected = torch.log_softmax(logits / temperature, dim=-1)
        expected = expected.gather(1, completion[:, None]).squeeze(1)
        torch.testing.assert_close(drawn.logprobs[row, :length], expected, atol=2e-4, rtol=2e-4)
        assert not drawn.completion_mask[row, length:].any()
        assert (drawn.logprobs[row, length:] == 0).all()


def test_greedy_is_what_transformers_generates(policy: PreTrainedModel) -> None:
    options = SamplingOptions(temperature=0, max_new_tokens=12)
    input_ids, attention_mask = left_padded(PROMPTS)
    ours = generate(policy, input_ids, attention_mask, 1, options)
    theirs = policy.generate(
        input_ids, attention_mask=attention_mask, max_new_tokens=12, do_sample=False
    )[:, input_ids.shape[1] :]
    for row in range(len(PROMPTS)):
        length = int(ours.completion_mask[row].sum())
        assert ours.tokens[row, :length].tolist() == theirs[row, :length].tolist()


@pytest.mark.parametrize("top_p", [1.0, 0.8])
def test_a_prompt_gets_the_same_completions_alone_and_padded_in_a_batch(
    policy: PreTrainedModel, policy_tokenizer: PreTrainedTokenizerBase, top_p: float
) -> None:
    requests = [
        SamplingRequest(
            prompt_ids=prompt,
            n=n,
            options=SamplingOptions(temperature=t, top_p=top_p, max_new_tokens=c, seed=seed),
        )
        for prompt, n, t, c, seed in zip(
            PROMPTS, [3, 1, 2], [0.9, 0.0, 1.1], [6, 11, 8], [4, 5, 4], strict=True
        )
    ]
    together = sample_requests(policy, policy_tokenizer, requests)
    alone = [sample_requests(policy, policy_tokenizer, [request])[0] for request in requests]
    assert [[c.token_ids for c in group] for group in together] == [
        [c.token_ids for c in group] for group in alone
    ]
    assert [len(group) for group in together] == [3, 1, 2]


def test_first_completions_of_more_are_those_of_fewer(policy: PreTrainedModel) -> None:
    options = SamplingOptions(max_new_tokens=8, seed=3)
    four = generate(policy, *left_padded(PROMPTS[:1]), 4, options)
    two = generate(policy, *left_padded(PROMPTS[:1]), 2, options)
    width = two.tokens.shape[1]
    assert torch.equal(four.tokens[:2, :width], two.tokens)
    assert len({tuple(row) for row in four.tokens.tolist()}) == 4


def test_seed_decides_the_completions(policy: PreTrainedModel) -> None:
    def draw(seed: int | None) -> list[list[int]]:
        options = SamplingOptions(max_new_tokens=8, seed=seed, stop_token_ids=NEVER)
        return generate(policy, *left_padded(PROMPTS), 2, options).tokens.tolist()

    assert draw(7) == draw(7)
    assert draw(7) != draw(8)
    assert draw(None) != draw(None)


def test_shorter_limit_gives_the_beginning_of_the_longer_one(policy: PreTrainedModel) -> None:
    """Also across 16 numbers, where vectorized generators of random numbers tend to switch."""
    short, long = (
        generate(
            policy,
            *left_padded(PROMPTS),
            1,
            SamplingOptions(max_new_tokens=limit, seed=7, stop_token_ids=NEVER),
        ).tokens
        for limit in (5, 40)
    )
    assert torch.equal(short, long[:, :5])


def test_equal_prompts_under_one_seed_differ(policy: PreTrainedModel) -> None:
    options = SamplingOptions(max_new_tokens=8, seed=7, stop_token_ids=NEVER)
    drawn = generate(policy, *left_padded([PROMPTS[0], PROMPTS[0]]), 1, options)
    assert drawn.tokens[0].tolist() != drawn.tokens[1].tolist()


def test_given_generators_replace_seeds(policy: PreTrainedModel) -> None:
    def draw(seeds: list[int]) -> list[list[int]]:
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        options = SamplingOptions(max_new_tokens=6, stop_token_ids=NEVER)
        return generate(
            policy, *left_padded(PROMPTS[:1]), 2, options, generators=generators
        ).tokens.tolist()

    first = draw([1, 2])
    assert draw([2, 1]) == [first[1], first[0]]


def test_stop_token_ends_a_row_and_is_kept_as_its_last_token(
    policy: PreTrainedModel, policy_tokenizer: PreTrainedTokenizerBase
) -> None:
    free = SamplingOptions(temperature=0, max_new_tokens=10, stop_token_ids=NEVER)
    path = generate(policy, *left_padded(PROMPTS[:1]), 1, free).tokens[0].tolist()
    stop = path[4]
    first = path.index(stop)
    [[stopped]], [[unstopped]] = (
        sample_requests(
            policy,
            policy_tokenizer,
            [
                SamplingRequest(
                    prompt_ids=PROMPTS[0],
                    n=1,
                    options=SamplingOptions(temperature=0, max_new_tokens=10, stop_token_ids=ids),
                )
            ],
        )
        for ids in ((stop,), NEVER)
    )
    assert stopped.token_ids == path[: first + 1]
    assert stopped.finish_reason == "stop"
    assert stopped.text == policy_tokenizer.decode(path[:first])
    assert len(stopped.logprobs) == first + 1
    assert unstopped.token_ids == path
    assert unstopped.finish_reason == "length"


def test_end_of_turn_of_the_model_stops_by_default(policy: PreTrainedModel) -> None:
    options = SamplingOptions(temperature=3.0, max_new_tokens=120, seed=0)
    drawn = generate(policy, *left_padded([[5]] * 40), 8, options)
    ended = drawn.tokens == 2
    assert drawn.finished.sum() > 5
    assert torch.equal(ended.any(dim=1), drawn.finished)
    lengths = drawn.completion_mask.sum(dim=1)
    assert torch.equal(ended[drawn.finished].int().argmax(dim=1) + 1, lengths[drawn.finished])


def test_stop_string_cuts_the_text(
    policy: PreTrainedModel, policy_tokenizer: PreTrainedTokenizerBase
) -> None:
    def draw(stop_strings: tuple[str, ...]) -> list[str]:
        options = SamplingOptions(
            max_new_tokens=30, seed=2, stop_token_ids=NEVER, stop_strings=stop_strings
        )
        request = SamplingRequest(prompt_ids=PROMPTS[0], n=3, options=options)
        return [c.text for c in sample_requests(policy, policy_tokenizer, [request])[0]]

    whole = draw(())
    target = next(text for text in whole if "�" not in text[3:5] and text[3:5].isprintable())
    stop = target[3:5]
    assert [text.split(stop)[0] for text in whole] == draw((stop,))


def test_cancelled_request_ends_and_the_others_go_on(
    policy: PreTrainedModel, policy_tokenizer: PreTrainedTokenizerBase
) -> None:
    options = SamplingOptions(max_new_tokens=10, seed=2, stop_token_ids=NEVER)
    requests = [SamplingRequest(prompt_ids=p, n=2, options=options) for p in PROMPTS[:2]]
    first, second = sample_requests(policy, policy_tokenizer, requests, lambda owner: owner == 0)
    assert [len(c.token_ids) for c in first] == [1, 1]
    assert [len(c.token_ids) for c in second] == [10, 10]


def test_prompt_is_prefilled_once_whatever_n(
    policy: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = []
    forward = LlamaForCausalLM.forward

    def recorded(self: LlamaForCausalLM, **inputs: torch.Tensor) -> object:
        output = forward(self, **inputs)
        shapes.append((tuple(inputs["input_ids"].shape), tuple(output.logits.shape)))
        return output

    monkeypatch.setattr(recorded, "__signature__", inspect.signature(forward), raising=False)
    monkeypatch.setattr(LlamaForCausalLM, "forward", recorded)
    options = SamplingOptions(max_new_tokens=3, stop_token_ids=NEVER, seed=0)
    generate(policy, *left_padded(PROMPTS), 5, options)
    vocabulary = policy.config.vocab_size
    assert shapes == [
        ((3, 7), (3, 1, vocabulary)),
        ((15, 1), (15, 1, vocabulary)),
        ((15, 1), (15, 1, vocabulary)),
    ]


def test_adapters_sample_like_the_model_they_wrap(policy_dir: str) -> None:
    base = LlamaForCausalLM.from_pretrained(policy_dir)
    options = SamplingOptions(max_new_tokens=8, seed=5)
    expected = generate(base, *left_padded(PROMPTS), 2, options)
    wrapped = get_peft_model(base, LoraConfig(r=4, task_type="CAUSAL_LM", lora_dropout=0.5))
    wrapped.train()
    drawn = generate(wrapped, *left_padded(PROMPTS), 2, options)
    assert torch.equal(drawn.tokens, expected.tokens)
    assert wrapped.training
    assert not drawn.logprobs.requires_grad


def test_chat_messages_are_rendered_with_the_turn_opened(
    policy: PreTrainedModel, policy_tokenizer: PreTrainedTokenizerBase
) -> None:
    options = SamplingOptions(temperature=0, max_new_tokens=6)
    messages = [{"role": "user", "content": "hi"}]
    ids = policy_tokenizer.encode(
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n", add_special_tokens=False
    )
    by_messages = sample_completions(policy, policy_tokenizer, [messages], 2, options)
    by_ids = sample_completions(policy, policy_tokenizer, [ids], 2, options)
    assert by_messages == by_ids
    assert by_messages[0][0] == by_messages[0][1]


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": -1}, {"top_p": 0}, {"top_p": 1.1}, {"top_k": 0}, {"max_new_tokens": 0}],
)
def test_options_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SamplingOptions(**wrong)
