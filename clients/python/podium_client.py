"""A small typed client of Podium: projects, rounds, rankings, pairs, snapshots, jobs, models.

Answers are the dictionaries that REST gives, typed by their fields; `/api/docs` of your Podium says
what each means. Lists and streams are iterators. Whatever goes wrong is one `PodiumError`.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Self, TypedDict, TypeVar, cast

import httpx

T = TypeVar("T")
Json = dict[str, Any]
Row = Mapping[str, Any]
Rows = Iterable[Row] | PathLike[str]
Prompt = str | Sequence[Row]
PairSchema = Literal[
    "plain", "trl", "trl-conversational", "trl-unpaired", "hh", "argilla", "label-studio"
]
CONTENT_TYPES = {
    ".jsonl": "application/x-ndjson",
    ".json": "application/json",
    ".csv": "text/csv",
    ".parquet": "application/vnd.apache.parquet",
    ".txt": "text/plain",
}


class Project(TypedDict):
    """A body of work."""

    id: str
    name: str
    guidelines: str
    guidelines_version: int


class ImportReport(TypedDict):
    """What became of every line of an import."""

    created: int
    duplicates: int
    rejected: list[Json]
    rejected_total: int


class Round(TypedDict):
    """One pass of collecting."""

    id: str
    number: int
    state: str
    job_id: str | None
    counts: Json


class Snapshot(TypedDict):
    """A frozen set of rankings."""

    id: str
    project_id: str
    name: str
    filters: Json
    sha256: str
    rankings: int
    pairs: int
    splits: Json | None
    erased_rankings: int


class Job(TypedDict):
    """Background work."""

    id: str
    kind: str
    state: str
    progress: float
    stage: str
    eta_seconds: float | None
    reason: str | None
    outputs: Json


class Scores(TypedDict):
    """One entry for each completion in each list."""

    rewards: list[float]
    logits: list[dict[str, float]]
    probabilities: list[dict[str, float]]


class Assignment(TypedDict):
    """A task that is kept for you; `completions` are `{id, text}` in the order shown."""

    id: str
    task_id: str
    prompt: str | list[Json]
    completions: list[dict[str, str]]
    lease_expires_at: str


class Ranking(TypedDict):
    """A stored ranking."""

    id: str
    task_id: str
    ranks: dict[str, int]


class PodiumError(Exception):
    """What Podium refused, or that it could not be asked.

    `status` is the HTTP status, 0 where there was no answer; `code` is stable, for programs;
    `fields` says of each offending input what would be accepted.
    """

    def __init__(self, status: int, code: str, detail: str, fields: Row | None = None) -> None:
        super().__init__(f"{code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.fields: dict[str, str] = dict(fields or {})


class Podium:
    """Podium at an address, as the person whose token this is."""

    def __init__(self, url: str, token: str, *, timeout_seconds: float = 120) -> None:
        self.http = httpx.Client(
            base_url=f"{url.rstrip('/')}/api/v1",
            headers={"Authorization": f"Bearer {token}"},
            timeout=timeout_seconds,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.http.close()

    def projects(self) -> Iterator[Project]:
        """The projects that are open to you, oldest first."""
        return self._pages("/projects")

    def create_project(self, name: str, guidelines: str = "", **settings: Any) -> Project:
        """A new project; `settings` are its other fields, such as `flags` or `gold_share`."""
        body = {"name": name, "guidelines": guidelines, **settings}
        return self._json(Project, "POST", "/projects", json=body)

    def add_prompts(
        self, project_id: str, prompts: Iterable[str | Row] | PathLike[str]
    ) -> ImportReport:
        """Import prompts: texts, rows (`text` or `messages`, `external_id`, …) or a file."""
        rows: Rows = prompts if isinstance(prompts, PathLike) else map(_prompt_row, prompts)
        return self._upload(f"/projects/{project_id}/prompts", rows)

    def start_round(self, project_id: str, policies: Sequence[str], **settings: Any) -> Round:
        """Have policies write completions; `settings` as `POST /projects/{id}/rounds` takes."""
        body = {"policies": list(policies), **settings}
        return self._json(Round, "POST", f"/projects/{project_id}/rounds", json=body)

    def add_tasks(self, project_id: str, tasks: Iterable[Row], **settings: Any) -> Round:
        """A round of completions made elsewhere: `{prompt, completions: [{text, model?}]}` each."""
        body = {"tasks": list(tasks), **settings}
        return self._json(Round, "POST", f"/projects/{project_id}/tasks", json=body)

    def round(self, round_id: str) -> Round:
        """State and counts of a round."""
        return self._json(Round, "GET", f"/rounds/{round_id}")

    def import_rankings(self, project_id: str, rankings: Rows, **query: str) -> ImportReport:
        """Import rankings or pairs made elsewhere; detected unless `format` names what they are."""
        return self._upload(f"/projects/{project_id}/rankings", rankings, query)

    def iter_rankings(self, project_id: str, **filters: Any) -> Iterator[Json]:
        """The rankings that count and fit the filters, streamed."""
        return self._lines(f"/projects/{project_id}/rankings", filters)

    def iter_pairs(
        self, project_id: str, schema: PairSchema = "plain", **filters: Any
    ) -> Iterator[Json]:
        """The preferred-first pairs that fit the filters, streamed."""
        return self._lines(f"/projects/{project_id}/pairs", {"schema": schema, **filters})

    def create_snapshot(self, project_id: str, name: str = "", **fields: Any) -> Snapshot:
        """Freeze rankings; `fields` are `filters`, `splits` (`{shares, seed?, by?}`), `licence`."""
        body = {"name": name, **fields}
        return self._json(Snapshot, "POST", f"/projects/{project_id}/snapshots", json=body)

    def snapshots(self, project_id: str) -> Iterator[Snapshot]:
        """The project's snapshots, newest first."""
        return self._pages(f"/projects/{project_id}/snapshots")

    def snapshot(self, snapshot_id: str) -> Snapshot:
        """One snapshot."""
        return self._json(Snapshot, "GET", f"/snapshots/{snapshot_id}")

    def download_snapshot(
        self,
        snapshot: Snapshot,
        path: str | PathLike[str],
        *,
        schema: PairSchema = "plain",
        layout: str = "jsonl",
        split: str | None = None,
        attempts: int = 5,
    ) -> Path:
        """The frozen pairs as a file, which is there only once it is whole.

        What was fetched before a connection or a program broke off is kept beside it and gone on
        from. Whole plain JSONL is held against the snapshot's `sha256`.
        """
        target = Path(path)
        address = f"/snapshots/{snapshot['id']}/pairs"
        query = {"schema": schema, "format": layout, **({"split": split} if split else {})}
        frozen = [address, query, snapshot["sha256"], snapshot["erased_rankings"]]
        mark = hashlib.sha256(json.dumps(frozen).encode()).hexdigest()[:16]
        part = target.with_name(f".{target.name}.{mark}.part")
        for attempt in range(attempts):
            try:
                self._fetch_rest(address, query, part)
                break
            except PodiumError as error:
                if error.status or attempt + 1 == attempts:
                    raise
                time.sleep(min(2**attempt, 10) / 10)
        whole = schema == "plain" and layout == "jsonl" and not split
        if whole and not snapshot["erased_rankings"] and _sha256(part) != snapshot["sha256"]:
            part.unlink()
            raise PodiumError(0, "wrong_sha256", f"{target} is not what the snapshot holds.")
        return part.replace(target)

    def _fetch_rest(self, address: str, query: Row, part: Path) -> None:
        """Append what is missing of the file; the bytes of a snapshot are always the same."""
        part.touch()
        start = part.stat().st_size
        headers = {"Accept-Encoding": "identity", "Range": f"bytes={start}-"}
        asked = self.http.stream("GET", address, params=query, headers=headers)
        with _transport_errors(), asked as answer:
            if answer.headers.get("Content-Range") == f"bytes */{start}":
                return
            _check(answer)
            with part.open("ab" if answer.status_code == 206 else "wb") as file:
                for chunk in answer.iter_raw():
                    file.write(chunk)

    def start_job(self, kind: str, config: Row, project_id: str | None = None) -> Job:
        """Queue a job of a kind of `GET /job-kinds`."""
        body = {"kind": kind, "config": config, "project_id": project_id}
        return self._json(Job, "POST", "/jobs", json=body)

    def job(self, job_id: str) -> Job:
        """The job as it is now."""
        return self._json(Job, "GET", f"/jobs/{job_id}")

    def wait_for_job(
        self,
        job_id: str,
        on_progress: Callable[[Job], None] | None = None,
        *,
        poll_seconds: float = 1,
        timeout_seconds: float = float("inf"),
    ) -> Job:
        """The job once it succeeded; `on_progress` is called whenever it got on.

        Raises PodiumError with the code `job_failed` or `job_cancelled` where it ends otherwise,
        and `job_unfinished` when the time is up.
        """
        deadline = time.monotonic() + timeout_seconds
        shown: tuple[object, ...] = ()
        while True:
            job = self.job(job_id)
            now = (job["state"], job["progress"], job["stage"])
            if on_progress is not None and now != shown:
                on_progress(job)
            shown = now
            if job["state"] == "succeeded":
                return job
            if job["state"] in ("failed", "cancelled"):
                raise PodiumError(0, f"job_{job['state']}", job["reason"] or "no reason given")
            if time.monotonic() >= deadline:
                raise PodiumError(0, "job_unfinished", f"{job['stage']} ({job['progress']:.0%})")
            time.sleep(poll_seconds)

    def models(self, **filters: Any) -> Iterator[Json]:
        """The registry, the newest first."""
        return self._pages("/models", filters)

    def score(self, model_id: str, prompt: Prompt, completions: Sequence[str]) -> Scores:
        """What a reward model says of completions."""
        body = {"prompt": prompt, "completions": list(completions)}
        return self._json(Scores, "POST", f"/models/{model_id}/score", json=body)

    def generate(self, model_id: str, prompt: Prompt, n: int = 1, **sampling: Any) -> list[Json]:
        """What a policy writes; `sampling` is `temperature`, `top_p`, `max_new_tokens`, `seed`."""
        body = {"prompt": prompt, "n": n, "sampling": sampling}
        answer = self._json(Json, "POST", f"/models/{model_id}/generate", json=body)
        return list(answer["completions"])

    def lease(self, project_id: str) -> Assignment | None:
        """The next task for you, or None when nothing waits."""
        answer = self._send("POST", f"/projects/{project_id}/assignments")
        return None if answer.status_code == 204 else cast("Assignment", answer.json())

    def submit(
        self, assignment: Assignment, ranks: Mapping[str, int] | Sequence[int], **more: Any
    ) -> Ranking:
        """Rank a task: by completion id, or a rank for each completion in the order shown.

        1 is best, equal ranks are ties; `more` is `ratings`, `flags`, `comment`, `active_ms`.
        """
        if not isinstance(ranks, Mapping):
            shown = [completion["id"] for completion in assignment["completions"]]
            ranks = dict(zip(shown, ranks, strict=True))
        path = f"/assignments/{assignment['id']}/ranking"
        return self._json(Ranking, "PUT", path, json={"ranks": dict(ranks), **more})

    def skip(self, assignment: Assignment, reason: str) -> None:
        """Give a task back for good, saying why."""
        self._send("POST", f"/assignments/{assignment['id']}/skip", json={"reason": reason})

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        with _transport_errors():
            answer = self.http.request(method, path, **request)
        _check(answer)
        return answer

    def _json(self, kind: type[T], method: str, path: str, **request: Any) -> T:
        return cast("T", self._send(method, path, **request).json())

    def _pages(self, path: str, query: Row | None = None) -> Iterator[Any]:
        """The items of every page."""
        values = {"limit": 200, **(query or {})}
        while True:
            page = self._json(Json, "GET", path, params=values)
            yield from page["items"]
            if not page["next_cursor"]:
                return
            values["cursor"] = page["next_cursor"]

    def _lines(self, path: str, query: Row) -> Iterator[Json]:
        """The objects of a JSONL stream, as they come."""
        asked = self.http.stream("GET", path, params=query)
        with _transport_errors(), asked as answer:
            _check(answer)
            rest = b""
            # Not `iter_lines`: it also breaks lines at characters that JSON leaves in texts.
            for chunk in answer.iter_bytes():
                *lines, rest = (rest + chunk).split(b"\n")
                yield from (json.loads(line) for line in lines)

    def _upload(self, path: str, source: Rows, query: Row | None = None) -> ImportReport:
        """Stream rows as JSONL, or a file as it is."""
        kind = CONTENT_TYPES[".jsonl"]
        with ExitStack() as opened:
            if isinstance(source, PathLike):
                kind = CONTENT_TYPES.get(Path(source).suffix, kind)
                content: Iterable[bytes] = opened.enter_context(Path(source).open("rb"))
            else:
                content = (json.dumps(row).encode() + b"\n" for row in source)
            request = {"content": content, "headers": {"Content-Type": kind}, "params": query}
            return self._json(ImportReport, "POST", path, **request)


def _prompt_row(prompt: str | Row) -> Row:
    return {"text": prompt} if isinstance(prompt, str) else prompt


def _check(answer: httpx.Response) -> None:
    """Raise what a problem document says."""
    if answer.is_success:
        return
    answer.read()
    try:
        problem = answer.json()
        code, detail = problem["code"], problem["detail"]
    except (ValueError, KeyError, TypeError):
        problem, code, detail = {}, "error", answer.text[:200] or answer.reason_phrase
    raise PodiumError(answer.status_code, code, detail, problem.get("fields"))


@contextmanager
def _transport_errors() -> Iterator[None]:
    """Say as a PodiumError that there was no answer, or only a part of one."""
    try:
        yield
    except httpx.TransportError as error:
        raise PodiumError(0, "unreachable", str(error) or type(error).__name__) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
