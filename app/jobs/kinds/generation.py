"""The generation job: asks each policy's endpoint for the completions a round still lacks."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from app.errors import Conflict, Invalid
from app.evaluation.rewards import find_round_judge, iter_unscored, store_rewards
from app.generation.asking import (
    COMPLETIONS_FILE,
    FINISHED_FILE,
    INPUTS_FILE,
    ITEMS_FILE,
    make_completions,
)
from app.generation.client import Sampling
from app.generation.rewards import TO_SCORE_FILE, iter_rewards, score_completions
from app.jobs.kind import JobKind, Report
from app.jobs.run_directory import write_json
from app.models import (
    Completion,
    Job,
    JobState,
    ModelKind,
    ModelSource,
    Prompt,
    Round,
    RoundState,
    Task,
    TaskState,
    opaque_id,
)
from app.projects.round_counts import round_counts
from app.projects.rounds import open_task_if_ready, position_policies, settle_round
from app.registry.service import get_model, require_model
from app.settings import Settings, load_settings
from app.training.configs import option

TASKS_PER_QUERY = 500
IMPORT_BYTES = 4_000_000
"""Read from the completions file in one transaction while the job runs."""


@dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """Make the completions that a round still lacks."""

    round_id: str = option(..., "Round whose tasks are filled.", reference="round")


def check(session: Session, project_id: str | None, config: GenerationConfig) -> None:
    """Refuse a round that is unknown, closed, of another project, or at work already."""
    round_ = session.get(Round, config.round_id)
    if round_ is None or round_.project_id != project_id:
        raise Invalid(
            f"There is no round {config.round_id!r} in this project.",
            fields={"round_id": "the id of a round of this project"},
        )
    if not round_.policies:
        raise Invalid("This round has no policy to ask.", fields={"round_id": "a generated round"})
    if round_.state == RoundState.CLOSED:
        raise Conflict("This round is closed; reopen it first.", code="round_closed")
    job = session.get(Job, round_.job_id) if round_.job_id else None
    if job is not None and not JobState(job.state).final:
        raise Conflict("This round's completions are being made already.", code="round_generating")
    for policy in round_.policies:
        require_model(session, policy, "policies", ModelKind.POLICY)


def export_inputs(
    session: Session, job: Job, config: GenerationConfig, run_dir: Path, settings: Settings
) -> None:
    """Write the endpoints, and an item for each policy of each task that lacks something.

    What is in the completions file already, of an attempt before, is still counted as wanted: the
    run looks it up there.
    """
    round_ = session.get_one(Round, config.round_id)
    if round_.state == RoundState.OPEN:
        round_.state = RoundState.GENERATING
    if round_.job_id != job.id:
        round_.job_id, round_.completions_offset = job.id, 0
    (run_dir / FINISHED_FILE).unlink(missing_ok=True)
    wanted = 0
    with (run_dir / ITEMS_FILE).open("w", encoding="utf-8") as file:
        for item in iter_missing(session, round_):
            file.write(json.dumps(item, ensure_ascii=False) + "\n")
            wanted += len(item["positions"])
    judge = find_round_judge(session, round_)
    if judge is not None:
        with (run_dir / TO_SCORE_FILE).open("w", encoding="utf-8") as file:
            for task in iter_unscored(session, round_, judge):
                file.write(json.dumps(task, ensure_ascii=False) + "\n")
    write_json(
        run_dir / INPUTS_FILE,
        {
            "endpoints": {
                policy: _endpoint(session, settings, policy) for policy in round_.policies
            },
            "sampling": {name: round_.sampling[name] for name in Sampling.__dataclass_fields__},
            "seed": round_.sampling["seed"],
            "timeout_seconds": settings.generation_timeout_seconds,
            "completions": wanted,
            "judge": judge and {"id": judge.id, **_endpoint(session, settings, judge.id)},
        },
    )


def iter_missing(session: Session, round_: Round) -> Iterator[dict[str, Any]]:
    """What each policy still has to make: `{task_id, policy, positions, messages}`, by task."""
    owners = position_policies(round_)
    after = ""
    while True:
        batch = session.execute(
            select(Task.id, Prompt.messages)
            .join(Prompt, Prompt.id == Task.prompt_id)
            .where(Task.round_id == round_.id, Task.state == TaskState.PENDING, Task.id > after)
            .order_by(Task.id)
            .limit(TASKS_PER_QUERY)
        ).all()
        if not batch:
            return
        have = _positions(session, [task_id for task_id, _ in batch])
        for task_id, messages in batch:
            for policy in round_.policies:
                positions = [
                    position
                    for position, owner in enumerate(owners)
                    if owner == policy and (task_id, position) not in have
                ]
                if positions:
                    yield {
                        "task_id": task_id,
                        "policy": policy,
                        "positions": positions,
                        "messages": messages,
                    }
        after = batch[-1][0]


def run(run_dir: Path, _config: GenerationConfig, report: Report) -> None:
    """Ask, and write down what comes. Keys of endpoints are read here and not from the folder."""
    keys = load_settings().endpoint_keys
    make_completions(run_dir, report, keys)
    score_completions(run_dir, report, keys)


def import_outputs(
    session: Session, job: Job, run_dir: Path, _settings: Settings
) -> dict[str, Any]:
    """Store the completions made since the last call; open the tasks that have theirs.

    Once the run has finished, everything is stored and the round is open. How far the file is in
    the tables is kept in the round's row, so that a crash stores nothing twice.
    """
    round_ = session.get_one(Round, job.config["round_id"], with_for_update=True)
    finished = _read_finished(run_dir)
    path = run_dir / COMPLETIONS_FILE
    if path.exists():
        while chunk := _read_lines(path, round_.completions_offset):
            _store(session, round_, [json.loads(line) for line in chunk.splitlines()])
            round_.completions_offset += len(chunk)
            session.flush()
            if finished is None:
                break
    if finished is not None:
        settle_round(session, round_)
        _store_rewards(session, run_dir)
    counts = round_counts(session, round_.id)
    return {
        "round_id": round_.id,
        "tasks_open": counts.open,
        "tasks_short": counts.short,
        "completions": counts.completions,
        "completions_wanted": counts.completions_wanted,
        "problems": counts.problems_total,
        **({} if finished is None else {"run": finished}),
    }


def ended(session: Session, job: Job) -> None:
    """Open the round to labelers with what there is; a failed job leaves the rest pending."""
    round_ = session.get(Round, job.config["round_id"])
    if round_ is None or round_.job_id != job.id or round_.state != RoundState.GENERATING:
        return
    round_.state = RoundState.OPEN
    session.flush()


def _endpoint(session: Session, settings: Settings, policy: str) -> dict[str, str]:
    model = get_model(session, policy)
    if model.source == ModelSource.ENDPOINT:
        return {"base_url": model.location, "model": model.served_name or model.id}
    return {"base_url": settings.inference_url.rstrip("/"), "model": model.id}


def _positions(session: Session, task_ids: list[str]) -> set[tuple[str, int]]:
    rows = session.execute(
        select(Completion.task_id, Completion.position).where(Completion.task_id.in_(task_ids))
    )
    return {(task_id, position) for task_id, position in rows}


def _read_finished(run_dir: Path) -> dict[str, Any] | None:
    path = run_dir / FINISHED_FILE
    if not path.exists():
        return None
    finished: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return finished


def _read_lines(path: Path, offset: int) -> bytes:
    """Whole lines from `offset`: as many as fit, or one that does not; empty at the end."""
    with path.open("rb") as file:
        file.seek(offset)
        chunk = file.read(IMPORT_BYTES)
        if b"\n" not in chunk:
            chunk += file.readline()
    return chunk[: chunk.rfind(b"\n") + 1]


def _store(session: Session, round_: Round, lines: list[dict[str, Any]]) -> None:
    """Insert completions of pending tasks that are not there yet, then open what is complete."""
    for start in range(0, len(lines), TASKS_PER_QUERY):
        batch = lines[start : start + TASKS_PER_QUERY]
        ids = list({line["task_id"] for line in batch})
        pending = {
            task.id: task
            for task in session.scalars(
                select(Task).where(
                    Task.id.in_(ids), Task.round_id == round_.id, Task.state == TaskState.PENDING
                )
            )
        }
        have = _positions(session, list(pending))
        rows = []
        for line in batch:
            task = pending.get(line["task_id"])
            if task is None:
                continue
            for completion in line["completions"]:
                key = (task.id, completion["position"])
                if key not in have:
                    have.add(key)
                    rows.append(_row(task.id, line["policy"], completion))
            if line["problem"]:
                task.problem = _joined(task.problem, f"{line['policy']}: {line['problem']}")
        if rows:
            session.execute(insert(Completion), rows)
        for task in pending.values():
            open_task_if_ready(session, task, round_.completions_per_prompt)
        session.flush()


def _row(task_id: str, policy: str, completion: dict[str, Any]) -> dict[str, Any]:
    reason = completion["finish_reason"]
    return {
        "id": opaque_id(),
        "task_id": task_id,
        "position": completion["position"],
        "text": completion["text"],
        "model_id": policy,
        "finish_reason": reason[:20] if reason else None,
        "token_count": completion["token_count"],
    }


def _store_rewards(session: Session, run_dir: Path) -> None:
    """What the reward model gave the completions of an A/B round so far."""
    judge = json.loads((run_dir / INPUTS_FILE).read_text("utf-8")).get("judge")
    if judge is not None:
        store_rewards(session, judge["id"], iter_rewards(run_dir))


def _joined(before: str | None, problem: str) -> str:
    if before is None or problem in before:
        return before or problem
    return f"{before}; {problem}"


KIND = JobKind(
    name="generation",
    title="Generation",
    description="Makes the completions of a round and opens its tasks to labelers.",
    config_type=GenerationConfig,
    check=check,
    export_inputs=export_inputs,
    run=run,
    import_outputs=import_outputs,
    imports_while_running=True,
    ended=ended,
)
