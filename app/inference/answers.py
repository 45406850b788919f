"""The answers of the inference server, in OpenAI's shapes."""

import base64
import time
import uuid

from app.inference.catalogue import ModelFiles
from app.inference.requests import Generation
from app.inference.results import Embeddings, SampledCompletion, Score
from app.inference.schemas import Json


def chat_completion(model: str, generation: Generation, *, logprobs: bool) -> Json:
    """The answer of `/v1/chat/completions`."""
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": completion.text, "refusal": None},
            "finish_reason": completion.finish_reason,
            "logprobs": {"content": _chat_logprobs(completion, generation.token_texts[0][index])}
            if logprobs
            else None,
        }
        for index, completion in enumerate(generation.completions[0])
    ]
    return {
        **_head("chatcmpl", "chat.completion", model),
        "choices": choices,
        "usage": _generation_usage(generation),
    }


def text_completion(model: str, generation: Generation, *, logprobs: bool) -> Json:
    """The answer of `/v1/completions`: the n choices of the first prompt, then the next one's."""
    choices: list[Json] = []
    for prompt, group in enumerate(generation.completions):
        for place, completion in enumerate(group):
            texts = generation.token_texts[prompt][place] if logprobs else []
            choices.append(
                {
                    "index": len(choices),
                    "text": completion.text,
                    "finish_reason": completion.finish_reason,
                    "logprobs": _text_logprobs(completion, texts) if logprobs else None,
                }
            )
    return {
        **_head("cmpl", "text_completion", model),
        "choices": choices,
        "usage": _generation_usage(generation),
    }


def embeddings(model: str, found: Embeddings, encoding_format: str) -> Json:
    """The answer of `/v1/embeddings`; base64 holds little-endian float32."""
    vectors = found.vectors.numpy().astype("<f4")
    rows = [
        base64.b64encode(vector.tobytes()).decode()
        if encoding_format == "base64"
        else vector.tolist()
        for vector in vectors
    ]
    return {
        "object": "list",
        "model": model,
        "data": [
            {"object": "embedding", "index": index, "embedding": row}
            for index, row in enumerate(rows)
        ],
        "usage": _usage(sum(found.tokens), 0),
    }


def scores(model: str, found: list[Score]) -> Json:
    """The answer of `/v1/score`: one entry a completion in each list."""
    return {
        "object": "list",
        "model": model,
        "rewards": [score.reward for score in found],
        "logits": [vars(score.logits) for score in found],
        "probabilities": [vars(score.probabilities) for score in found],
        "usage": _usage(sum(score.tokens for score in found), 0),
    }


def model_entry(files: ModelFiles) -> Json:
    """One model of `/v1/models`."""
    return {
        "id": files.id,
        "object": "model",
        "created": 0,
        "owned_by": "podium",
        "kind": files.kind,
    }


def error(message: str, kind: str, *, code: str | None, param: str | None = None) -> Json:
    """An error in OpenAI's shape."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _chat_logprobs(completion: SampledCompletion, texts: list[str]) -> list[Json]:
    return [
        {
            "token": text,
            "logprob": logprob,
            # A token that is part of a character has no text of its own to give the bytes of.
            "bytes": None if "\ufffd" in text else list(text.encode()),
            "top_logprobs": [],
        }
        for text, logprob in zip(texts, completion.logprobs, strict=True)
    ]


def _text_logprobs(completion: SampledCompletion, texts: list[str]) -> Json:
    offsets = [sum(len(text) for text in texts[:place]) for place in range(len(texts))]
    return {
        "tokens": texts,
        "token_logprobs": completion.logprobs,
        "top_logprobs": None,
        "text_offset": offsets,
    }


def _head(prefix: str, kind: str, model: str) -> Json:
    return {
        "id": f"{prefix}-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
    }


def _generation_usage(generation: Generation) -> Json:
    drawn = sum(len(one.token_ids) for group in generation.completions for one in group)
    return _usage(sum(generation.prompt_tokens), drawn)


def _usage(prompt_tokens: int, completion_tokens: int) -> Json:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }
