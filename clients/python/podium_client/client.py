"""The client: a method for each thing that a program does with Podium."""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, cast

from podium_client.answers import (
    Assignment,
    Evaluation,
    ImportReport,
    Job,
    Json,
    Project,
    Promotion,
    Ranking,
    Round,
    Scores,
    Snapshot,
)
from podium_client.connection import Connection, PodiumError, Row, Rows

Prompt = str | Sequence[Row]
PairSchema = Literal[
    "plain", "trl", "trl-conversational", "trl-unpaired", "hh", "argilla", "label-studio"
]


class Podium(Connection):
    """Podium at an address, as the person whose token this is."""

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

    def start_round(
        self, project_id: str, policies: Sequence[str] | None = None, **settings: Any
    ) -> Round:
        """Have policies, or the promoted one, write completions; `settings` are the other fields
        of `POST /projects/{id}/rounds`."""
        body = {"policies": None if policies is None else list(policies), **settings}
        return self._json(Round, "POST", f"/projects/{project_id}/rounds", json=body)

    def add_tasks(self, project_id: str, tasks: Iterable[Row], **settings: Any) -> Round:
        """A round of completions made elsewhere: `{prompt, completions: [{text, model?}]}` each."""
        body = {"tasks": list(tasks), **settings}
        return self._json(Round, "POST", f"/projects/{project_id}/tasks", json=body)

    def round(self, round_id: str) -> Round:
        """State and counts of a round."""
        return self._json(Round, "GET", f"/rounds/{round_id}")

    def close_round(self, round_id: str) -> Round:
        """Take a round from labelers; what they ranked stays."""
        return self._json(Round, "POST", f"/rounds/{round_id}/close")

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

    def ask_people(self, job_id: str, **settings: Any) -> Round:
        """Put the policy that a finished job tuned before people, blind, beside its parent.

        `settings` are `prompts`, `labelers_per_task`, `completions_per_policy`, `others`,
        `sampling`, `again`. The verdict is the `evaluation` of the round.
        """
        return self._json(Round, "POST", f"/jobs/{job_id}/evaluation", json=settings)

    def evaluation(
        self, round_id: str, candidate: str | None = None, baseline: str | None = None
    ) -> Evaluation:
        """What people say in a round, of its own two policies or of any two others of it."""
        named = {"candidate": candidate, "baseline": baseline}
        query = {name: policy for name, policy in named.items() if policy is not None}
        return self._json(Evaluation, "GET", f"/rounds/{round_id}/evaluation", params=query)

    def ask_reward_model(self, round_id: str) -> Round:
        """Have the reward model score what it could not score when the round was made."""
        return self._json(Round, "POST", f"/rounds/{round_id}/evaluation/rewards")

    def promote(
        self, project_id: str, model_id: str, round_id: str | None = None, note: str = ""
    ) -> Promotion:
        """Make a policy the default of the next round; the round's figures are kept with it."""
        body = {"model_id": model_id, "round_id": round_id, "note": note}
        return self._json(Promotion, "POST", f"/projects/{project_id}/promotions", json=body)

    def promotions(self, project_id: str) -> Iterator[Promotion]:
        """Every promotion of a project, newest first: the first is in force."""
        return self._pages(f"/projects/{project_id}/promotions")

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


def _prompt_row(prompt: str | Row) -> Row:
    return {"text": prompt} if isinstance(prompt, str) else prompt


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
