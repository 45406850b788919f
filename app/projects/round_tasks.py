"""The tasks of a round with their completions, a page at a time, for those who run it."""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.models import Completion, Prompt, Round, Task, TaskPurpose, TaskState


@dataclass(frozen=True)
class TaskWithCompletions:
    """One task, its prompt, and its completions with who wrote them, in order of making."""

    task: Task
    prompt: Prompt
    completions: list[Completion]


def list_round_tasks(
    session: Session,
    round_: Round,
    *,
    state: TaskState | None = None,
    purpose: TaskPurpose | None = None,
    after_id: str = "",
    limit: int = 20,
) -> list[TaskWithCompletions]:
    """Tasks in their order, those of one state or purpose where given."""
    tasks = select(Task.id).where(Task.round_id == round_.id, Task.id > after_id)
    if state is not None:
        tasks = tasks.where(Task.state == state)
    if purpose is not None:
        tasks = tasks.where(Task.purpose == purpose)
    return _load(session, list(session.scalars(tasks.order_by(Task.id).limit(limit))))


def list_latest_tasks(
    session: Session, round_: Round, *, limit: int = 10
) -> list[TaskWithCompletions]:
    """The tasks that got completions last, the latest first."""
    latest = (
        select(Task.id)
        .join(Completion, Completion.task_id == Task.id)
        .where(Task.round_id == round_.id)
        .group_by(Task.id)
        .order_by(func.max(Completion.created_at).desc(), Task.id.desc())
        .limit(limit)
    )
    return _load(session, list(session.scalars(latest)))


def _load(session: Session, ids: list[str]) -> list[TaskWithCompletions]:
    found: dict[str, TaskWithCompletions] = {}
    rows = session.execute(
        select(Task, Prompt).join(Prompt, Prompt.id == Task.prompt_id).where(Task.id.in_(ids))
    )
    for task, prompt in rows:
        found[task.id] = TaskWithCompletions(task, prompt, [])
    completions = select(Completion).where(Completion.task_id.in_(ids))
    for completion in session.scalars(completions.order_by(Completion.position)):
        found[completion.task_id].completions.append(completion)
    return [found[task_id] for task_id in ids]
