"""The bodies that the inference server takes: OpenAI's, as far as served, and `/v1/score`."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from app.inference.options import SamplingOptions
from app.inference.requests import Refused

MAX_TEXT = 1_000_000
MAX_TEXTS = 256

Text = Annotated[str, Field(max_length=MAX_TEXT)]

# Parameters of OpenAI's that would change the result, with the values that ask for nothing.
UNSERVED: dict[str, tuple[object, ...]] = {
    "stream": (None, False),
    "frequency_penalty": (None, 0),
    "presence_penalty": (None, 0),
    "logit_bias": (None, {}),
    "top_logprobs": (None, 0),
    "tools": (None, []),
    "functions": (None, []),
    "response_format": (None, {"type": "text"}),
    "best_of": (None, 1),
    "echo": (None, False),
    "suffix": (None, ""),
    "dimensions": (None,),
}


class Body(BaseModel):
    """A request for one model. Unknown parameters are ignored, unserved ones refused."""

    model_config = ConfigDict(extra="allow")

    model: str = Field(description="Id of a registry model.", examples=["smollm2-135m-instruct"])

    def refuse_unserved(self) -> None:
        """Raise Refused if a parameter asks for what this server does not do."""
        for name, harmless in UNSERVED.items():
            value = (self.model_extra or {}).get(name)
            if value not in harmless:
                message = f"{name} is not served here; leave it out"
                raise Refused(message, code="unsupported_parameter", param=name)


class TextPart(BaseModel):
    """One part of a message's content; only text is served."""

    type: Literal["text"]
    text: Text


class ChatMessage(BaseModel):
    """One turn of the conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text = Field(examples=["Why is the sky blue?"])

    @field_validator("content", mode="before")
    @classmethod
    def _join_parts(cls, content: object) -> object:
        if isinstance(content, list):
            return "".join(TextPart.model_validate(part).text for part in content)
        return content

    def as_prompt(self) -> dict[str, str]:
        """The message as the chat template takes it."""
        role = "system" if self.role == "developer" else self.role
        return {"role": role, "content": self.content}


class Sampling(Body):
    """How completions are drawn, for chat and plain completions alike."""

    n: int = Field(1, ge=1, le=16, description="Completions wanted of each prompt.")
    temperature: float = Field(1.0, ge=0, le=2, description="0 takes the likeliest token.")
    top_p: float = Field(1.0, gt=0, le=1, description="Share of the probability to draw from.")
    top_k: int | None = Field(
        None, ge=-1, description="How many of the likeliest tokens to draw from; -1 or 0 is all."
    )
    max_tokens: int | None = Field(
        None, ge=1, description="Longest completion; by default 256, or what the context leaves."
    )
    seed: int | None = Field(
        None, description="The same seed gives the same completions, whatever else is served."
    )
    stop: str | list[str] | None = Field(
        None, description="Up to 16 texts that end a completion, and are left out of it."
    )

    @field_validator("stop")
    @classmethod
    def _stops_are_texts(cls, stop: str | list[str] | None) -> list[str] | None:
        stops = [stop] if isinstance(stop, str) else stop
        if stops is not None and (len(stops) > 16 or "" in stops):
            raise ValueError("up to 16 texts, none of them empty")
        return stops

    def options(self) -> SamplingOptions:
        """The sampling options asked for; the longest completion is settled with the prompt."""
        return SamplingOptions(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k if self.top_k and self.top_k > 0 else None,
            seed=self.seed,
            stop_strings=tuple(self.stop or ()),
        )


class ChatCompletionBody(Sampling):
    """`POST /v1/chat/completions`."""

    messages: list[ChatMessage] = Field(min_length=1, max_length=1000)
    max_completion_tokens: int | None = Field(
        None, ge=1, description="OpenAI's newer name of max_tokens; the one that counts."
    )
    logprobs: bool | None = Field(
        None, description="Also give each token's log-probability at the sampling temperature."
    )


class CompletionBody(Sampling):
    """`POST /v1/completions`: texts to be continued as they are."""

    prompt: Text | Annotated[list[Text], Field(min_length=1, max_length=MAX_TEXTS)]
    logprobs: int | None = Field(
        None, ge=0, le=1, description="Also give each token's log-probability."
    )

    def prompts(self) -> list[str]:
        """The texts to be continued."""
        return [self.prompt] if isinstance(self.prompt, str) else list(self.prompt)


class EmbeddingBody(Body):
    """`POST /v1/embeddings`."""

    input: Text | Annotated[list[Text], Field(min_length=1, max_length=2048)]
    encoding_format: Literal["float", "base64"] = "float"

    def texts(self) -> list[str]:
        """The texts to be embedded."""
        return [self.input] if isinstance(self.input, str) else list(self.input)


class ScoreBody(Body):
    """`POST /v1/score`: what a reward model says of completions of one prompt."""

    prompt: Text | Annotated[list[ChatMessage], Field(min_length=1, max_length=1000)]
    completions: list[Text] = Field(min_length=1, max_length=MAX_TEXTS)
    max_length: int | None = Field(
        None,
        ge=16,
        le=8192,
        description="Tokens of prompt and completion, the prompt cut first; by default the length "
        "the reward model was trained with.",
    )

    def as_prompt(self) -> str | list[dict[str, str]]:
        """The prompt as the text layout takes it."""
        if isinstance(self.prompt, str):
            return self.prompt
        return [message.as_prompt() for message in self.prompt]


Json = dict[str, Any]
