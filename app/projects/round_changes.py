"""What may change of a round while people rank: its priority, labelers and calibration tasks."""

from math import isfinite

from sqlalchemy import ColumnElement, Select, case, func, select, update
from sqlalchemy.orm import Session

from app.accounts.audit import record
from app.errors import Conflict, Invalid
from app.models import Round, Task, TaskPurpose, TaskState, User
from app.models.projects import NORMAL_PRIORITY

MOST_LABELERS = 100
FIRST_PRIORITY, LAST_PRIORITY = 1, 9


def check_round_numbers(
    *, labelers_per_task: int = 1, priority: int = NORMAL_PRIORITY, calibration_share: float = 0.0
) -> None:
    """Raise `Invalid` naming every number that is out of range."""
    problems = {}
    if not 1 <= labelers_per_task <= MOST_LABELERS:
        problems["labelers_per_task"] = f"from 1 to {MOST_LABELERS}"
    if not FIRST_PRIORITY <= priority <= LAST_PRIORITY:
        problems["priority"] = f"from {FIRST_PRIORITY} (first) to {LAST_PRIORITY} (last)"
    if not (isfinite(calibration_share) and 0 <= calibration_share <= 1):
        problems["calibration_share"] = "from 0 to 1"
    if problems:
        name, accepted = next(iter(problems.items()))
        raise Invalid(f"{name} must be {accepted}.", fields=problems)


def update_round(
    session: Session,
    user: User | None,
    round_: Round,
    *,
    priority: int | None = None,
    labelers_per_task: int | None = None,
    calibration_share: float | None = None,
) -> Round:
    """Change what is given, of the round and of its tasks.

    A new priority goes to the tasks that had the round's; those with one of their own keep it.
    With more labelers per task, complete tasks open again; with fewer, a task keeps wanting what
    was ranked or leased already, and is complete when nothing is missing. A larger calibration
    share marks more tasks, chosen at random; a smaller one unmarks those with the fewest
    rankings, and nothing is lost. For admins: the edge checks that.

    Raises:
        Invalid: a number is out of range.
        Conflict: the round holds imported rankings and asks nobody to rank.
    """
    session.refresh(round_, with_for_update={"key_share": True})
    if round_.labelers_per_task == 0:
        raise Conflict(
            "This round holds rankings made elsewhere; it asks nobody to rank.",
            code="round_of_imports",
        )
    priority = round_.priority if priority is None else priority
    if labelers_per_task is None:
        labelers_per_task = round_.labelers_per_task
    share = round_.calibration_share if calibration_share is None else calibration_share
    check_round_numbers(
        labelers_per_task=labelers_per_task, priority=priority, calibration_share=share
    )
    _lock_tasks(session, round_)
    if priority != round_.priority:
        following = update(Task).where(_of_round(round_), Task.priority == round_.priority)
        session.execute(following.values(priority=priority))
        round_.priority = priority
    if labelers_per_task != round_.labelers_per_task:
        round_.labelers_per_task = labelers_per_task
        _want_rankings(session, round_)
    if calibration_share is not None:
        round_.calibration_share = share
        mark_calibration(session, round_)
    session.flush()
    record(
        session,
        user,
        "round.update",
        "round",
        round_.id,
        priority=priority,
        labelers_per_task=labelers_per_task,
        calibration_share=share,
    )
    return round_


def mark_calibration(session: Session, round_: Round) -> None:
    """Make as many tasks of the round calibration tasks as its share says: at least one where it
    is above 0. Gold tasks stay gold."""
    shown = (_of_round(round_), Task.state != TaskState.SHORT)
    tasks = _count(session, *shown)
    target = 0
    if round_.calibration_share > 0:
        target = max(1, round(round_.calibration_share * tasks))
    marked = _count(session, *shown, Task.purpose == TaskPurpose.CALIBRATION)
    if target > marked:
        _set_purpose(
            session,
            select(Task.id)
            .where(*shown, Task.purpose == TaskPurpose.ORDINARY)
            .order_by(func.random())
            .limit(target - marked),
            TaskPurpose.CALIBRATION,
        )
    elif target < marked:
        _set_purpose(
            session,
            select(Task.id)
            .where(*shown, Task.purpose == TaskPurpose.CALIBRATION)
            .order_by(Task.rankings_got, func.random())
            .limit(marked - target),
            TaskPurpose.ORDINARY,
        )


def _of_round(round_: Round) -> ColumnElement[bool]:
    return Task.round_id == round_.id


def _lock_tasks(session: Session, round_: Round) -> None:
    """Hold every task of the round, in the order in which everybody locks tasks."""
    session.execute(
        select(Task.id).where(_of_round(round_)).order_by(Task.id).with_for_update(key_share=True)
    )


def _want_rankings(session: Session, round_: Round) -> None:
    """Let every task want what the round says, none less than it has or is being ranked for."""
    wanted = round_.labelers_per_task
    taken = case((Task.slots_taken > wanted, Task.slots_taken), else_=wanted)
    session.execute(
        update(Task)
        .where(_of_round(round_))
        .values(rankings_wanted=case((Task.purpose == TaskPurpose.ORDINARY, taken), else_=wanted))
    )
    missing = Task.rankings_got < Task.rankings_wanted
    for old, new, condition in (
        (TaskState.COMPLETE, TaskState.OPEN, missing),
        (TaskState.OPEN, TaskState.COMPLETE, ~missing),
    ):
        changed = update(Task).where(_of_round(round_), Task.state == old, condition)
        session.execute(changed.values(state=new))


def _set_purpose(session: Session, chosen: Select[str], purpose: TaskPurpose) -> None:
    session.execute(update(Task).where(Task.id.in_(chosen)).values(purpose=purpose))


def _count(session: Session, *conditions: ColumnElement[bool]) -> int:
    return session.scalar(select(func.count(Task.id)).where(*conditions)) or 0
