"""A rollout: completions sampled from the policy, scored, with all that the update needs.

Shape letters: B completions, C completion tokens. Masks: True means "counts".
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from app.inference.formatting import encode_prompt
from app.inference.sampling import SamplingOptions, generate, pad_left, seeded
from app.inference.stopping import end_of_turn_ids
from app.training.policy import Policy
from app.training.report import Report, TrainingError
from app.training.states import Sequences
from app.training.work_sizes import tokens_to_cache

# Padded tokens of one forward pass; more rows than that go one group after another.
FORWARD_TOKENS = 8192


@dataclass(frozen=True)
class Prompt:
    """What the policy is asked: chat messages, and the id they have in the project."""

    id: str
    messages: list[dict[str, str]]


class Scorer(Protocol):
    """Gives every completion its reward; a reward model in use, any function in tests."""

    def __call__(self, prompts: Sequence[Prompt], completions: Sequence[str], /) -> Sequence[float]:
        """One reward per completion, in order."""


@dataclass(frozen=True)
class Rollout:
    """Completions of prompts; tensors [B, C] float32 on the tokens, [B] on completions.

    `prompts` has an entry for each completion; those of one prompt stand beside each other.

    `logprobs` are those the tokens were drawn with, `ref_logprobs` the reference's, both at the
    sampling temperature, and 0 like `values` where `completion_mask` is False. `scores` are the
    scorer's, unchanged. `seconds` says how long each stage took.
    """

    prompts: Sequence[Prompt]
    texts: list[str]
    sequences: Sequences
    logprobs: Tensor
    ref_logprobs: Tensor
    values: Tensor
    scores: Tensor
    finished: Tensor
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def lengths(self) -> Tensor:
        """Tokens of each completion, the end-of-turn token included: [B] float."""
        return self.sequences.completion_mask.sum(dim=1).float()

    @property
    def kl(self) -> Tensor:
        """Sampled KL of each completion, Σ_t logπ(t) − logπ_ref(t), in nats: [B] float."""
        return (self.logprobs - self.ref_logprobs).sum(dim=1)


def collect_rollout(
    policy: Policy,
    tokenizer: Any,
    score: Scorer,
    prompts: Sequence[Prompt],
    report: Report,
    *,
    temperature: float,
    max_new_tokens: int,
    seed: int,
    completions_per_prompt: int = 1,
) -> Rollout:
    """Sample completions of each prompt, score them, and look at them with all three models.

    The logprobs come from the sampler, which computes them exactly, and the values from the states
    that it draws from; only the reference needs a pass of its own. The reward model reads text, so
    that its tokenizer may be another. The same policy, prompts and seed give the same rollout.

    Raises:
        TrainingError: a score or a logprob that is not a finite number.
        Cancelled: the run was asked to stop; asked at every token.
    """
    seconds: dict[str, float] = {}
    started = time.monotonic()
    stops = end_of_turn_ids(policy.model, tokenizer)
    options = SamplingOptions(
        temperature=temperature,
        max_new_tokens=max_new_tokens,
        seed=seed,
        stop_token_ids=stops,
    )
    encoded = [encode_prompt(tokenizer, prompt.messages) for prompt in prompts]
    sampled = sample_in_groups(policy, encoded, completions_per_prompt, options, report)
    prompts = [prompt for prompt in prompts for _ in range(completions_per_prompt)]
    prompt_ids, prompt_mask = pad_left(encoded, tokenizer.pad_token_id, "cpu")
    prompt_ids = prompt_ids.repeat_interleave(completions_per_prompt, dim=0)
    prompt_mask = prompt_mask.repeat_interleave(completions_per_prompt, dim=0)
    tokens, mask, logprobs = sampled.tokens, sampled.mask, sampled.logprobs
    texts = [
        tokenizer.decode(
            row[keep & ~torch.isin(row, torch.tensor(stops))], skip_special_tokens=True
        )
        for row, keep in zip(tokens, mask, strict=True)
    ]
    started = _lap(seconds, "generate_seconds", started)

    scores = torch.tensor([float(value) for value in score(prompts, texts)])
    if not torch.isfinite(scores).all():
        broken = int((~torch.isfinite(scores)).nonzero()[0])
        raise TrainingError(
            f"The reward model gave {scores[broken].item()} for prompt {prompts[broken].id}; "
            "train or choose another one."
        )
    started = _lap(seconds, "score_seconds", started)

    sequences = Sequences(prompt_ids, prompt_mask.bool(), tokens, mask)
    ref_logprobs = torch.zeros_like(logprobs)
    for group in row_groups(policy, sequences, FORWARD_TOKENS, completions_per_prompt):
        part = sequences.select(group)
        width = part.tokens.shape[1]
        ref_logprobs[group, :width] = policy.ref_logprobs(part, temperature)
    ref_logprobs = torch.where(mask, ref_logprobs, 0.0)
    if not (torch.isfinite(ref_logprobs).all() and torch.isfinite(logprobs).all()):
        raise TrainingError(
            "The policy gives a log-probability that is not finite; try a lower learning rate."
        )
    _lap(seconds, "logprobs_seconds", started)
    return Rollout(
        prompts=prompts,
        texts=texts,
        sequences=sequences,
        logprobs=logprobs,
        ref_logprobs=ref_logprobs,
        values=torch.where(mask, sampled.values, 0.0),
        scores=scores,
        finished=sampled.finished,
        seconds=seconds,
    )


@dataclass(frozen=True)
class Sampled:
    """What was drawn, on the CPU: B completions, those of one prompt beside each other.

    `tokens` int64, `mask` bool, `logprobs` and `values` float32, [B, C] each; `finished` bool [B].
    """

    tokens: Tensor
    mask: Tensor
    logprobs: Tensor
    values: Tensor
    finished: Tensor


def sample_in_groups(
    policy: Policy,
    prompts: Sequence[Sequence[int]],
    each: int,
    options: SamplingOptions,
    report: Report,
) -> Sampled:
    """Draw `each` completions of every prompt (token ids), as many prompts at once as memory takes.

    Prompts of like length go together. Every completion has a random stream of its own, so that
    the groups change nothing. The values are those of the states that the tokens are drawn from.
    """
    steps, rows = options.max_new_tokens, len(prompts) * each
    pad = policy.model.config.get_text_config().pad_token_id or 0
    tokens = torch.full((rows, steps), pad)
    mask = torch.zeros((rows, steps), dtype=torch.bool)
    logprobs, values = torch.zeros((rows, steps)), torch.zeros((rows, steps))
    finished = torch.zeros(rows, dtype=torch.bool)
    varied = seeded(options, len(prompts))
    room = tokens_to_cache(policy.model, policy.device)
    order = sorted(range(len(prompts)), key=lambda number: -len(prompts[number]))
    while order:
        count = max(1, room // ((len(prompts[order[0]]) + steps) * each))
        group, order = order[:count], order[count:]
        ids, prompt_mask = pad_left([prompts[number] for number in group], pad, policy.device)
        with _ValueRecorder(policy, len(group) * each, steps, report) as recorder:
            drawn = generate(
                policy.model,
                ids,
                prompt_mask,
                each,
                [varied[number] for number in group],
                on_step=recorder.step,
            )
        places = (torch.tensor(group)[:, None] * each + torch.arange(each)).flatten()
        width = drawn.tokens.shape[1]
        tokens[places, :width] = drawn.tokens.cpu()
        mask[places, :width] = drawn.completion_mask.cpu()
        logprobs[places, :width] = drawn.logprobs.cpu()
        values[places] = recorder.values
        finished[places] = drawn.finished.cpu()
    width = int(mask.sum(dim=1).max())
    return Sampled(
        tokens[:, :width], mask[:, :width], logprobs[:, :width], values[:, :width], finished
    )


class _ValueRecorder:
    """Takes the values from the states that the sampler passes to the language-model head."""

    def __init__(self, policy: Policy, rows: int, steps: int, report: Report) -> None:
        self.values = torch.zeros((rows, steps))
        self._policy = policy
        self._report = report
        self._hidden = torch.empty(0)
        self._step = 0

    def __enter__(self) -> Self:
        head = self._policy.model.get_output_embeddings()
        self._hook = head.register_forward_pre_hook(self._keep)
        return self

    def __exit__(self, *_: object) -> None:
        self._hook.remove()

    def _keep(self, _head: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._hidden = inputs[0][:, -1]

    def step(self, rows: list[int], _tokens: list[int]) -> list[int]:
        """Called by the sampler after each token, with the rows that it was drawn for."""
        self._report.check_cancelled()
        # The prompts went through once; the rows of each begin from the same state.
        states = self._hidden.repeat_interleave(len(rows) // len(self._hidden), dim=0)
        self.values[rows, self._step] = self._policy.value_head(states).squeeze(-1).float().cpu()
        self._step += 1
        return []


def row_groups(
    policy: Policy,
    sequences: Sequences,
    max_tokens: int,
    each: int,
    rows: Tensor | None = None,
) -> list[Tensor]:
    """The rows (all, or those given) in groups of like length, each at most `max_tokens` padded.

    The `each` completions of a prompt stay together, so that its tokens are computed once, even
    where they are more than `max_tokens`.
    """
    rows = torch.arange(len(sequences)) if rows is None else rows
    prompts = rows.view(-1, each)
    lengths = sequences.completion_mask.sum(dim=1)[prompts]
    # A group's width is its longest prompt plus its longest completions: the two are padded on
    # their own sides, and the longest row need not have either of them.
    together = lengths.sum(dim=1) if policy.shares_prompts else lengths.amax(dim=1)
    before = sequences.prompt_mask.sum(dim=1)[prompts[:, 0]]
    rows_each = 1 if policy.shares_prompts else each
    order = (before + together).argsort(descending=True, stable=True)
    groups, start = [], 0
    while start < len(order):
        end = start + 1
        while end < len(order):
            part = order[start : end + 1]
            width = int(before[part].max() + together[part].max())
            if width * len(part) * rows_each > max_tokens:
                break
            end += 1
        groups.append(prompts[order[start:end]].flatten())
        start = end
    return groups


def _lap(seconds: dict[str, float], name: str, started: float) -> float:
    now = time.monotonic()
    seconds[name] = now - started
    return now
