"""Several requests at once: which share a batch, which are refused, which are dropped."""

import asyncio
import threading
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.inference import sampling
from app.inference.catalogue import ModelFiles
from app.inference.engine import Engine
from app.inference.requests import GenerationJob, Limits, Stopped
from app.inference.sampling import SamplingOptions
from app.inference.server import create_inference_app
from tests.inference.asking import HI, Shelf, chat, texts


def test_concurrent_requests_share_a_batch_and_get_their_own_answers(shelf: Shelf) -> None:
    wanted = [{"seed": seed, "n": 1 + seed % 3, "max_tokens": 4 + seed} for seed in range(6)]
    app = create_inference_app(shelf, limits=Limits(collect_seconds=0.3))
    with TestClient(app) as client:
        alone = [texts(chat(client, **one)) for one in wanted]
        batches = []
        whole = sampling.sample_requests

        def recorded(model: object, tokenizer: object, requests: list[object], **rest: object):
            batches.append(len(requests))
            return whole(model, tokenizer, requests, **rest)

        together: list[list[str]] = [[] for _ in wanted]

        def ask(index: int) -> None:
            together[index] = texts(chat(client, **wanted[index]))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sampling, "sample_requests", recorded)
            threads = [threading.Thread(target=ask, args=(index,)) for index in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert together == alone
    assert sum(batches) == 6
    assert max(batches) >= 3


def test_batches_keep_to_their_rows(shelf: Shelf) -> None:
    app = create_inference_app(shelf, limits=Limits(collect_seconds=0.2, batch_rows=4))
    with TestClient(app) as client:
        results: list[int] = []
        threads = [
            threading.Thread(target=lambda: results.append(len(texts(chat(client, n=3)))))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [3, 3, 3]


def test_models_do_not_share_batches(
    shelf: Shelf, policy_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = []
    whole = sampling.sample_requests

    def recorded(model: object, tokenizer: object, requests: list[object], **rest: object):
        used.append(model)
        return whole(model, tokenizer, requests, **rest)

    monkeypatch.setattr(sampling, "sample_requests", recorded)
    twin = ModelFiles(id="twin", kind="policy", source=str(policy_dir))
    app = create_inference_app(Shelf(*shelf.list(), twin), limits=Limits(collect_seconds=0.3))
    with TestClient(app) as client:
        threads = [
            threading.Thread(target=chat, args=(client,), kwargs={"model": name})
            for name in ("policy", "twin")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(used) == 2
    assert used[0] is not used[1]


def test_refused_prompt_does_not_spoil_its_batch(shelf: Shelf) -> None:
    app = create_inference_app(shelf, limits=Limits(collect_seconds=0.3))
    with TestClient(app) as client:
        chat(client)
        statuses = {}

        def ask(name: str, content: str) -> None:
            body = {
                "model": "policy",
                "messages": [{"role": "user", "content": content}],
                "max_tokens": 4,
            }
            statuses[name] = client.post("/v1/chat/completions", json=body).status_code

        threads = [
            threading.Thread(target=ask, args=args)
            for args in (("a", "hi"), ("long", "x" * 400), ("b", "ho"))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert statuses == {"a": 200, "long": 400, "b": 200}


def test_full_queue_says_when_to_come_back(shelf: Shelf) -> None:
    app = create_inference_app(
        shelf, limits=Limits(waiting_requests=1, collect_seconds=1.0, batch_rows=1)
    )
    with TestClient(app) as client:
        chat(client)
        answers = []

        def ask() -> None:
            body = {"model": "policy", "messages": HI, "max_tokens": 60, "n": 16}
            answers.append(client.post("/v1/chat/completions", json=body))

        threads = [threading.Thread(target=ask) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    refused = [answer for answer in answers if answer.status_code == 503]
    served = [answer for answer in answers if answer.status_code == 200]
    # One at least: on a busy machine all ask before the first is taken from the queue.
    assert served
    assert len(refused) >= 5
    assert refused[0].json()["error"]["code"] == "overloaded"
    assert 1 <= int(refused[0].headers["Retry-After"]) <= 60


def test_request_of_a_client_that_hung_up_is_dropped(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A raw ASGI call whose client disconnects while another request holds the thread."""
    app = create_inference_app(shelf, limits=Limits(collect_seconds=0.0, batch_rows=1))

    computed = []
    whole = sampling.sample_requests

    def recorded(model: object, tokenizer: object, requests: list[object], **rest: object):
        computed.extend(requests)
        return whole(model, tokenizer, requests, **rest)

    monkeypatch.setattr(sampling, "sample_requests", recorded)

    async def post(*, hangs_up: bool) -> int:
        body = b'{"model":"policy","messages":[{"role":"user","content":"hi"}],"max_tokens":80}'
        status = 0
        messages = [{"type": "http.request", "body": body, "more_body": False}]
        forever = asyncio.Event()

        async def receive() -> dict[str, object]:
            if messages:
                return messages.pop()
            if not hangs_up:
                await forever.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, object]) -> None:
            nonlocal status
            status = int(message.get("status", status))

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "path": "/v1/chat/completions",
            "raw_path": b"/v1/chat/completions",
            "query_string": b"",
            "headers": [(b"content-type", b"application/json")],
            "scheme": "http",
            "server": ("testserver", 80),
            "client": ("testclient", 1),
            "state": {},
        }
        await app(scope, receive, send)
        return status

    async def both() -> tuple[int, int]:
        async with app.router.lifespan_context(app):
            engine = app.state.engine
            held = threading.Event()
            engine._thread.submit(held.wait)
            first = asyncio.create_task(post(hangs_up=False))
            gone = asyncio.create_task(post(hangs_up=True))
            status = await gone
            held.set()
            answered = await first
            await asyncio.to_thread(engine._thread.submit(int).result)
            return answered, status

    assert asyncio.run(both()) == (200, 499)
    assert len(computed) == 1


def test_stopping_ends_what_runs_and_refuses_what_waits(shelf: Shelf) -> None:
    engine = Engine(Limits(batch_rows=1, collect_seconds=0))
    jobs = [
        GenerationJob(
            files=shelf.models["policy"],
            prompts=[HI],
            n=1,
            options=SamplingOptions(seed=1, stop_token_ids=()),
            max_tokens=80,
        )
        for _ in range(3)
    ]
    held = threading.Event()
    engine._thread.submit(held.wait)
    for job in jobs:
        engine.submit(job)
    threading.Timer(0.2, held.set).start()
    engine.stop()
    assert all(isinstance(job.future.exception(), Stopped) for job in jobs)
    with pytest.raises(Stopped):
        engine.submit(jobs[0])
