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
from app.labeling.gold import check_gold
from app.models import (
    Completion,
    Model,
    Project,
    Prompt,
    Round,
    RoundKind,
    RoundState,
    Task,
    TaskPurpose,
    TaskState,
    User,
    new_id,
    opaque_id,
)
from app.models.projects import NORMAL_PRIORITY
from app.projects.messages import Message, check_prompt, check_text, messages_hash
from app.projects.prompts import ParsedPrompt, store_prompts
from app.projects.reading import RowError
from app.projects.round_changes import (
    FIRST_PRIORITY,
    LAST_PRIORITY,
    check_round_numbers,
    mark_calibration,
)
from app.projects.rounds import (
    FEWEST_COMPLETIONS,
    MOST_COMPLETIONS,
    next_round_number,
)

TASK_FIELDS = ("prompt", "completions", "priority", "gold")
COMPLETION_FIELDS = {"text", "model"}
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
    priority: int | None = None
    """Its own; None for that of its round."""
    gold: list[int] | None = None
    """The known rank of each completion, dense."""

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
    *,
    calibration_share: float = 0.0,
    priority: int = NORMAL_PRIORITY,
) -> TaskImport:
    """A round of tasks with completions made elsewhere, open to labelers at once.

    Each task is `{prompt: str or [messages], completions: [{text, model?}], priority?, gold?}`
    with 2 to 9 completions; `model` may be the id of a registry model or any name, `gold` is the
    known rank of each completion. Good tasks are stored once, prompts are shared with the
    project's own, bad tasks are named with their reason. `calibration_share` of those that are not
    gold, chosen at random, are for every labeler to rank. For admins: the edge checks that.

    Raises:
        Invalid: no task is good, or a number is out of range.
        Conflict: the project is archived.
    """
    if project.archived_at is not None:
        raise Conflict("This project is archived; restore it first.", code="project_archived")
    check_round_numbers(
        labelers_per_task=labelers_per_task,
        priority=priority,
        calibration_share=calibration_share,
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
        calibration_share=calibration_share,
        priority=priority,
        created_by=user.id if user else None,
    )
    session.add(round_)
    session.flush()
    _store_tasks(session, round_, good)
    mark_calibration(session, round_)
    record(session, user, "round.import", "round", round_.id, tasks=len(good))
    duplicates = len(tasks) - len(rejected) - len(good)
    return TaskImport(round_, len(good), duplicates, rejected)


def parse_task(raw: Any) -> ParsedTask:
    """Understand one task; RowError says why it cannot be taken."""
    if not isinstance(raw, dict):
        raise RowError("a task must be an object with prompt and completions")
    unknown = sorted(str(key) for key in raw.keys() - set(TASK_FIELDS))
    if unknown:
        raise RowError(f"unknown fields: {', '.join(unknown)}; accepted: {', '.join(TASK_FIELDS)}")
    if "prompt" not in raw:
        raise RowError("prompt is missing")
    messages, is_chat = check_prompt(raw["prompt"])
    completions = raw.get("completions")
    if not isinstance(completions, list) or not (
        FEWEST_COMPLETIONS <= len(completions) <= MOST_COMPLETIONS
    ):
        raise RowError(f"completions must be a list of {FEWEST_COMPLETIONS} to {MOST_COMPLETIONS}")
    return ParsedTask(
        messages,
        is_chat,
        [_parse_completion(item, n) for n, item in enumerate(completions)],
        _parse_priority(raw.get("priority")),
        _parse_gold(raw.get("gold"), len(completions)),
    )


def _parse_priority(value: Any) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not FIRST_PRIORITY <= value <= LAST_PRIORITY:
        raise RowError(f"priority must be from {FIRST_PRIORITY} (first) to {LAST_PRIORITY} (last)")
    return value


def _parse_gold(value: Any, count: int) -> list[int] | None:
    if value is None:
        return None
    places = [str(place) for place in range(count)]
    if not isinstance(value, list) or len(value) != count:
        raise RowError(f"gold must be a list of {count} ranks, one for each completion")
    try:
        ranks = check_gold(dict(zip(places, value, strict=True)), places)
    except Invalid as error:
        raise RowError(f"gold: {next(iter(error.fields.values()))}") from error
    return [ranks[place] for place in places]


def _parse_completion(item: Any, number: int) -> tuple[str, str | None]:
    where = f"completions[{number}]"
    if not isinstance(item, dict):
        raise RowError(f"{where} must be an object with text")
    if not item.keys() <= COMPLETION_FIELDS:
        unknown = sorted(str(key) for key in item.keys() - COMPLETION_FIELDS)
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
            ids = [opaque_id() for _ in task.completions]
            task_rows.append(
                {
                    "id": task_id,
                    "project_id": round_.project_id,
                    "round_id": round_.id,
                    "prompt_id": prompt_ids[messages_hash(task.messages)],
                    "state": TaskState.OPEN,
                    "purpose": TaskPurpose.GOLD if task.gold else TaskPurpose.ORDINARY,
                    "priority": task.priority or round_.priority,
                    "gold_ranks": dict(zip(ids, task.gold, strict=True)) if task.gold else None,
                    "rankings_wanted": round_.labelers_per_task,
                    "content_hash": content_hash,
                }
            )
            completion_rows += [
                {
                    "id": ids[position],
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
