import torch

from app.training.logprobs import token_logprobs, token_logprobs_and_entropies


def naive(hidden, weight, bias, tokens, temperature):
    logits = torch.nn.functional.linear(hidden, weight, bias) / temperature
    log_p = torch.log_softmax(logits, dim=-1)
    picked = log_p.gather(-1, tokens[..., None]).squeeze(-1)
    return picked, -(log_p.exp() * log_p).sum(-1)


def inputs(bias: bool, grad: bool = True):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(3, 5, 8, generator=generator).requires_grad_(grad)
    weight = torch.randn(11, 8, generator=generator).requires_grad_(grad)
    offset = torch.randn(11, generator=generator).requires_grad_(grad) if bias else None
    return hidden, weight, offset, torch.randint(11, (3, 5), generator=generator)


def test_chunked_logprobs_and_entropies_equal_log_softmax():
    for bias in (False, True):
        hidden, weight, offset, tokens = inputs(bias)
        for chunk in (1, 4, 100):
            ours = token_logprobs_and_entropies(hidden, weight, tokens, 0.7, offset, chunk)
            for a, b in zip(ours, naive(hidden, weight, offset, tokens, 0.7), strict=True):
                torch.testing.assert_close(a, b)
            alone = token_logprobs(hidden, weight, tokens, 0.7, offset, chunk)
            torch.testing.assert_close(alone, ours[0])


def test_logits_far_from_each_other_neither_overflow_nor_vanish():
    hidden = torch.tensor([[[200.0, 0.0], [0.0, 300.0], [-5.0, 5.0]]])
    weight = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [-1.0, -1.0]])
    tokens = torch.tensor([[3, 1, 2]])
    ours = token_logprobs_and_entropies(hidden, weight, tokens)
    for a, b in zip(ours, naive(hidden, weight, None, tokens, 1.0), strict=True):
        torch.testing.assert_close(a, b)


def test_chunked_gradients_equal_autograds():
    for bias in (False, True):
        hidden, weight, offset, tokens = inputs(bias)
        parameters = [hidden, weight] + ([offset] if bias else [])
        upstream = torch.randn(3, 5)
        ours = token_logprobs(hidden, weight, tokens, 1.3, offset, 4)
        theirs = naive(hidden, weight, offset, tokens, 1.3)[0]
        for a, b in zip(
            torch.autograd.grad((ours * upstream).sum(), parameters),
            torch.autograd.grad((theirs * upstream).sum(), parameters),
            strict=True,
        ):
            torch.testing.assert_close(a, b)


def test_a_frozen_head_passes_the_gradient_to_the_hidden_states_alone():
    hidden, weight, _, tokens = inputs(False, grad=False)
    hidden.requires_grad_()
    token_logprobs(hidden, weight, tokens).sum().backward()
    assert hidden.grad is not None
    assert weight.grad is None


def test_without_gradients_wanted_none_are_kept():
    hidden, weight, _, tokens = inputs(False, grad=False)
    logprobs, entropies = token_logprobs_and_entropies(hidden, weight, tokens)
    assert not logprobs.requires_grad
    assert not entropies.requires_grad
