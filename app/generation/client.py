"""Asking an OpenAI-compatible endpoint for completions.

Servers differ: some ignore `n`, return fewer choices than asked, answer 500 or 429 under load, or
send empty texts. What can be had is had, by asking again within bounds; the rest is a sentence.
"""

import email.utils
import hashlib
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # It takes 60 ms to import, and the web process seldom asks anyone.
    import httpx

FRUITLESS_ATTEMPTS = 4
"""Requests in a row that may bring nothing before a prompt is given up."""
FIRST_BACKOFF_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 30.0
"""Bound on a wait between attempts, a server's own Retry-After included."""
RETRIED_STATUS = (
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.CONFLICT,
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
)
LONGEST_REASON = 300

Messages = Sequence[Mapping[str, str]]
Wait = Callable[[float], None]


class EndpointError(Exception):
    """One request failed; the message is one line.

    `retry` says whether asking again may help, `wait_seconds` for how long the server asked us to
    wait, `unreachable` that nothing answered at all, `status` what a server answered.
    """

    def __init__(
        self,
        reason: str,
        *,
        retry: bool,
        wait_seconds: float | None = None,
        unreachable: bool = False,
        status: int | None = None,
    ) -> None:
        super().__init__(reason)
        self.retry = retry
        self.wait_seconds = wait_seconds
        self.unreachable = unreachable
        self.status = status


@dataclass(frozen=True)
class Endpoint:
    """A model at an OpenAI-compatible server; `base_url` is without `/v1`."""

    base_url: str
    model: str
    api_key: str | None = field(default=None, repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """What goes with every request."""
        return {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How completions are drawn, as the endpoint is told."""

    temperature: float = 0.8
    top_p: float = 0.95
    max_new_tokens: int = 48


@dataclass(frozen=True)
class Choice:
    """One completion; `token_count` is None where the server does not say."""

    text: str
    finish_reason: str | None = None
    token_count: int | None = None


@dataclass(frozen=True)
class Answer:
    """What could be had for one prompt: `problem` says why there are fewer choices than asked."""

    choices: list[Choice]
    problem: str | None = None
    error: EndpointError | None = None
    """The last failure, where one ended the asking."""

    @property
    def unreachable(self) -> bool:
        """Whether nothing answered at all."""
        return self.error is not None and self.error.unreachable


def complete(
    http: "httpx.Client",
    endpoint: Endpoint,
    messages: Messages,
    n: int,
    sampling: Sampling,
    seed: int | None = None,
    *,
    wait: Wait = time.sleep,
) -> Answer:
    """`n` completions of one prompt, or as many as could be had with the reason for the rest.

    A server that gives fewer than `n` is asked for the rest with another seed. After
    `FRUITLESS_ATTEMPTS` requests in a row that brought no usable text, or an error that asking
    again cannot mend, what is there is returned. `wait` is called between attempts and may raise
    to break off.
    """
    choices: list[Choice] = []
    fruitless = 0
    attempt = 0
    while len(choices) < n:
        try:
            request_seed = None if seed is None else derive_seed(seed, attempt)
            got = request_choices(
                http, endpoint, messages, n - len(choices), sampling, request_seed
            )
        except EndpointError as error:
            fruitless += 1
            if not error.retry or fruitless >= FRUITLESS_ATTEMPTS:
                return Answer(choices, _problem(len(choices), n, str(error)), error)
            wait(_backoff_seconds(fruitless, error.wait_seconds))
        else:
            usable = [choice for choice in got if choice.text.strip()]
            fruitless = 0 if usable else fruitless + 1
            choices += usable[: n - len(choices)]
            if fruitless >= FRUITLESS_ATTEMPTS:
                what = "empty texts" if got else "no choices"
                return Answer(choices, _problem(len(choices), n, f"the server gave {what}"))
        attempt += 1
    return Answer(choices)


def request_choices(
    http: "httpx.Client",
    endpoint: Endpoint,
    messages: Messages,
    n: int,
    sampling: Sampling,
    seed: int | None,
) -> list[Choice]:
    """One request to `/v1/chat/completions`; the choices of its reply, empty ones included.

    Raises:
        EndpointError: no usable reply.
    """
    body: dict[str, Any] = {
        "model": endpoint.model,
        "messages": [dict(message) for message in messages],
        "n": n,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_new_tokens,
    }
    if seed is not None:
        body["seed"] = seed
    reply = request_json(http, endpoint, "POST", "/v1/chat/completions", body)
    return _read_choices(reply, n)


def request_json(
    http: "httpx.Client",
    endpoint: Endpoint,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
) -> Any:
    """The JSON that the endpoint answers to one request.

    Raises:
        EndpointError: nothing answered in time, or an error status, or no JSON.
    """
    import httpx

    url = endpoint.base_url.rstrip("/") + path
    try:
        response = http.request(method, url, json=body, headers=endpoint.headers)
    except httpx.ConnectTimeout as error:
        raise EndpointError(f"{url} did not answer", retry=True, unreachable=True) from error
    except httpx.TimeoutException as error:
        raise EndpointError(f"{url} took too long to answer", retry=True) from error
    except httpx.ConnectError as error:
        raise EndpointError(f"{url} cannot be reached", retry=True, unreachable=True) from error
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise EndpointError(f"{url} is not an address", retry=False) from error
    except httpx.HTTPError as error:
        raise EndpointError(f"{url} broke off: {type(error).__name__}", retry=True) from error
    if not response.is_success:
        raise _refusal(response)
    try:
        return response.json()
    except ValueError as error:
        raise EndpointError("the server did not answer with JSON", retry=True) from error


def list_served_models(endpoint: Endpoint, *, timeout_seconds: float) -> list[str]:
    """The names in the endpoint's `/v1/models`.

    Raises:
        EndpointError: no such list came back.
    """
    import httpx

    with httpx.Client(timeout=timeout_seconds, follow_redirects=True) as http:
        reply = request_json(http, endpoint, "GET", "/v1/models")
    try:
        return [str(entry["id"]) for entry in reply["data"]]
    except (KeyError, TypeError) as error:
        raise EndpointError("the answer is not a list of models", retry=False) from error


def derive_seed(*parts: object) -> int:
    """A seed from 0 to 2³¹−1 that depends on every part and on nothing else."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest()) & 0x7FFFFFFF


def storable_text(text: str) -> str:
    """The text without what no database or file can hold: NUL and halves of characters."""
    return text.replace("\x00", "").encode("utf-8", errors="replace").decode("utf-8")


def _read_choices(reply: Any, n: int) -> list[Choice]:
    """Choices of a chat completion, at most `n`, in the order of their index.

    The token count of a reply is of all its choices together, so it is only told of a lone one;
    a server may say it of each (`token_count`), as the embedded one does.
    """
    try:
        entries = sorted(reply["choices"], key=lambda entry: entry.get("index") or 0)
        usage = reply.get("usage") or {}
        alone = usage.get("completion_tokens") if len(entries) == 1 else None
        return [
            Choice(
                storable_text(entry["message"].get("content") or ""),
                entry.get("finish_reason"),
                entry.get("token_count", alone),
            )
            for entry in entries[:n]
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise EndpointError("the answer is not a chat completion", retry=True) from error


def _refusal(response: "httpx.Response") -> EndpointError:
    status = response.status_code
    retry = status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in RETRIED_STATUS
    said = _error_message(response)
    reason = f"the server answered {status}" + (f": {said}" if said else "")
    return EndpointError(
        reason,
        retry=retry,
        wait_seconds=_retry_after_seconds(response.headers.get("Retry-After")),
        status=status,
    )


def _error_message(response: "httpx.Response") -> str:
    try:
        body = response.json()
    except ValueError:
        return ""
    if not isinstance(body, dict):
        return ""
    error = body.get("error")
    said = error.get("message") if isinstance(error, dict) else error
    said = said or body.get("detail") or body.get("message") or ""
    return " ".join(str(said).split())[:LONGEST_REASON]


def _retry_after_seconds(value: str | None) -> float | None:
    """Seconds of a Retry-After header: a number, or a date."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _backoff_seconds(failures: int, asked: float | None) -> float:
    """The server's own wish, or doubling waits with jitter so that many clients do not return at
    once; bounded either way.
    """
    if asked is not None:
        return min(asked, LONGEST_WAIT_SECONDS)
    doubled = FIRST_BACKOFF_SECONDS * 2.0 ** (failures - 1)
    return min(doubled * random.uniform(0.75, 1.25), LONGEST_WAIT_SECONDS)  # noqa: S311  # jitter


def _problem(got: int, wanted: int, reason: str) -> str:
    return f"{got} of {wanted} completions: {reason}"
