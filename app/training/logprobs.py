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
        with_entropies: bool,
    ) -> tuple[Tensor, Tensor | None]:
        if with_entropies:
            chunk_tokens = max(1, chunk_tokens // 2)  # for two buffers
        head = _Head(weight, bias, temperature, min(chunk_tokens, len(tokens)))
        logprobs = hidden.new_empty(len(tokens), dtype=torch.float32)
        entropies = torch.empty_like(logprobs) if with_entropies else None
        hidden_gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        for start in range(0, len(tokens), chunk_tokens):
            rows = slice(start, start + chunk_tokens)
            logits = head.logits(hidden[rows])
            chosen = logits.gather(1, tokens[rows, None]).squeeze(1)
            # p_v = e_v / Z, and the entropy −Σ_v p_v·log p_v = log Z − Σ_v e_v·logit_v / Z.
            e = head.exponentials(logits, keep=with_entropies)
            z = e.sum(dim=1)
            logprobs[rows] = chosen - z.log()
            if entropies is not None:
                entropies[rows] = z.log() - torch.einsum("nv,nv->n", e, logits) / z
            if hidden_gradient is not None:
                # d logp(token) / d hidden = (w_token − Σ_v p_v·w_v) / temperature: known already
                # now, so that the backward pass only has to scale it.
                expected = (e.to(weight.dtype) @ weight) / z[:, None].to(weight.dtype)
                hidden_gradient[rows] = (weight[tokens[rows]] - expected) / temperature
        ctx.temperature, ctx.chunk_tokens = temperature, chunk_tokens
        ctx.save_for_backward(hidden, weight, bias, tokens, hidden_gradient)
        if entropies is not None:
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
            head = _Head(weight, bias, ctx.temperature, min(ctx.chunk_tokens, len(tokens)))
            to_weight = torch.zeros_like(weight)
            to_bias = None if bias is None else torch.zeros_like(bias)
            for start in range(0, len(tokens), ctx.chunk_tokens):
                rows = slice(start, start + ctx.chunk_tokens)
                # d logp(token) / d logits = onehot(token) − p
                e = head.exponentials(head.logits(hidden[rows]), keep=False)
                to_logits = e.div_(e.sum(dim=1, keepdim=True)).neg_()
                to_logits.scatter_add_(1, tokens[rows, None], torch.ones_like(to_logits[:, :1]))
                to_logits *= upstream[rows, None] / ctx.temperature
                to_weight += to_logits.T.to(weight.dtype) @ hidden[rows]
                if to_bias is not None:
                    to_bias += to_logits.sum(0)
        return to_hidden, to_weight, to_bias, None, None, None, None


class _Head:
    """A language-model head that gives its logits a chunk at a time, always in the same memory.

    A new buffer of N×V for each step of each chunk costs more time than what is computed in it:
    the system has to clear every page before it is written.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, temperature: float, chunk_tokens: int
    ) -> None:
        self._weight, self._bias, self._temperature = weight, bias, temperature
        self._product = weight.new_empty(chunk_tokens, len(weight))
        self._exponentials: Tensor | None = None

    def logits(self, hidden: Tensor) -> Tensor:
        """(W·h + b) / τ less its maximum, float32 [N, V]; valid until the next call."""
        # Not differentiated: autograd calls this inside of its own Function.
        logits = torch.mm(hidden, self._weight.T, out=self._product[: len(hidden)])
        if self._bias is not None:
            logits += self._bias
        logits = logits.float()
        if self._temperature != 1.0:
            logits /= self._temperature
        logits -= logits.amax(dim=1, keepdim=True)
        return logits

    def exponentials(self, logits: Tensor, keep: bool) -> Tensor:
        """exp(logits) [N, V], in the memory of `logits` unless these are to be kept."""
        if not keep:
            return logits.exp_()
        if self._exponentials is None:
            self._exponentials = torch.empty(self._product.shape, device=logits.device)
        return torch.exp(logits, out=self._exponentials[: len(logits)])


def token_logprobs(
    hidden: Tensor,
    weight: Tensor,
    tokens: Tensor,
    temperature: float = 1.0,
    bias: Tensor | None = None,
    chunk_tokens: int = CHUNK_TOKENS,
) -> Tensor:
    """Log-probabilities of `tokens`, float32 [B, C], differentiable in hidden, weight and bias.

    logp(t) = log softmax((W·h_t + b) / τ)[token_t]

    Works `chunk_tokens` tokens at a time, forward and backward, so that at most chunk×V logits
    exist at once: for 16 × 48 tokens and a vocabulary of 49,152 that is 50 MB for 150 MB, and the
    whole batch's logits are never kept for the backward pass. Where `weight` needs no gradient
    (LoRA) the backward pass costs nothing; otherwise the logits are computed a second time.

    Args:
        hidden: [B, C, H] float, or [N, H]; the states that *predict* the tokens (one position
            earlier).
        weight: [V, H] float, the language-model head.
        tokens: [B, C] int64, or [N].
        temperature: τ, the sampling temperature.
        bias: [V] float or None.
        chunk_tokens: how many tokens' logits exist at a time.
    """
    return _apply(hidden, weight, tokens, temperature, bias, chunk_tokens, False)[0]


def token_logprobs_and_entropies(
    hidden: Tensor,
    weight: Tensor,
    tokens: Tensor,
    temperature: float = 1.0,
    bias: Tensor | None = None,
    chunk_tokens: int = CHUNK_TOKENS,
) -> tuple[Tensor, Tensor]:
    """`token_logprobs` and the entropy −Σ_v p_v·log p_v of each distribution that it looked at.

    The entropies are float32 [B, C], in nats, without gradient. It takes as much memory, and half
    as many tokens at a time.
    """
    return _apply(hidden, weight, tokens, temperature, bias, chunk_tokens, True)


def _apply(
    hidden: Tensor,
    weight: Tensor,
    tokens: Tensor,
    temperature: float,
    bias: Tensor | None,
    chunk_tokens: int,
    with_entropies: bool,
) -> tuple[Tensor, Any]:
    # torch annotates neither `Function.apply` nor what it returns.
    logprobs, entropies = _TokenLogprobs.apply(  # type: ignore[no-untyped-call]
        hidden.reshape(-1, hidden.shape[-1]),
        weight,
        bias,
        tokens.reshape(-1),
        temperature,
        chunk_tokens,
        with_entropies,
    )
    shape = tokens.shape
    return logprobs.view(shape), entropies.view(shape) if with_entropies else None
