"""What can be asked of the engine, and how it may be refused. Knows neither torch nor HTTP."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Generic, TypeVar

from jinja2 import TemplateError

from app.inference.catalogue import ModelFiles
from app.inference.options import SamplingOptions
from app.inference.results import Embeddings, SampledCompletion, Score

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


# How long a completion may grow when a request does not say.
DEFAULT_MAX_TOKENS = 256

Result = TypeVar("Result")
ChatPrompt = Sequence[dict[str, str]]


class Refused(Exception):
    """A request that cannot be served as it is: one line, a stable code, the field at fault."""

    def __init__(self, message: str, *, code: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.param = param


class Overloaded(Exception):
    """The queue is full; ask again in `retry_after_seconds`."""

    def __init__(self, waiting: int, retry_after_seconds: int) -> None:
        super().__init__(f"{waiting} requests are waiting; ask again in {retry_after_seconds} s")
        self.retry_after_seconds = retry_after_seconds


class Stopped(Exception):
    """The server is going down."""

    def __init__(self) -> None:
        super().__init__("the server is going down")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much may wait, and how much is computed at once."""

    waiting_requests: int = 64
    batch_rows: int = 32
    batch_tokens: int = 32_768
    collect_seconds: float = 0.005
    loaded_models: int = 4


@dataclass(kw_only=True, eq=False)
class Job(Generic[Result]):
    """A request in the queue. Setting `cancelled` drops it, or ends it at its next step."""

    files: ModelFiles
    future: Future[Result] = field(default_factory=Future)
    cancelled: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class PreparedPrompt:
    """One prompt as token ids, with the options its completions are drawn by."""

    prompt_ids: list[int]
    options: SamplingOptions


@dataclass(frozen=True)
class Generation:
    """What a generation gave, one entry a prompt; `token_texts` where logprobs were asked for."""

    prompt_tokens: list[int]
    completions: list[list[SampledCompletion]]
    token_texts: list[list[list[str]]]


@dataclass(kw_only=True, eq=False)
class GenerationJob(Job[Generation]):
    """n completions of each prompt: chat messages, or a text to be continued as it is.

    `max_tokens` replaces the options' `max_new_tokens`; None takes what the context leaves, up to
    DEFAULT_MAX_TOKENS. The options' seed draws the first prompt, its successors the others.
    """

    prompts: Sequence[ChatPrompt | str]
    n: int
    options: SamplingOptions
    max_tokens: int | None = None
    logprobs: bool = False
    prepared: list[PreparedPrompt] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Completions wanted in all."""
        return self.n * len(self.prompts)

    @property
    def width(self) -> int:
        """The most tokens one row can come to, prompt and completion."""
        return max(len(one.prompt_ids) + one.options.max_new_tokens for one in self.prepared)

    def prepare(self, tokenizer: "PreTrainedTokenizerBase", context_length: int) -> None:
        """Fill `prepared`, once. Raises Refused when a prompt cannot be served."""
        if self.prepared:
            return
        self.prepared = [
            self._prepare_one(index, prompt, tokenizer, context_length)
            for index, prompt in enumerate(self.prompts)
        ]

    def _prepare_one(
        self,
        index: int,
        prompt: ChatPrompt | str,
        tokenizer: "PreTrainedTokenizerBase",
        context_length: int,
    ) -> PreparedPrompt:
        from app.inference.formatting import encode_prompt

        name = "prompt" if isinstance(prompt, str) else "messages"
        try:
            ids = (
                list(tokenizer.encode(prompt))
                if isinstance(prompt, str)
                else encode_prompt(tokenizer, prompt)
            )
        except TemplateError as error:
            message = f"the model's chat template does not take these messages: {error}"
            raise Refused(message, code="invalid_messages", param=name) from error
        if not ids:
            raise Refused("the prompt is empty", code="empty_prompt", param=name)
        room = context_length - len(ids)
        wanted = min(DEFAULT_MAX_TOKENS, room) if self.max_tokens is None else self.max_tokens
        if room < 1 or wanted > room:
            asked = "" if self.max_tokens is None else f" and max_tokens asks for {wanted} more"
            message = f"the prompt has {len(ids)} tokens{asked}; the context holds {context_length}"
            raise Refused(message, code="context_length_exceeded", param=name)
        seed = None if self.options.seed is None else self.options.seed + index
        return PreparedPrompt(ids, replace(self.options, max_new_tokens=wanted, seed=seed))


@dataclass(kw_only=True, eq=False)
class ScoreJob(Job[list[Score]]):
    """Completions of one prompt, to be scored by a reward model in at most `max_length` tokens.

    None means as many as the model was trained with.
    """

    prompt: ChatPrompt | str
    completions: Sequence[str]
    max_length: int | None = None


@dataclass(kw_only=True, eq=False)
class EmbeddingJob(Job[Embeddings]):
    """Texts to be embedded by an encoder."""

    texts: Sequence[str]


AnyJob = GenerationJob | ScoreJob | EmbeddingJob
