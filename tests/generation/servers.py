"""Small OpenAI-compatible servers that really listen, each with its own way of misbehaving."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

Behaviour = Callable[[dict[str, Any], int], Response | dict[str, Any]]


class Server:
    """A running server: its address, and every request body it was sent."""

    def __init__(self, behaviour: Behaviour, models: list[str]) -> None:
        self.behaviour = behaviour
        self.models = models
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.scored: list[dict[str, Any]] = []
        self.gives_rewards = True
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()
        self.url = ""

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.get("/v1/models")
        def list_models() -> dict[str, Any]:
            return {"object": "list", "data": [{"id": name} for name in self.models]}

        @app.post("/v1/chat/completions")
        def complete(body: dict[str, Any], request: Request) -> Any:
            with self._lock:
                self.requests.append(body)
                self.headers.append(dict(request.headers))
                number = len(self.requests)
                self._now += 1
                self.most_at_once = max(self.most_at_once, self._now)
            try:
                return self.behaviour(body, number)
            finally:
                with self._lock:
                    self._now -= 1

        @app.post("/v1/score")
        def score(body: dict[str, Any]) -> Any:
            """The longer text is worth more, unless the server knows no rewards."""
            self.scored.append(body)
            if not self.gives_rewards:
                return JSONResponse({"detail": "no such model"}, status_code=404)
            return {"rewards": [float(len(text)) for text in body["completions"]]}

        return app


@contextmanager
def running(behaviour: Behaviour, models: list[str] | None = None) -> Iterator[Server]:
    """A server on a free loopback port, gone when the block ends."""
    server = Server(behaviour, models or ["tiny"])
    with serving(server.app()) as url:
        server.url = url
        yield server


@contextmanager
def serving(app: FastAPI, lifespan: Literal["on", "off"] = "off") -> Iterator[str]:
    """Any app on a free loopback port; gives its address."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan=lifespan)
    uvicorn_server = uvicorn.Server(config)
    thread = threading.Thread(target=uvicorn_server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not uvicorn_server.started:
        assert time.monotonic() < deadline, "the test's server did not start"
        time.sleep(0.01)
    port = uvicorn_server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        uvicorn_server.should_exit = True
        thread.join(timeout=10)


def reply(texts: list[str], **extra: Any) -> dict[str, Any]:
    """A chat completion with these choices."""
    return {
        "object": "chat.completion",
        "choices": [
            {
                "index": index,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
            for index, text in enumerate(texts)
        ],
        **extra,
    }


def obedient(body: dict[str, Any], number: int) -> dict[str, Any]:
    """Gives `n` choices that name the prompt, the seed and their place."""
    prompt = body["messages"][-1]["content"]
    return reply([f"{prompt} / {body.get('seed')} / {k}" for k in range(body.get("n", 1))])


def ignores_n(body: dict[str, Any], number: int) -> dict[str, Any]:
    """One choice whatever `n`, as `transformers serve` does."""
    return reply([f"seed {body['seed']}"], usage={"completion_tokens": 7})


def failing(status: int, headers: dict[str, str] | None = None) -> Behaviour:
    """Always this status."""

    def behave(body: dict[str, Any], number: int) -> Response:
        error = {"error": {"message": "out of\n memory"}}
        return JSONResponse(error, status_code=status, headers=headers)

    return behave


def failing_first(times: int, status: int, headers: dict[str, str] | None = None) -> Behaviour:
    """This status for the first requests, then obedient."""

    def behave(body: dict[str, Any], number: int) -> Response | dict[str, Any]:
        if number <= times:
            return JSONResponse({"detail": "busy"}, status_code=status, headers=headers)
        return obedient(body, number)

    return behave


def not_json(body: dict[str, Any], number: int) -> Response:
    """Half a document."""
    return PlainTextResponse('{"choices": [{"mess', media_type="application/json")
