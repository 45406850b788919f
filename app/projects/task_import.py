"""Tasks whose completions were made elsewhere."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from app.accounts.audit import record
from app.errors import Conflict, Invalid
from app.models import (
    Completion,
    Model,
    Project,
    Prompt,
    Round,
    RoundKind,
    RoundState,
    Task,
    TaskState,
    User,
    new_id,
    opaque_id,
)
from app.projects.messages import Message, check_prompt, check_text, messages_hash
from app.projects.prompts import ParsedPrompt, store_prompts
from app.projects.reading import RowError
from app.projects.rounds import (
    FEWEST_COMPLETIONS,
    MOST_COMPLETIONS,
    MOST_LABELERS,
    next_round_number,
)

BATCH_TASKS = 500
MOST_LISTED = 20
MAX_MODEL_LENGTH = 200


@dataclass(frozen=True)
class RejectedTask:
    """A task that was not imported: its place in the list, from 0, and why."""

    index: int
    reason: str


@dataclass
class TaskImport:
    """What became of an import: the round, and every task counted once."""

    round: Round
    created: int = 0
    duplicates: int = 0
    rejected: list[RejectedTask] = field(default_factory=list)


@dataclass(frozen=True)
class ParsedTask:
    """A task understood: messages, whether it is a chat, and (text, model) of each completion."""

    messages: list[Message]
    is_chat: bool
    completions: list[tuple[str, str | None]]

    @property
    def content_hash(self) -> str:
        """What makes it the same task as another of its round."""
        content = json.dumps([messages_hash(self.messages), self.completions], ensure_ascii=False)
        return hashlib.sha256(content.encode()).hexdigest()


def import_tasks(
    session: Session,
    user: User | None,
    project: Project,
    tasks: Sequence[Any],
    labelers_per_task: int = 1,
) -> TaskImport:
    """A round of tasks with completions made elsewhere, open to labelers at once.

    Each task is `{prompt: str or [messages], completions: [{text, model?}]}` with 2 to 9
    completions; `model` may be the id of a registry model or any name. Good tasks are stored once,
    prompts are shared with the project's own, bad tasks are named with their reason. For admins:
    the edge checks that.

    Raises:
        Invalid: no task is good, or `labelers_per_task` is out of range.
        Conflict: the project is archived.
    """
    if project.archived_at is not None:
        raise Conflict("This project is archived; restore it first.", code="project_archived")
    if not 1 <= labelers_per_task <= MOST_LABELERS:
        accepted = f"from 1 to {MOST_LABELERS}"
        raise Invalid(
            f"labelers_per_task must be {accepted}.", fields={"labelers_per_task": accepted}
        )
    good: dict[str, ParsedTask] = {}
    rejected: list[RejectedTask] = []
    for index, raw in enumerate(tasks):
        try:
            parsed = parse_task(raw)
            good.setdefault(parsed.content_hash, parsed)
        except RowError as error:
            rejected.append(RejectedTask(index, str(error)))
        except UnicodeEncodeError:
            rejected.append(RejectedTask(index, "a text holds half a character"))
    if not good:
        raise _nothing_good(rejected)
    round_ = Round(
        project_id=project.id,
        number=next_round_number(session, project.id),
        kind=RoundKind.IMPORTED,
        state=RoundState.OPEN,
        completions_per_prompt=max(len(task.completions) for task in good.values()),
        labelers_per_task=labelers_per_task,
        created_by=user.id if user else None,
    )
    session.add(round_)
    session.flush()
    _store_tasks(session, round_, good)
    record(session, user, "round.import", "round", round_.id, tasks=len(good))
    duplicates = len(tasks) - len(rejected) - len(good)
    return TaskImport(round_, len(good), duplicates, rejected)


def parse_task(raw: Any) -> ParsedTask:
    """Understand one task; RowError says why it cannot be taken."""
    if not isinstance(raw, dict):
        raise RowError("a task must be an object with prompt and completions")
    unknown = sorted(str(key) for key in raw.keys() - {"prompt", "completions"})
    if unknown:
        raise RowError(f"unknown fields: {', '.join(unknown)}; accepted: prompt, completions")
    if "prompt" not in raw:
        raise RowError("prompt is missing")
    messages, is_chat = check_prompt(raw["prompt"])
    completions = raw.get("completions")
    if not isinstance(completions, list) or not (
        FEWEST_COMPLETIONS <= len(completions) <= MOST_COMPLETIONS
    ):
        raise RowError(f"completions must be a list of {FEWEST_COMPLETIONS} to {MOST_COMPLETIONS}")
    return ParsedTask(
        messages, is_chat, [_parse_completion(item, n) for n, item in enumerate(completions)]
    )


def _parse_completion(item: Any, number: int) -> tuple[str, str | None]:
    where = f"completions[{number}]"
    if not isinstance(item, dict):
        raise RowError(f"{where} must be an object with text")
    unknown = sorted(str(key) for key in item.keys() - {"text", "model"})
    if unknown:
        raise RowError(f"{where} has unknown fields: {', '.join(unknown)}; accepted: text, model")
    text = check_text(item.get("text"), f"{where}.text")
    model = item.get("model")
    if model is None:
        return text, None
    model = check_text(model, f"{where}.model")
    if len(model) > MAX_MODEL_LENGTH:
        raise RowError(f"{where}.model is longer than {MAX_MODEL_LENGTH} characters")
    return text, model


def _store_tasks(session: Session, round_: Round, tasks: dict[str, ParsedTask]) -> None:
    entries = list(tasks.items())
    for start in range(0, len(entries), BATCH_TASKS):
        batch = entries[start : start + BATCH_TASKS]
        prompt_ids = _store_batch_prompts(session, round_.project_id, [task for _, task in batch])
        known = _known_models(session, [task for _, task in batch])
        task_rows: list[dict[str, Any]] = []
        completion_rows: list[dict[str, Any]] = []
        for content_hash, task in batch:
            task_id = new_id()
            task_rows.append(
                {
                    "id": task_id,
                    "project_id": round_.project_id,
                    "round_id": round_.id,
                    "prompt_id": prompt_ids[messages_hash(task.messages)],
                    "state": TaskState.OPEN,
                    "rankings_wanted": round_.labelers_per_task,
                    "content_hash": content_hash,
                }
            )
            completion_rows += [
                {
                    "id": opaque_id(),
                    "task_id": task_id,
                    "position": position,
                    "text": text,
                    "model_id": model if model in known else None,
                    "model_label": None if model in known else model,
                }
                for position, (text, model) in enumerate(task.completions)
            ]
        session.execute(insert(Task), task_rows)
        session.execute(insert(Completion), completion_rows)


def _store_batch_prompts(
    session: Session, project_id: str, tasks: list[ParsedTask]
) -> dict[str, str]:
    """The ids of the tasks' prompts by their hash, stored now where they were not there."""
    prompts = [ParsedPrompt(task.messages, task.is_chat, None, {}) for task in tasks]
    store_prompts(session, project_id, prompts)
    found = session.execute(
        select(Prompt.content_hash, Prompt.id).where(
            Prompt.project_id == project_id,
            Prompt.content_hash.in_({prompt.content_hash for prompt in prompts}),
        )
    )
    return dict(found.all())


def _known_models(session: Session, tasks: list[ParsedTask]) -> set[str]:
    named = {model for task in tasks for _, model in task.completions if model is not None}
    return set(session.scalars(select(Model.id).where(Model.id.in_(named)))) if named else set()


def _nothing_good(rejected: list[RejectedTask]) -> Invalid:
    if not rejected:
        return Invalid("There is no task in the list.", fields={"tasks": "at least one task"})
    first = rejected[0]
    return Invalid(
        f"No task could be taken. tasks[{first.index}]: {first.reason}.",
        code="no_good_task",
        fields={f"tasks[{item.index}]": item.reason for item in rejected[:MOST_LISTED]},
    )
