"""The real starter policy, sampled directly and through a real server on the loopback."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import torch
import uvicorn

from app.inference.catalogue import ModelFiles
from app.inference.loading import LoadedModel, load_model
from app.inference.sampling import SamplingOptions, generate, pad_left, sample_completions
from app.inference.server import create_inference_app

pytestmark = pytest.mark.model

SKY = [{"role": "user", "content": "Why is the sky blue?"}]
CAPITAL = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]


class Starters:
    """A catalogue of the two starter models."""

    def __init__(self, models_dir: Path) -> None:
        self.models = {
            "smollm2-135m-instruct": ModelFiles(
                id="smollm2-135m-instruct",
                kind="policy",
                source=str(models_dir / "smollm2-135m-instruct"),
                starter=True,
            ),
            "minilm-l6": ModelFiles(
                id="minilm-l6", kind="encoder", source=str(models_dir / "minilm-l6"), starter=True
            ),
        }

    def find(self, model_id: str) -> ModelFiles | None:
        return self.models.get(model_id)

    def list(self) -> list[ModelFiles]:
        return list(self.models.values())


@pytest.fixture(scope="module")
def smollm2(smollm2_dir: Path) -> LoadedModel:
    return load_model(smollm2_dir, "policy")


def test_greedy_is_what_transformers_generates(smollm2: LoadedModel) -> None:
    model, tokenizer = smollm2.model, smollm2.tokenizer
    prompts = [
        tokenizer.encode(
            tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        )
        for messages in (SKY, CAPITAL)
    ]
    input_ids, attention_mask = pad_left(prompts, tokenizer.pad_token_id, "cpu")
    ours = generate(
        model, input_ids, attention_mask, 1, SamplingOptions(temperature=0, max_new_tokens=16)
    )
    theirs = model.generate(
        input_ids, attention_mask=attention_mask, max_new_tokens=16, do_sample=False
    )[:, input_ids.shape[1] :]
    for row in range(2):
        length = int(ours.completion_mask[row].sum())
        assert ours.tokens[row, :length].tolist() == theirs[row, :length].tolist()


def test_answers_end_their_turn_and_make_sense(smollm2: LoadedModel) -> None:
    [[one]] = sample_completions(
        smollm2.model,
        smollm2.tokenizer,
        [CAPITAL],
        1,
        SamplingOptions(temperature=0, max_new_tokens=40),
    )
    assert "Paris" in one.text
    assert one.finish_reason == "stop"
    assert one.token_ids[-1] == smollm2.tokenizer.eos_token_id
    assert "<|im_end|>" not in one.text


def test_logprobs_of_cached_decode_are_those_of_a_full_forward(smollm2: LoadedModel) -> None:
    model, tokenizer = smollm2.model, smollm2.tokenizer
    prompt = tokenizer.encode("The three primary colours are")
    options = SamplingOptions(temperature=0.8, top_p=0.95, max_new_tokens=10, seed=0)
    drawn = generate(model, *pad_left([prompt, prompt[-2:]], 2, "cpu"), 2, options)
    for row, ids in enumerate([prompt, prompt, prompt[-2:], prompt[-2:]]):
        completion = drawn.tokens[row][drawn.completion_mask[row]]
        with torch.no_grad():
            logits = model(torch.tensor([ids + completion.tolist()])).logits[0, len(ids) - 1 : -1]
        expected = (logits / 0.8).log_softmax(dim=-1).gather(1, completion[:, None]).squeeze(1)
        found = drawn.logprobs[row][drawn.completion_mask[row]]
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


@pytest.fixture(scope="module")
def address(starters_dir: Path) -> Iterator[str]:
    """A real server of the starters, on a free port of the loopback."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    app = create_inference_app(Starters(starters_dir))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()


def test_real_server_serves_the_starters(address: str) -> None:
    with httpx.Client(base_url=address, timeout=120) as client:

        def ask(seed: int) -> httpx.Response:
            body = {
                "model": "smollm2-135m-instruct",
                "messages": SKY,
                "n": 4,
                "max_tokens": 12,
                "temperature": 0.8,
                "top_p": 0.95,
                "seed": seed,
            }
            return client.post("/v1/chat/completions", json=body)

        with ThreadPoolExecutor(3) as pool:
            answers = list(pool.map(ask, [1, 2, 1]))
        assert [answer.status_code for answer in answers] == [200, 200, 200]
        texts = [
            [choice["message"]["content"] for choice in answer.json()["choices"]]
            for answer in answers
        ]
        assert texts[0] == texts[2]
        assert texts[0] != texts[1]
        assert len(set(texts[0])) > 1
        embedded = client.post("/v1/embeddings", json={"model": "minilm-l6", "input": "a cat"})
        assert len(embedded.json()["data"][0]["embedding"]) == 384
        assert client.get("/healthz").json()["loaded"] == ["smollm2-135m-instruct", "minilm-l6"]
