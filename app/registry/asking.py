"""Trying a model out: the web process passes the question on to whoever serves the model."""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from app.errors import AppError, Invalid, Unavailable
from app.generation.client import Choice, Endpoint, EndpointError, Sampling, complete, request_json
from app.models import Model, ModelKind, ModelSource
from app.settings import Settings

if TYPE_CHECKING:
    # It takes 60 ms to import, and the web process seldom asks anyone.
    import httpx

CONNECT_SECONDS = 5.0
MOST_COMPLETIONS = 16
MOST_SCORED = 64

Messages = list[dict[str, str]]


@dataclass(frozen=True, kw_only=True)
class ClassValues:
    """One number for each class; positive is the preferred one."""

    negative: float
    positive: float


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a reward model says of each completion, in their order."""

    rewards: list[float]
    logits: list[ClassValues]
    probabilities: list[ClassValues]


def score(
    settings: Settings, model: Model, messages: Messages, completions: Sequence[str]
) -> Scores:
    """Reward, logits and probabilities of completions of one prompt.

    Raises:
        Invalid: not a reward model, or what the inference process refused.
        Unavailable: the inference process is not running, or cannot load the model.
    """
    if model.kind != ModelKind.REWARD_MODEL:
        raise Invalid(f"{model.id} is not a reward model.", code="wrong_model_kind")
    body = {"model": model.id, "prompt": messages, "completions": list(completions)}
    with _client(settings) as http:
        try:
            reply = request_json(http, endpoint_of(settings, model), "POST", "/v1/score", body)
            return Scores(
                rewards=[float(reward) for reward in reply["rewards"]],
                logits=[ClassValues(**values) for values in reply["logits"]],
                probabilities=[ClassValues(**values) for values in reply["probabilities"]],
            )
        except EndpointError as error:
            raise _not_answered(settings, model, error) from error
        except (KeyError, TypeError, ValueError) as error:
            raise Unavailable(f"The server of {model.id} gave no scores.") from error


def generate(
    settings: Settings,
    model: Model,
    messages: Messages,
    n: int,
    sampling: Sampling,
    seed: int | None = None,
) -> list[Choice]:
    """`n` completions of one prompt; fewer only where some came and the rest could not be had.

    Raises:
        Invalid: not a policy, or what the server refused.
        Unavailable: the server is not running, or gave nothing.
    """
    if model.kind != ModelKind.POLICY:
        raise Invalid(f"{model.id} is not a policy.", code="wrong_model_kind")
    with _client(settings) as http:
        answer = complete(
            http, endpoint_of(settings, model), messages, n, sampling, seed, wait=_do_not_wait
        )
    if not answer.choices and answer.problem is not None:
        reason = answer.problem.partition(": ")[2]
        raise _not_answered(settings, model, answer.error or EndpointError(reason, retry=False))
    return answer.choices


def endpoint_of(settings: Settings, model: Model) -> Endpoint:
    """Where a model is served: at its own endpoint, or by the inference process."""
    if model.source == ModelSource.ENDPOINT:
        key = settings.endpoint_keys.get(model.location)
        return Endpoint(model.location, model.served_name or model.id, key)
    return Endpoint(settings.inference_url.rstrip("/"), model.id)


def _client(settings: Settings) -> "httpx.Client":
    import httpx

    timeout = httpx.Timeout(settings.generation_timeout_seconds, connect=CONNECT_SECONDS)
    return httpx.Client(timeout=timeout)


def _do_not_wait(_seconds: float) -> None:
    """Somebody is looking at the page: repeat at once."""


def _not_answered(settings: Settings, model: Model, error: EndpointError) -> AppError:
    if error.unreachable:
        where = endpoint_of(settings, model).base_url
        hint = "" if model.source == ModelSource.ENDPOINT else " Start it with `podium inference`."
        return Unavailable(
            f"The inference server at {where} is not running.{hint}", code="inference_unavailable"
        )
    reason = str(error)
    if error.status == HTTPStatus.BAD_REQUEST:
        return Invalid(f"{model.id}: {reason}.", code="refused_by_model")
    return Unavailable(f"{model.id} cannot be asked now: {reason}.", code="inference_unavailable")
