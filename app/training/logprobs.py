"""Log-probabilities of given tokens from hidden states, without the whole B×T×V logits."""

from typing import Any

import torch
from torch import Tensor

CHUNK_TOKENS = 256


class _TokenLogprobs(torch.autograd.Function):
    """See `token_logprobs`; here with flat tensors, N tokens."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        tokens: Tensor,
        temperature: float,
        chunk_tokens: int,
    ) -> tuple[Tensor, Tensor]:
        logprobs = hidden.new_empty(len(tokens), dtype=torch.float32)
        entropies = torch.empty_like(logprobs)
        wants_hidden = ctx.needs_input_grad[0]
        hidden_gradient = torch.empty_like(hidden) if wants_hidden else None
        for start in range(0, len(tokens), chunk_tokens):
            rows = slice(start, start + chunk_tokens)
            # In place from here on: the chunk×V buffers are the memory of this function.
            log_p = _chunk_log_softmax(hidden[rows], weight, bias, temperature)
            logprobs[rows] = log_p.gather(1, tokens[rows, None]).squeeze(1)
            p = log_p.exp()
            entropies[rows] = -torch.einsum("nv,nv->n", p, log_p)
            if hidden_gradient is not None:
                # d logp(token) / d hidden = (w_token − Σ_v p_v·w_v) / temperature: known already
                # now, so that the backward pass only has to scale it.
                expected = p.to(weight.dtype) @ weight
                hidden_gradient[rows] = (weight[tokens[rows]] - expected) / temperature
        ctx.temperature, ctx.chunk_tokens = temperature, chunk_tokens
        ctx.save_for_backward(hidden, weight, bias, tokens, hidden_gradient)
        ctx.mark_non_differentiable(entropies)
        return logprobs, entropies

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        upstream = gradients[0]
        hidden, weight, bias, tokens, hidden_gradient = ctx.saved_tensors
        to_hidden = to_weight = to_bias = None
        if hidden_gradient is not None:
            to_hidden = hidden_gradient * upstream[:, None].to(hidden.dtype)
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            to_weight = torch.zeros_like(weight)
            to_bias = None if bias is None else torch.zeros_like(bias)
            for start in range(0, len(tokens), ctx.chunk_tokens):
                rows = slice(start, start + ctx.chunk_tokens)
                # d logp(token) / d logits = onehot(token) − p
                logits = _chunk_log_softmax(hidden[rows], weight, bias, ctx.temperature)
                to_logits = logits.exp_().neg_()
                to_logits.scatter_add_(1, tokens[rows, None], torch.ones_like(to_logits[:, :1]))
                to_logits *= upstream[rows, None] / ctx.temperature
                to_weight += to_logits.T.to(weight.dtype) @ hidden[rows]
                if to_bias is not None:
                    to_bias += to_logits.sum(0)
        return to_hidden, to_weight, to_bias, None, None, None


def _chunk_log_softmax(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, temperature: float
) -> Tensor:
    logits = torch.nn.functional.linear(hidden, weight, bias).float()
    return torch.log_softmax(logits.div_(temperature), dim=-1)


def token_logprobs(
    hidden: Tensor,
    weight: Tensor,
    tokens: Tensor,
    temperature: float = 1.0,
    bias: Tensor | None = None,
    chunk_tokens: int = CHUNK_TOKENS,
) -> tuple[Tensor, Tensor]:
    """Log-probabilities of `tokens`, and the entropy of the distribution each was drawn from.

    logp(t) = log softmax((W·h_t + b) / τ)[token_t]

    Works `chunk_tokens` tokens at a time, forward and backward, so that at most chunk×V logits
    exist at once: for 16 × 48 tokens and a vocabulary of 49,152 that is 50 MB for 150 MB, and the
    whole batch's logits are never kept for the backward pass. Where `weight` needs no gradient
    (LoRA) the backward pass costs nothing; otherwise the logits are computed a second time.

    Args:
        hidden: [B, C, H] float, the states that *predict* the tokens (one position earlier).
        weight: [V, H] float, the language-model head.
        tokens: [B, C] int64.
        temperature: τ, the sampling temperature.
        bias: [V] float or None.
        chunk_tokens: how many tokens' logits exist at a time.

    Returns:
        logprobs [B, C] float32, differentiable in hidden, weight and bias; entropies [B, C] float32
        in nats, without gradient.
    """
    shape = tokens.shape
    # torch annotates neither `Function.apply` nor what it returns.
    logprobs, entropies = _TokenLogprobs.apply(  # type: ignore[no-untyped-call]
        hidden.reshape(-1, hidden.shape[-1]),
        weight,
        bias,
        tokens.reshape(-1),
        temperature,
        chunk_tokens,
    )
    return logprobs.view(shape), entropies.view(shape)
