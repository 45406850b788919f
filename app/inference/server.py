"""The inference server: registry models behind the OpenAI-compatible HTTP API, and `/v1/score`."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from fastapi import APIRouter, FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from app.inference import answers
from app.inference.catalogue import Catalogue, ModelFiles, ModelKind, ModelUnavailable
from app.inference.engine import Engine
from app.inference.requests import (
    AnyJob,
    EmbeddingJob,
    GenerationJob,
    Job,
    Limits,
    Overloaded,
    Refused,
    ScoreJob,
    Stopped,
)
from app.inference.schemas import (
    ChatCompletionBody,
    CompletionBody,
    EmbeddingBody,
    Json,
    ScoreBody,
)
from app.inference.threads import choose_threads

logger = logging.getLogger(__name__)
router = APIRouter()
Result = TypeVar("Result")

DISCONNECT_POLL_SECONDS = 0.25
MAX_ROWS = 256
KIND_NAMES: dict[ModelKind, str] = {
    "policy": "a policy",
    "reward_model": "a reward model",
    "encoder": "an encoder",
}


class UnknownModel(Exception):
    """The catalogue has no model of that id."""


class ClientGone(Exception):
    """Whoever asked has hung up."""


def create_inference_app(
    catalogue: Catalogue, *, limits: Limits | None = None, threads: int | None = None
) -> FastAPI:
    """The server of the catalogue's models, which loads each when it is first asked for.

    `threads` sets the process's compute threads; None leaves them as they are.
    """
    if threads is not None:
        choose_threads(threads)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.engine = Engine(limits)
        yield
        await run_in_threadpool(app.state.engine.stop)

    app = FastAPI(title="Podium inference", lifespan=lifespan)
    app.state.catalogue = catalogue
    app.include_router(router)
    _add_error_handlers(app)
    return app


@router.get("/healthz")
async def read_health(request: Request) -> Json:
    """Say that the server is up, how many requests wait, and which models are in memory."""
    engine: Engine = request.app.state.engine
    return {"status": "ok", "waiting": engine.waiting(), "loaded": engine.loaded()}


@router.get("/v1/models")
async def list_models(request: Request) -> Json:
    """Every model that may be asked for."""
    found = await run_in_threadpool(request.app.state.catalogue.list)
    return {"object": "list", "data": [answers.model_entry(files) for files in found]}


@router.get("/v1/models/{model_id:path}")
async def read_model(request: Request, model_id: str) -> Json:
    """One model."""
    return answers.model_entry(await _find(request, model_id, None))


@router.post("/v1/chat/completions")
async def create_chat_completion(request: Request, body: ChatCompletionBody) -> Json:
    """n completions of a conversation."""
    body.refuse_unserved()
    job = GenerationJob(
        files=await _find(request, body.model, "policy"),
        prompts=[[message.as_prompt() for message in body.messages]],
        n=body.n,
        options=body.options(),
        max_tokens=body.max_completion_tokens or body.max_tokens,
        logprobs=bool(body.logprobs),
    )
    generation = await _result(request, job, job)
    return answers.chat_completion(body.model, generation, logprobs=job.logprobs)


@router.post("/v1/completions")
async def create_completion(request: Request, body: CompletionBody) -> Json:
    """n continuations of each text."""
    body.refuse_unserved()
    job = GenerationJob(
        files=await _find(request, body.model, "policy"),
        prompts=body.prompts(),
        n=body.n,
        options=body.options(),
        max_tokens=body.max_tokens,
        logprobs=body.logprobs is not None,
    )
    if job.rows > MAX_ROWS:
        message = f"{job.rows} completions asked for in one request; at most {MAX_ROWS} are made"
        raise Refused(message, code="too_many_completions", param="prompt")
    generation = await _result(request, job, job)
    return answers.text_completion(body.model, generation, logprobs=job.logprobs)


@router.post("/v1/embeddings")
async def create_embeddings(request: Request, body: EmbeddingBody) -> Json:
    """The embedding of each text: the mean of its token states, of length 1."""
    body.refuse_unserved()
    job = EmbeddingJob(files=await _find(request, body.model, "encoder"), texts=body.texts())
    found = await _result(request, job, job)
    return answers.embeddings(body.model, found, body.encoding_format)


@router.post("/v1/score")
async def create_scores(request: Request, body: ScoreBody) -> Json:
    """Reward, logits and probabilities of each completion of a prompt.

    `rewards`: the reward model's output (a two-class model: the difference of its logits).
    `logits` and `probabilities`: `{negative, positive}`, positive being the preferred class.
    """
    job = ScoreJob(
        files=await _find(request, body.model, "reward_model"),
        prompt=body.as_prompt(),
        completions=body.completions,
        max_length=body.max_length,
    )
    return answers.scores(body.model, await _result(request, job, job))


async def _find(request: Request, model_id: str, kind: ModelKind | None) -> ModelFiles:
    files: ModelFiles | None = await run_in_threadpool(request.app.state.catalogue.find, model_id)
    if files is None:
        raise UnknownModel(model_id)
    if kind is not None and files.kind != kind:
        message = f"{model_id} is {KIND_NAMES[files.kind]}; this needs {KIND_NAMES[kind]}"
        raise Refused(message, code="wrong_model_kind", param="model")
    return files


async def _result(request: Request, job: AnyJob, typed: Job[Result]) -> Result:
    """Queue the job and wait for its result; drop it when whoever asked has hung up."""
    request.app.state.engine.submit(job)
    waiting = asyncio.wrap_future(typed.future)
    try:
        while not (await asyncio.wait({waiting}, timeout=DISCONNECT_POLL_SECONDS))[0]:
            if await request.is_disconnected():
                raise ClientGone
    finally:
        job.cancelled.set()
    return waiting.result()


def _add_error_handlers(app: FastAPI) -> None:
    invalid = "invalid_request_error"

    @app.exception_handler(RequestValidationError)
    async def _malformed(_request: Request, raised: RequestValidationError) -> JSONResponse:
        first = raised.errors()[0]
        field = ".".join(str(part) for part in first["loc"] if part != "body")
        message = f"{field}: {first['msg']}" if field else str(first["msg"])
        content = answers.error(message, invalid, code="invalid_value", param=field or None)
        return JSONResponse(content, status_code=400)

    @app.exception_handler(Refused)
    async def _refused(_request: Request, raised: Refused) -> JSONResponse:
        content = answers.error(str(raised), invalid, code=raised.code, param=raised.param)
        return JSONResponse(content, status_code=400)

    @app.exception_handler(UnknownModel)
    async def _unknown(_request: Request, raised: UnknownModel) -> JSONResponse:
        message = f"there is no model {str(raised)!r}; GET /v1/models lists those there are"
        content = answers.error(message, invalid, code="model_not_found", param="model")
        return JSONResponse(content, status_code=404)

    @app.exception_handler(ModelUnavailable)
    async def _unavailable(_request: Request, raised: ModelUnavailable) -> JSONResponse:
        content = answers.error(str(raised), "server_error", code="model_unavailable")
        return JSONResponse(content, status_code=424)

    @app.exception_handler(Overloaded)
    async def _overloaded(_request: Request, raised: Overloaded) -> JSONResponse:
        content = answers.error(str(raised), "overloaded_error", code="overloaded")
        headers = {"Retry-After": str(raised.retry_after_seconds)}
        return JSONResponse(content, status_code=503, headers=headers)

    @app.exception_handler(Stopped)
    async def _stopped(_request: Request, raised: Stopped) -> JSONResponse:
        content = answers.error(str(raised), "server_error", code="stopping")
        return JSONResponse(content, status_code=503, headers={"Retry-After": "5"})

    @app.exception_handler(ClientGone)
    async def _gone(_request: Request, _raised: ClientGone) -> Response:
        # Nobody reads this; nginx's number for it keeps the access log honest.
        return Response(status_code=499)

    @app.exception_handler(HTTPException)
    async def _http(_request: Request, raised: HTTPException) -> JSONResponse:
        content = answers.error(str(raised.detail), invalid, code=None)
        return JSONResponse(content, status_code=raised.status_code, headers=raised.headers)

    @app.exception_handler(Exception)
    async def _failed(request: Request, _raised: Exception) -> JSONResponse:
        # Starlette logs the traceback after this answer is sent.
        message = f"{request.url.path} failed; the server's log says why"
        content = answers.error(message, "server_error", code="internal_error")
        return JSONResponse(content, status_code=500)
