"""The one thread that computes, and the queue before it.

Requests wait in a queue. The thread takes the first; if that is a generation it waits a few
milliseconds for company and takes along every waiting generation of the same model that fits, so
that they share each decode step. Nothing here knows HTTP, and the thread itself imports torch, so
that the server answers at once.
"""

import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from app.inference.requests import (
    AnyJob,
    EmbeddingJob,
    Generation,
    GenerationJob,
    Limits,
    Overloaded,
    Refused,
    ScoreJob,
    Stopped,
)
from app.inference.results import SampledCompletion

if TYPE_CHECKING:
    from app.inference.loading import LoadedModel, ModelCache


class Engine:
    """Runs jobs on one thread, generations of one model together."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._lock = threading.Lock()
        self._waiting: deque[AnyJob] = deque()
        self._running: list[AnyJob] = []
        self._stopping = False
        self._turn_seconds = 1.0
        self._cache: ModelCache | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inference")

    def submit(self, job: AnyJob) -> None:
        """Queue a job; its future gets the result or what went wrong.

        Raises Overloaded when as many as may wait already do, Stopped when the server goes down.
        """
        with self._lock:
            if self._stopping:
                raise Stopped
            self._waiting = deque(job for job in self._waiting if not job.cancelled.is_set())
            if len(self._waiting) >= self.limits.waiting_requests:
                raise Overloaded(len(self._waiting), max(1, min(60, round(self._turn_seconds))))
            self._waiting.append(job)
        # One turn a job. A turn may take several jobs; the turns left over find nothing to do.
        taken: list[AnyJob] = []
        turn = self._thread.submit(self._serve, taken)
        turn.add_done_callback(lambda done: _fail_all(taken, done))

    def stop(self) -> None:
        """End what runs at its next step, refuse what waits, and wait for the thread."""
        with self._lock:
            self._stopping = True
            for job in self._running:
                job.cancelled.set()
            refused, self._waiting = self._waiting, deque()
        for job in refused:
            job.future.set_exception(Stopped())
        self._thread.shutdown(wait=True, cancel_futures=True)

    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    def loaded(self) -> list[str]:
        """The ids of the models in memory."""
        return [] if self._cache is None else self._cache.ids()

    def _serve(self, taken: list[AnyJob]) -> None:
        job = self._take_first()
        if job is None:
            return
        taken.append(job)
        started = time.monotonic()
        loaded = self._get_cache().get(job.files)
        match job:
            case GenerationJob():
                self._generate(loaded, job, taken)
            case ScoreJob():
                from app.inference.scoring import score

                job.future.set_result(
                    score(
                        loaded.model,
                        loaded.tokenizer,
                        job.prompt,
                        job.completions,
                        min(job.max_length or loaded.context_length, loaded.context_length),
                        loaded.positive_class,
                    )
                )
            case EmbeddingJob():
                from app.inference.embedding import MAX_LENGTH, embed

                limit = min(MAX_LENGTH, loaded.context_length)
                job.future.set_result(embed(loaded.model, loaded.tokenizer, job.texts, limit))
        self._turn_seconds = time.monotonic() - started

    def _generate(self, loaded: "LoadedModel", first: GenerationJob, taken: list[AnyJob]) -> None:
        from app.inference.sampling import SamplingRequest, sample_requests

        batch: list[GenerationJob] = []
        if _prepare(first, loaded):
            batch.append(first)
            if first.rows < self.limits.batch_rows:
                time.sleep(self.limits.collect_seconds)
                self._take_along(loaded, batch, taken)
        owners = [job for job in batch for _ in job.prepared]
        results = iter(
            sample_requests(
                loaded.model,
                loaded.tokenizer,
                [
                    SamplingRequest(prompt_ids=one.prompt_ids, n=job.n, options=one.options)
                    for job in batch
                    for one in job.prepared
                ],
                cancelled=lambda index: owners[index].cancelled.is_set(),
            )
        )
        for job in batch:
            completions = [next(results) for _ in job.prepared]
            job.future.set_result(
                Generation(
                    prompt_tokens=[len(one.prompt_ids) for one in job.prepared],
                    completions=completions,
                    token_texts=_token_texts(loaded, completions) if job.logprobs else [],
                )
            )

    def _take_first(self) -> AnyJob | None:
        with self._lock:
            self._running.clear()
            while self._waiting:
                job = self._waiting.popleft()
                if not job.cancelled.is_set():
                    self._running.append(job)
                    return job
        return None

    def _take_along(
        self, loaded: "LoadedModel", batch: list[GenerationJob], taken: list[AnyJob]
    ) -> None:
        """Add the waiting generations of the same model that fit into the batch, oldest first."""
        with self._lock:
            alike = [
                job
                for job in self._waiting
                if isinstance(job, GenerationJob)
                and job.files == batch[0].files
                and not job.cancelled.is_set()
            ]
        for job in alike:
            rows = sum(other.rows for other in (*batch, job))
            if rows > self.limits.batch_rows:
                break
            fits = not _prepare(job, loaded) or (
                rows * max(other.width for other in (*batch, job)) <= self.limits.batch_tokens
            )
            with self._lock:
                if not fits or job not in self._waiting:
                    break
                self._waiting.remove(job)
                self._running.append(job)
            if not job.future.done():
                taken.append(job)
                batch.append(job)

    def _get_cache(self) -> "ModelCache":
        if self._cache is None:
            from app.inference.loading import ModelCache

            self._cache = ModelCache(self.limits.loaded_models)
        return self._cache


def _prepare(job: GenerationJob, loaded: "LoadedModel") -> bool:
    """Make the job's token ids; False, and the reason in its future, where it cannot be served."""
    try:
        job.prepare(loaded.tokenizer, loaded.context_length)
    except Refused as refusal:
        if not job.future.done():
            job.future.set_exception(refusal)
        return False
    return True


def _token_texts(
    loaded: "LoadedModel", completions: list[list[SampledCompletion]]
) -> list[list[list[str]]]:
    return [
        [
            [loaded.tokenizer.decode([token]) for token in completion.token_ids]
            for completion in group
        ]
        for group in completions
    ]


def _fail_all(taken: list[AnyJob], turn: Future[None]) -> None:
    """Hand what ended a turn to every job in it that has no result yet."""
    error = None if turn.cancelled() else turn.exception()
    for job in taken:
        if error is not None and not job.future.done():
            job.future.set_exception(error)
