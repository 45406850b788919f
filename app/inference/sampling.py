"""Sampling N completions of each prompt: one prefill a prompt, then one batched, cached decode.

Shapes: B prompts, n completions of each, R = B·n rows in prompt order, P prompt tokens,
C completion tokens, V vocabulary. Logits are only ever made for the sampled position, [R, V].

Every row draws from its own random stream, derived from its prompt's seed and its place among the
prompt's completions. What a seed gives therefore does not depend on what else is in the batch, up
to floating-point rounding, and the first completions of n = 8 are those of n = 4.
"""

import inspect
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import torch

from app.inference.decoding import DrawTable, draw_tokens
from app.inference.formatting import Message, encode_prompt
from app.inference.options import SamplingOptions as SamplingOptions
from app.inference.packing import packed_linears
from app.inference.results import SampledCompletion as SampledCompletion
from app.inference.roomy_cache import make_room
from app.inference.stopping import StepHook, StopWatch, end_of_turn_ids

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Generated:
    """What `generate` drew, R rows in prompt order, C the longest completion.

    `tokens` int64 [R, C], padded after a row's end; `completion_mask` bool [R, C], True on every
    drawn token, the stop token included; `logprobs` float32 [R, C], zero where the mask is False;
    `finished` bool [R], True where the row ended by itself rather than at `max_new_tokens`.
    """

    tokens: torch.Tensor
    completion_mask: torch.Tensor
    logprobs: torch.Tensor
    finished: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class SamplingRequest:
    """n completions of one prompt given as token ids."""

    prompt_ids: Sequence[int]
    n: int
    options: SamplingOptions


def generate(
    model: "PreTrainedModel",
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    n: int | Sequence[int],
    options: SamplingOptions | Sequence[SamplingOptions],
    generators: Sequence[torch.Generator] | None = None,
    on_step: StepHook | None = None,
) -> Generated:
    """Draw n completions of each prompt from any causal language model, adapters included.

    `input_ids` and `attention_mask` are int64 [B, P], padded on the left (mask 0). `n` and
    `options` hold for every prompt, or come as one a prompt. With one `options` for all, its seed
    is varied by the prompt's index, so that equal prompts get different completions; options that
    come one a prompt are taken as they are. `generators` (CPU), one a row, replace the seeds.

    The logprob of a drawn token is log softmax(logits / temperature) over the whole vocabulary,
    before top_k and top_p narrow the choice; at temperature 0 it is that of temperature 1.
    Runs without gradients, in evaluation mode, and leaves the model's mode as it was.
    """
    prompts = input_ids.shape[0]
    counts = [n] * prompts if isinstance(n, int) else list(n)
    per_prompt = seeded(options, prompts)
    source = torch.repeat_interleave(torch.arange(prompts), torch.tensor(counts))
    rows = [per_prompt[prompt] for prompt in source.tolist()]
    if generators is None:
        places = [place for count in counts for place in range(count)]
        generators = [
            _row_generator(row.seed, place) for row, place in zip(rows, places, strict=True)
        ]
    if not len(per_prompt) == len(counts) == prompts or len(generators) != len(rows):
        raise ValueError("n and options need one entry a prompt, generators one a row")
    steps = max(row.max_new_tokens for row in rows)
    with torch.no_grad(), _evaluating(model), packed_linears(model, len(rows), steps):
        return _decode(model, input_ids, attention_mask, source, rows, generators, on_step)


def _decode(
    model: "PreTrainedModel",
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    source: torch.Tensor,
    rows: Sequence[SamplingOptions],
    generators: Sequence[torch.Generator],
    on_step: StepHook | None,
) -> Generated:
    device = input_ids.device
    steps = max(row.max_new_tokens for row in rows)
    table = DrawTable.build(
        temperatures=[row.temperature for row in rows],
        top_ps=[row.top_p for row in rows],
        top_ks=[row.top_k for row in rows],
        device=device,
    )
    limits = torch.tensor([row.max_new_tokens for row in rows], device=device)
    stops = _stop_table(model, rows).to(device)
    # The numbers of a row are drawn at once; torch's CPU stream gives the same ones step by step.
    uniforms = torch.stack(
        [torch.rand(steps, generator=generator, dtype=torch.float64) for generator in generators]
    ).to(device)
    tokens = torch.full((len(rows), steps), _pad_token_id(model), device=device)
    logprobs = torch.zeros((len(rows), steps), device=device)
    lengths = torch.zeros(len(rows), dtype=torch.long, device=device)
    finished = torch.zeros(len(rows), dtype=torch.bool, device=device)

    logits, cache = _prefill(model, input_ids, attention_mask)
    source = source.to(device)
    logits = logits.index_select(0, source)
    make_room(cache, source, steps)
    mask = attention_mask.index_select(0, source)
    running = torch.arange(len(rows), device=device)
    for step in range(steps):
        chosen, chosen_logprobs = draw_tokens(logits, table, uniforms[running, step])
        tokens[running, step] = chosen
        logprobs[running, step] = chosen_logprobs
        lengths[running] = step + 1
        ended = (chosen[:, None] == stops[running]).any(dim=1)
        if on_step is not None:
            asked = on_step(running.tolist(), chosen.tolist())
            if asked:
                ended |= torch.isin(running, torch.tensor(sorted(asked), device=device))
        finished[running] = ended
        keep = torch.nonzero(~ended & (limits[running] > step + 1)).squeeze(1)
        if keep.numel() == 0:
            break
        if keep.numel() < running.numel():
            # One copy of the cache, and fewer rows at every step that follows.
            cache.batch_select_indices(keep)
            running, chosen, mask = running[keep], chosen[keep], mask[keep]
            table = table.select(keep)
        positions = mask.sum(dim=1, keepdim=True)
        mask = torch.cat([mask, mask.new_ones((mask.shape[0], 1))], dim=1)
        output = model(
            input_ids=chosen[:, None],
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
        logits, cache = output.logits[:, -1].float(), output.past_key_values
    width = int(lengths.max())
    completion_mask = torch.arange(width, device=device) < lengths[:, None]
    return Generated(tokens[:, :width], completion_mask, logprobs[:, :width], finished)


def sample_completions(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[Sequence[Message] | Sequence[int]],
    n: int,
    options: SamplingOptions,
) -> list[list[SampledCompletion]]:
    """n completions of each prompt, which is chat messages or ready token ids.

    The prompts share one batch; one seed gives each of them its own random stream.
    """
    requests = [
        SamplingRequest(prompt_ids=_prompt_ids(tokenizer, prompt), n=n, options=varied)
        for prompt, varied in zip(prompts, seeded(options, len(prompts)), strict=True)
    ]
    return sample_requests(model, tokenizer, requests)


def sample_requests(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    requests: Sequence[SamplingRequest],
    cancelled: Callable[[int], bool] | None = None,
) -> list[list[SampledCompletion]]:
    """The completions of several requests, each with its own n and options, in one batch.

    `cancelled(request index)` is asked at every step; the rows of a cancelled request end there.
    """
    if not requests:
        return []
    end_ids = end_of_turn_ids(model, tokenizer)
    options = [
        request.options
        if request.options.stop_token_ids is not None
        else replace(request.options, stop_token_ids=end_ids)
        for request in requests
    ]
    owners = [index for index, request in enumerate(requests) for _ in range(request.n)]
    device = next(model.parameters()).device
    input_ids, attention_mask = pad_left(
        [request.prompt_ids for request in requests], tokenizer.pad_token_id or 0, device
    )
    watch = StopWatch(tokenizer, owners, [entry.stop_strings for entry in options], cancelled)
    generated = generate(
        model,
        input_ids,
        attention_mask,
        [request.n for request in requests],
        options,
        on_step=watch if watch.needed else None,
    )
    completions: list[list[SampledCompletion]] = [[] for _ in requests]
    for row, owner in enumerate(owners):
        completions[owner].append(_completion(tokenizer, generated, row, options[owner]))
    return completions


def pad_left(
    prompts: Sequence[Sequence[int]], pad_token_id: int, device: torch.device | str
) -> tuple[torch.Tensor, torch.Tensor]:
    """`input_ids` and `attention_mask`, int64 [B, P], padded on the left."""
    if any(len(prompt) == 0 for prompt in prompts):
        raise ValueError("a prompt needs at least one token")
    width = max(len(prompt) for prompt in prompts)
    input_ids = torch.full((len(prompts), width), pad_token_id, dtype=torch.long)
    attention_mask = torch.zeros((len(prompts), width), dtype=torch.long)
    for row, prompt in enumerate(prompts):
        input_ids[row, width - len(prompt) :] = torch.tensor(list(prompt))
        attention_mask[row, width - len(prompt) :] = 1
    return input_ids.to(device), attention_mask.to(device)


def _completion(
    tokenizer: "PreTrainedTokenizerBase", generated: Generated, row: int, options: SamplingOptions
) -> SampledCompletion:
    length = int(generated.completion_mask[row].sum())
    token_ids = generated.tokens[row, :length].tolist()
    stopped = bool(generated.finished[row])
    closed = stopped and token_ids[-1] in (options.stop_token_ids or ())
    text = tokenizer.decode(token_ids[:-1] if closed else token_ids, skip_special_tokens=True)
    cuts = [at for at in (text.find(stop) for stop in options.stop_strings) if at >= 0]
    return SampledCompletion(
        token_ids=token_ids,
        text=text[: min(cuts)] if cuts else text,
        finish_reason="stop" if stopped else "length",
        logprobs=generated.logprobs[row, :length].tolist(),
    )


def _prompt_ids(
    tokenizer: "PreTrainedTokenizerBase", prompt: Sequence[Message] | Sequence[int]
) -> list[int]:
    ids = [part for part in prompt if isinstance(part, int)]
    if len(ids) == len(prompt):
        return ids
    return encode_prompt(tokenizer, [part for part in prompt if not isinstance(part, int)])


def _prefill(
    model: "PreTrainedModel", input_ids: torch.Tensor, attention_mask: torch.Tensor
) -> tuple[torch.Tensor, Any]:
    """Logits of each prompt's last position, float32 [B, V], and the cache of the prompts."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    # Without it a model makes logits for every position of the prompt, which still works.
    last_only = "logits_to_keep" in inspect.signature(inner.forward).parameters
    output = model(
        input_ids=input_ids,
        attention_mask=attention_mask,
        position_ids=(attention_mask.cumsum(dim=1) - 1).clamp(min=0),
        use_cache=True,
        **({"logits_to_keep": 1} if last_only else {}),
    )
    return output.logits[:, -1].float(), output.past_key_values


def _stop_table(model: "PreTrainedModel", rows: Sequence[SamplingOptions]) -> torch.Tensor:
    """Stop tokens of each row, int64 [R, S], filled up with -1, which no token is."""
    default = end_of_turn_ids(model)
    stops = [default if row.stop_token_ids is None else row.stop_token_ids for row in rows]
    width = max(1, *(len(ids) for ids in stops)) if stops else 1
    return torch.tensor([[*ids, *[-1] * (width - len(ids))] for ids in stops])


def seeded(
    options: SamplingOptions | Sequence[SamplingOptions], prompts: int
) -> list[SamplingOptions]:
    """One entry of options a prompt; a shared one gets a seed of its own for each prompt."""
    if not isinstance(options, SamplingOptions):
        return list(options)
    seed = fresh_seed() if options.seed is None else options.seed
    return [replace(options, seed=_mix(seed, index)) for index in range(prompts)]


def _row_generator(seed: int | None, place: int) -> torch.Generator:
    generator = torch.Generator()
    generator.manual_seed(_mix(fresh_seed() if seed is None else seed, place))
    return generator


def fresh_seed() -> int:
    """A seed nobody chose."""
    return secrets.randbits(62)


def _mix(seed: int, index: int) -> int:
    digest = blake2b(f"{seed}:{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _pad_token_id(model: "PreTrainedModel") -> int:
    pad = model.config.pad_token_id
    if pad is not None:
        return int(pad)
    ends = end_of_turn_ids(model)
    return ends[0] if ends else 0


@contextmanager
def _evaluating(model: "PreTrainedModel") -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
