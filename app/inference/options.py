"""How completions are drawn; free of torch, so that a request can be checked without it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """How the completions of one prompt are drawn.

    `temperature` 0 takes the likeliest token. `top_k` and then `top_p` narrow the choice after the
    temperature. `seed` None takes a fresh one. `stop_token_ids` None means the model's own
    end-of-turn tokens; `stop_strings` end a completion just before their text, and need a
    tokenizer, so only `sample_completions` and `sample_requests` honour them.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int | None = None
    max_new_tokens: int = 48
    seed: int | None = None
    stop_token_ids: tuple[int, ...] | None = None
    stop_strings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.temperature <= 100:
            raise ValueError("temperature must be from 0 to 100")
        if not 0 < self.top_p <= 1:
            raise ValueError("top_p must be above 0 and at most 1")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError("top_k must be at least 1")
        if self.max_new_tokens < 1:
            raise ValueError("max_new_tokens must be at least 1")
