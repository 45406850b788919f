import base64
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.inference import sampling
from app.inference.catalogue import ModelFiles
from app.inference.formatting import encode_prompt
from app.inference.loading import load_model
from app.inference.sampling import SamplingOptions, SamplingRequest, sample_requests
from app.inference.scoring import score
from app.inference.server import create_inference_app
from tests.inference.asking import HI, Shelf, chat, texts


@pytest.fixture(scope="module")
def client(shelf: Shelf) -> Iterator[TestClient]:
    with TestClient(create_inference_app(shelf)) as client:
        yield client


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


def test_server_answers_before_any_model_is_loaded(shelf: Shelf) -> None:
    started = time.monotonic()
    with TestClient(create_inference_app(shelf)) as client:
        health = client.get("/healthz").json()
    assert health == {"status": "ok", "waiting": 0, "loaded": []}
    assert time.monotonic() - started < 2


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
