import json
import weakref

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from app.inference.formatting import encode_prompt
from app.inference.sampling import pad_left
from app.training.policy import Policy, load_policy
from app.training.report import TrainingError
from app.training.states import Sequences

from .tiny import make_gpt2, make_policy, make_prompts


@pytest.fixture(scope="module")
def policy_dir(tmp_path_factory):
    return make_policy(tmp_path_factory.mktemp("policy"))


def some_sequences(tokenizer, lengths=(5, 2, 4)) -> Sequences:
    prompts = [encode_prompt(tokenizer, prompt.messages) for prompt in make_prompts(len(lengths))]
    prompt_ids, prompt_mask = pad_left(prompts, tokenizer.pad_token_id, "cpu")
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(200, mask.shape, generator=generator)
    return Sequences(
        prompt_ids, prompt_mask.bool(), torch.where(mask, tokens, tokenizer.pad_token_id), mask
    )


def disturb(policy: Policy) -> None:
    """Move every trained weight, as training would."""
    torch.manual_seed(3)
    with torch.no_grad():
        for weight in policy.parameters():
            if weight.requires_grad:
                weight += 0.1 * torch.randn_like(weight)


def test_the_adapters_off_are_the_base_bit_for_bit(policy_dir):
    tokenizer, policy = load_policy(policy_dir, 4, 0)
    base = AutoModelForCausalLM.from_pretrained(policy_dir, dtype=torch.float32).eval()
    ids = torch.tensor([encode_prompt(tokenizer, make_prompts(1)[0].messages)])
    disturb(policy)
    with torch.no_grad():
        expected = base(input_ids=ids).logits
        with policy.reference() as reference:
            assert torch.equal(reference(input_ids=ids).logits, expected)
        assert not torch.equal(policy.model(input_ids=ids).logits, expected)


def test_a_reference_of_its_own_is_in_memory_only_while_it_is_used(policy_dir):
    _, policy = load_policy(policy_dir, None, 0)
    with policy.reference() as reference:
        used = weakref.ref(reference)
        assert not any(weight.requires_grad for weight in reference.parameters())
    del reference
    assert used() is None


@pytest.mark.parametrize("lora_rank", [4, None])
def test_the_reference_stays_while_the_policy_moves(policy_dir, lora_rank):
    tokenizer, policy = load_policy(policy_dir, lora_rank, 0)
    sequences = some_sequences(tokenizer)
    mask = sequences.completion_mask
    with torch.no_grad():
        before = policy(sequences, 0.7).logprobs
        assert torch.equal(policy.ref_logprobs(sequences, 0.7)[mask], before[mask])
        disturb(policy)
        assert torch.equal(policy.ref_logprobs(sequences, 0.7)[mask], before[mask])
        assert not torch.allclose(policy(sequences, 0.7).logprobs[mask], before[mask])


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_completions_share_their_prompt_and_get_what_they_would_get_alone(policy_dir, attention):
    tokenizer, policy = load_policy(policy_dir, 4, 0)
    policy.model.set_attn_implementation(attention)
    assert policy.shares_prompts
    disturb(policy)
    pairs = some_sequences(tokenizer, (5, 2, 4))
    sequences = Sequences(
        pairs.prompt_ids.repeat_interleave(3, dim=0),
        pairs.prompt_mask.repeat_interleave(3, dim=0),
        pairs.tokens.repeat(3, 1),
        pairs.completion_mask.repeat(3, 1),
    ).select(torch.tensor([4, 0, 8, 1, 3, 2]))
    trained = [weight for weight in policy.parameters() if weight.requires_grad]
    mask = sequences.completion_mask

    def outputs_and_gradients():
        output = policy(sequences, 0.7)
        total = (output.logprobs + output.values.square())[mask].sum()
        ref_logprobs = policy.ref_logprobs(sequences, 0.7)
        return output, ref_logprobs[mask], torch.autograd.grad(total, trained)

    calls = []
    policy.model.base_model.register_forward_pre_hook(
        lambda _module, _args, kwargs: calls.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    shared, shared_reference, shared_gradients = outputs_and_gradients()
    policy.shares_prompts = False
    plain, plain_reference, plain_gradients = outputs_and_gradients()
    assert calls == [3, 3, 6, 6]
    torch.testing.assert_close(shared.logprobs[mask], plain.logprobs[mask], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(shared.entropies[mask], plain.entropies[mask], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(shared.values[mask], plain.values[mask], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(shared_reference, plain_reference, atol=1e-5, rtol=1e-5)
    for ours, theirs in zip(shared_gradients, plain_gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("make", [make_policy, make_gpt2])
@pytest.mark.parametrize("lora_rank", [4, None])
def test_padded_sequences_equal_unpadded_ones(tmp_path, make, lora_rank):
    tokenizer, policy = load_policy(make(tmp_path), lora_rank, 0)
    disturb(policy)
    sequences = some_sequences(tokenizer)
    together = policy(sequences, 0.7)
    for row in range(len(sequences)):
        alone_sequences = sequences.select(torch.tensor([row]))
        alone = policy(alone_sequences, 0.7)
        width = alone_sequences.tokens.shape[1]
        assert alone_sequences.prompt_mask.all()
        assert alone_sequences.completion_mask.all()
        for ours, theirs in zip(
            (alone.logprobs, alone.entropies, alone.values),
            (together.logprobs, together.entropies, together.values),
            strict=True,
        ):
            torch.testing.assert_close(ours[0], theirs[row, :width], atol=1e-5, rtol=1e-5)


def test_logprobs_equal_those_of_the_models_own_logits(policy_dir):
    tokenizer, policy = load_policy(policy_dir, None, 0)
    sequences = some_sequences(tokenizer, lengths=(6,))
    ids = torch.cat([sequences.prompt_ids, sequences.tokens], dim=1)
    with torch.no_grad():
        logits = policy.model(input_ids=ids).logits / 0.7
        expected = torch.log_softmax(logits, dim=-1)[:, -7:-1]
        expected = expected.gather(-1, sequences.tokens[..., None]).squeeze(-1)
        torch.testing.assert_close(policy(sequences, 0.7).logprobs, expected)


def test_gradients_are_finite_beside_padding(policy_dir):
    tokenizer, policy = load_policy(policy_dir, 4, 0)
    sequences = some_sequences(tokenizer)
    output = policy(sequences, 1.0)
    (output.logprobs + output.values)[sequences.completion_mask].sum().backward()
    gradients = [weight.grad for weight in policy.parameters() if weight.requires_grad]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    assert policy.model.get_input_embeddings().weight.grad is None


@pytest.mark.parametrize("lora_rank", [4, None])
def test_the_saved_folder_loads_as_an_ordinary_model(policy_dir, tmp_path, lora_rank):
    tokenizer, policy = load_policy(policy_dir, lora_rank, 0)
    disturb(policy)
    ids = torch.tensor([encode_prompt(tokenizer, make_prompts(1)[0].messages)])
    with torch.no_grad():
        expected = policy.model(input_ids=ids).logits
    policy.save(tmp_path, policy_dir)
    saved = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(saved(input_ids=ids).logits, expected, atol=1e-4, rtol=1e-4)
    assert saved.config.architectures == ["LlamaForCausalLM"]
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again.chat_template == tokenizer.chat_template
    for name in ("tokenizer.json", "generation_config.json"):
        assert (tmp_path / name).read_bytes() == (policy_dir / name).read_bytes()


@pytest.mark.parametrize("lora_rank", [4, None])
def test_the_trained_state_restores_the_policy(policy_dir, lora_rank):
    tokenizer, policy = load_policy(policy_dir, lora_rank, 0)
    disturb(policy)
    state = {name: weight.clone() for name, weight in policy.trained_state().items()}
    _, fresh = load_policy(policy_dir, lora_rank, 99)
    fresh.load_trained_state(state)
    sequences = some_sequences(tokenizer)
    with torch.no_grad():
        for a, b in zip(
            vars(policy(sequences, 1.0)).values(),
            vars(fresh(sequences, 1.0)).values(),
            strict=True,
        ):
            assert torch.equal(a, b)
    if lora_rank is not None:
        assert all("lora" in name or "value_head" in name for name in state)


def test_a_model_that_caps_its_logits_is_refused(policy_dir, tmp_path):
    from transformers import Gemma2Config, Gemma2ForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(policy_dir)
    config = Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        final_logit_softcapping=0.01,
    )
    Gemma2ForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(TrainingError, match="changes its logits"):
        load_policy(tmp_path, None, 0)


def test_a_folder_without_a_model_is_one_line(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(TrainingError, match="Cannot load the policy") as caught:
        load_policy(tmp_path, None, 0)
    assert "\n" not in str(caught.value)
