import asyncio
import base64
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.inference import sampling
from app.inference.catalogue import ModelFiles
from app.inference.engine import Engine
from app.inference.formatting import encode_prompt
from app.inference.loading import load_model
from app.inference.requests import GenerationJob, Limits, Stopped
from app.inference.sampling import SamplingOptions, SamplingRequest, sample_requests
from app.inference.scoring import score
from app.inference.server import create_inference_app

HI = [{"role": "user", "content": "hi"}]


class Shelf:
    """A catalogue that is a dictionary."""

    def __init__(self, *models: ModelFiles) -> None:
        self.models = {files.id: files for files in models}

    def find(self, model_id: str) -> ModelFiles | None:
        return self.models.get(model_id)

    def list(self) -> list[ModelFiles]:
        return list(self.models.values())


@pytest.fixture(scope="module")
def shelf(
    policy_dir: Path, reward_model_dir: Path, two_class_dir: Path, encoder_dir: Path
) -> Shelf:
    return Shelf(
        ModelFiles(id="policy", kind="policy", source=str(policy_dir)),
        ModelFiles(id="rewards", kind="reward_model", source=str(reward_model_dir)),
        ModelFiles(id="classes", kind="reward_model", source=str(two_class_dir), positive_class=0),
        ModelFiles(id="owner/encoder", kind="encoder", source=str(encoder_dir)),
        ModelFiles(id="gone", kind="policy", source="/no/such/folder"),
    )


@pytest.fixture(scope="module")
def client(shelf: Shelf) -> Iterator[TestClient]:
    with TestClient(create_inference_app(shelf)) as client:
        yield client


def chat(client: TestClient, **changes: object) -> dict[str, object]:
    body = {"model": "policy", "messages": HI, "max_tokens": 8, "seed": 1, **changes}
    answer = client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def texts(answer: dict[str, object]) -> list[str]:
    return [choice["message"]["content"] for choice in answer["choices"]]


def test_n_choices_are_those_that_sampling_draws_and_the_usage_counts_them(
    client: TestClient, policy_dir: Path
) -> None:
    answer = chat(client, n=5, temperature=0.9, top_p=0.9)
    policy = load_model(policy_dir, "policy")
    prompt_ids = encode_prompt(policy.tokenizer, HI)
    options = SamplingOptions(temperature=0.9, top_p=0.9, max_new_tokens=8, seed=1)
    [expected] = sample_requests(
        policy.model,
        policy.tokenizer,
        [SamplingRequest(prompt_ids=prompt_ids, n=5, options=options)],
    )
    assert texts(answer) == [completion.text for completion in expected]
    assert [choice["finish_reason"] for choice in answer["choices"]] == [
        completion.finish_reason for completion in expected
    ]
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3, 4]
    drawn = sum(len(completion.token_ids) for completion in expected)
    assert answer["usage"] == {
        "prompt_tokens": len(prompt_ids),
        "completion_tokens": drawn,
        "total_tokens": len(prompt_ids) + drawn,
    }
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "policy"


def test_seed_decides_the_choices(client: TestClient) -> None:
    assert texts(chat(client, n=2, seed=5)) == texts(chat(client, n=2, seed=5))
    assert texts(chat(client, n=2, seed=5)) != texts(chat(client, n=2, seed=6))
    assert texts(chat(client, seed=None)) != texts(chat(client, seed=None))


def test_newer_name_of_the_longest_completion_counts(client: TestClient) -> None:
    answer = chat(client, max_completion_tokens=3, temperature=0)
    assert answer["usage"]["completion_tokens"] == 3
    assert answer["choices"][0]["finish_reason"] == "length"


def test_content_may_come_in_parts(client: TestClient) -> None:
    parts = [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]
    messages = [{"role": "user", "content": parts}]
    assert texts(chat(client, messages=messages)) == texts(chat(client))


def test_stop_text_ends_a_choice(client: TestClient) -> None:
    [whole] = texts(chat(client, max_tokens=40, seed=2))
    stop = next(char for char in whole[2:] if char.isprintable() and char != "�")
    answer = chat(client, max_tokens=40, seed=2, stop=[stop, "never there"])
    assert texts(answer) == [whole.split(stop)[0]]
    assert answer["choices"][0]["finish_reason"] == "stop"


def test_logprobs_come_one_a_token(client: TestClient) -> None:
    answer = chat(client, logprobs=True, temperature=0.5)
    content = answer["choices"][0]["logprobs"]["content"]
    assert len(content) == answer["usage"]["completion_tokens"]
    assert all(entry["logprob"] <= 0 for entry in content)
    assert chat(client)["choices"][0]["logprobs"] is None


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


def test_texts_are_continued_each_n_times(client: TestClient) -> None:
    body = {"model": "policy", "prompt": ["ab", "cde"], "n": 2, "max_tokens": 4, "seed": 1}
    answer = client.post("/v1/completions", json={**body, "logprobs": 0}).json()
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert answer["usage"]["prompt_tokens"] == 5
    alone = client.post("/v1/completions", json={**body, "prompt": "ab"}).json()
    assert [choice["text"] for choice in alone["choices"]] == [
        choice["text"] for choice in answer["choices"][:2]
    ]
    first = answer["choices"][0]["logprobs"]
    assert len(first["tokens"]) == len(first["token_logprobs"]) == len(first["text_offset"])


def test_scores_are_those_of_the_scorer(client: TestClient, reward_model_dir: Path) -> None:
    body = {"model": "rewards", "prompt": "why", "completions": ["yes", "no no"]}
    answer = client.post("/v1/score", json=body).json()
    loaded = load_model(reward_model_dir, "reward_model")
    expected = score(loaded.model, loaded.tokenizer, "why", ["yes", "no no"])
    assert answer["rewards"] == pytest.approx([one.reward for one in expected], abs=1e-5)
    assert answer["logits"][0] == pytest.approx(vars(expected[0].logits), abs=1e-5)
    assert sum(answer["probabilities"][1].values()) == pytest.approx(1)
    as_messages = [{"role": "user", "content": "why"}]
    again = client.post("/v1/score", json={**body, "prompt": as_messages}).json()
    assert again["rewards"] == pytest.approx(answer["rewards"], abs=1e-5)


def test_two_class_reward_model_uses_the_catalogues_positive_class(client: TestClient) -> None:
    body = {"model": "classes", "prompt": "why", "completions": ["yes"]}
    answer = client.post("/v1/score", json=body).json()
    logits = answer["logits"][0]
    assert answer["rewards"][0] == pytest.approx(logits["positive"] - logits["negative"], abs=1e-5)


def test_embeddings_come_as_numbers_or_base64(client: TestClient) -> None:
    body = {"model": "owner/encoder", "input": ["a b", "c"]}
    answer = client.post("/v1/embeddings", json=body).json()
    first = answer["data"][0]["embedding"]
    assert sum(value * value for value in first) == pytest.approx(1, abs=1e-5)
    coded = client.post("/v1/embeddings", json={**body, "encoding_format": "base64"}).json()
    raw = base64.b64decode(coded["data"][0]["embedding"])
    assert struct.unpack(f"<{len(first)}f", raw) == pytest.approx(tuple(first), abs=1e-6)
    assert answer["usage"] == {"prompt_tokens": 7, "completion_tokens": 0, "total_tokens": 7}


def test_models_are_listed_and_new_ones_appear_at_once(
    client: TestClient, shelf: Shelf, policy_dir: Path
) -> None:
    assert client.get("/v1/models/later").status_code == 404
    shelf.models["later"] = ModelFiles(id="later", kind="policy", source=str(policy_dir))
    assert "later" in [model["id"] for model in client.get("/v1/models").json()["data"]]
    assert client.get("/v1/models/owner/encoder").json()["kind"] == "encoder"
    assert texts(chat(client, model="later")) == texts(chat(client))


@pytest.mark.parametrize(
    ("path", "changes", "status", "said"),
    [
        ("chat/completions", {"model": "nobody"}, 404, "there is no model 'nobody'"),
        ("chat/completions", {"messages": []}, 400, "messages"),
        ("chat/completions", {"messages": [{"role": "king", "content": "x"}]}, 400, "role"),
        ("chat/completions", {"n": 17}, 400, "n: "),
        ("chat/completions", {"n": 0}, 400, "n: "),
        ("chat/completions", {"temperature": -0.1}, 400, "temperature"),
        ("chat/completions", {"top_p": 0}, 400, "top_p"),
        ("chat/completions", {"max_tokens": 0}, 400, "max_tokens"),
        ("chat/completions", {"stop": [""]}, 400, "stop"),
        ("chat/completions", {"stream": True}, 400, "stream is not served"),
        ("chat/completions", {"presence_penalty": 1}, 400, "presence_penalty"),
        ("chat/completions", {"model": "rewards"}, 400, "rewards is a reward model"),
        ("chat/completions", {"model": "gone"}, 424, "/no/such/folder is not a folder"),
        # "hi" comes to 47 tokens of bytes and markers in the tiny model's template.
        ("chat/completions", {"max_tokens": 200}, 400, "the context holds 128"),
        (
            "chat/completions",
            {"messages": [{"role": "user", "content": "x" * 500}]},
            400,
            "the context holds 128",
        ),
        ("completions", {"prompt": ""}, 400, "the prompt is empty"),
        ("completions", {"prompt": ["x"] * 100, "n": 16}, 400, "at most 256"),
        ("score", {"model": "policy", "prompt": "x", "completions": ["y"]}, 400, "is a policy"),
        ("score", {"model": "rewards", "prompt": "x", "completions": []}, 400, "completions"),
        ("embeddings", {"model": "policy", "input": "x"}, 400, "this needs an encoder"),
    ],
)
def test_bad_requests_are_refused_in_openais_shape(
    client: TestClient, path: str, changes: dict[str, object], status: int, said: str
) -> None:
    body = {"model": "policy", **changes}
    if path == "chat/completions":
        body.setdefault("messages", HI)
    answer = client.post(f"/v1/{path}", json=body)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert said in error["message"]
    assert "\n" not in error["message"]
    assert set(error) == {"message", "type", "param", "code"}


def test_too_long_prompt_names_the_numbers(client: TestClient, policy_dir: Path) -> None:
    policy = load_model(policy_dir, "policy")
    messages = [{"role": "user", "content": "x" * 200}]
    tokens = len(encode_prompt(policy.tokenizer, messages))
    body = {"model": "policy", "messages": messages, "max_tokens": 5}
    error = client.post("/v1/chat/completions", json=body).json()["error"]
    assert error["message"] == (
        f"the prompt has {tokens} tokens and max_tokens asks for 5 more; the context holds 128"
    )
    assert error["code"] == "context_length_exceeded"


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


def test_server_answers_before_any_model_is_loaded(shelf: Shelf) -> None:
    started = time.monotonic()
    with TestClient(create_inference_app(shelf)) as client:
        health = client.get("/healthz").json()
    assert health == {"status": "ok", "waiting": 0, "loaded": []}
    assert time.monotonic() - started < 2


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


def test_failure_of_the_model_reaches_who_asked_and_the_server_goes_on(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_given: object, **_named: object) -> None:
        raise RuntimeError("out of memory")

    with TestClient(create_inference_app(shelf), raise_server_exceptions=False) as client:
        with monkeypatch.context() as patch:
            patch.setattr(sampling, "sample_requests", fail)
            body = {"model": "policy", "messages": HI, "max_tokens": 2}
            answer = client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 500
        assert answer.json()["error"]["code"] == "internal_error"
        assert len(texts(chat(client, n=2))) == 2
