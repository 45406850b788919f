"""The slots of a task: exactly `rankings_wanted` of them, whoever asks at the same moment.

A task that everybody ranks (calibration, gold) has as many as it needs; a repeat takes none.

Locks are always taken in one order, labeler, assignment, task, and of each kind in the order of
tasks where there are several, so that no two transactions on PostgreSQL can wait for each other.
On SQLite a write transaction is alone.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from itertools import count

from sqlalchemy import ColumnElement, Integer, and_, bindparam, case, exists, select, update
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.labeling.direct import connect, forget
from app.models import (
    Assignment,
    AssignmentState,
    Completion,
    LabelerPause,
    Task,
    TaskPurpose,
    TaskState,
    User,
    utc_now,
)

EXPIRED_AT_ONCE = 500
LOCKED_AT_ONCE = 500


def lock_labeler(session: Session, user: User) -> None:
    """Let one request of a person lease at a time."""
    if session.get_bind().dialect.name != "sqlite":
        session.execute(_labeler, {"user_id": user.id})


_labeler = select(User.id).where(User.id == bindparam("user_id")).with_for_update(key_share=True)
_own_assignment = (
    select(Assignment)
    .where(Assignment.id == bindparam("assignment_id"), Assignment.user_id == bindparam("user_id"))
    .with_for_update(key_share=True)
    .execution_options(populate_existing=True)
)


def lock_assignment(session: Session, user: User, assignment_id: str) -> Assignment:
    """The person's own assignment, held until the transaction ends; somebody else's is absent."""
    assignment = session.scalar(
        _own_assignment, {"assignment_id": assignment_id, "user_id": user.id}
    )
    if assignment is None:
        raise NotFound("There is no such assignment of yours.")
    return assignment


def lock_task(session: Session, task_id: str) -> Task:
    """The task, held until the transaction ends."""
    return session.scalars(_task, {"task_id": task_id}).one()


_task = (
    select(Task)
    .where(Task.id == bindparam("task_id"))
    .with_for_update(key_share=True)
    .execution_options(populate_existing=True)
)


def lock_tasks(session: Session, task_ids: Collection[str]) -> dict[str, Task]:
    """The tasks by their ids, held until the transaction ends."""
    ids = sorted(task_ids)
    tasks: dict[str, Task] = {}
    for start in range(0, len(ids), LOCKED_AT_ONCE):
        part = (
            select(Task)
            .where(Task.id.in_(ids[start : start + LOCKED_AT_ONCE]))
            .order_by(Task.id)
            .with_for_update(key_share=True)
            .execution_options(populate_existing=True)
        )
        tasks |= {task.id: task for task in session.scalars(part)}
    return tasks


_completion_ids = select(Completion.id).where(Completion.task_id == bindparam("task_id"))


def list_completion_ids(session: Session, task_id: str) -> Sequence[str]:
    """The completions of a task, in no particular order."""
    return connect(session).scalars(_completion_ids, {"task_id": task_id}).all()


def has_room(task: Task) -> bool:
    """Whether one more labeler may take the task."""
    if task.purpose == TaskPurpose.ORDINARY:
        return task.state == TaskState.OPEN and task.slots_free > 0
    return task.state in (TaskState.OPEN, TaskState.COMPLETE)


def first_free_slots(session: Session, task_ids: Collection[str]) -> dict[str, int]:
    """Of each task the lowest number that no assignment of it holds."""
    ids = sorted(task_ids)
    taken: dict[str, list[int | None]] = {task_id: [] for task_id in ids}
    for start in range(0, len(ids), LOCKED_AT_ONCE):
        part = Assignment.task_id.in_(ids[start : start + LOCKED_AT_ONCE])
        for task_id, slot in session.execute(
            select(Assignment.task_id, Assignment.slot).where(part)
        ):
            taken[task_id].append(slot)
    return {task_id: lowest_free(slots) for task_id, slots in taken.items()}


def lowest_free(slots: Iterable[int | None]) -> int:
    """The lowest number that is not among those taken."""
    taken = set(slots)
    return next(number for number in count() if number not in taken)


def count_on_task(session: Session, task_id: str, *, slots: int = 0, rankings: int = 0) -> None:
    """Add to what a task has, and complete it when it has all it wanted."""
    values = {"of_task": task_id, "slots": slots, "rankings": rankings}
    connect(session).execute(_count, values)
    forget(session, Task, task_id)


_got = Task.rankings_got + bindparam("rankings", type_=Integer())
_count = (
    update(Task)
    .where(Task.id == bindparam("of_task"))
    .values(
        slots_taken=Task.slots_taken + bindparam("slots", type_=Integer()),
        rankings_got=_got,
        state=case(
            (and_(Task.state == TaskState.OPEN, _got >= Task.rankings_wanted), TaskState.COMPLETE),
            else_=Task.state,
        ),
    )
)


def hold_lease(
    session: Session,
    assignment: Assignment,
    *,
    lease_seconds: int,
) -> Assignment:
    """Give a locked assignment that holds no slot one of its locked task's free slots."""
    if not assignment.is_repeat:
        task_id = assignment.task_id
        assignment.slot = first_free_slots(session, [task_id])[task_id]
    assignment.state = AssignmentState.LEASED
    assignment.finished_at = None
    extend_lease(assignment, lease_seconds=lease_seconds)
    session.add(assignment)
    session.flush()
    if not assignment.is_repeat:
        count_on_task(session, assignment.task_id, slots=1)
    return assignment


def extend_lease(assignment: Assignment, *, lease_seconds: int) -> None:
    """Let the lease last from now on."""
    assignment.lease_expires_at = utc_now() + timedelta(seconds=lease_seconds)


def retake_lease(session: Session, assignment: Assignment, *, lease_seconds: int) -> bool:
    """Take up a lost lease again where the task still has room and its labeler is not paused; say
    whether it is held."""
    if assignment.state == AssignmentState.LEASED:
        extend_lease(assignment, lease_seconds=lease_seconds)
        return True
    if assignment.state not in (AssignmentState.EXPIRED, AssignmentState.RETURNED):
        return False
    pause = (assignment.project_id, assignment.user_id)
    if session.get(LabelerPause, pause, populate_existing=True) is not None:
        return False
    task = lock_task(session, assignment.task_id)
    if not (assignment.is_repeat or has_room(task)):
        return False
    hold_lease(session, assignment, lease_seconds=lease_seconds)
    return True


def release_slot(session: Session, assignment: Assignment, state: AssignmentState) -> None:
    """End a locked assignment's lease and give its slot back to the task."""
    if assignment.slot is not None:
        lock_task(session, assignment.task_id).slots_taken -= 1
        assignment.slot = None
    assignment.state = state
    assignment.finished_at = utc_now()
    session.flush()


def return_leases(session: Session, user: User, project_id: str | None = None) -> int:
    """Give back every lease a person holds, drafts kept; how many there were."""
    held = select(Assignment).where(
        Assignment.user_id == user.id, Assignment.state == AssignmentState.LEASED
    )
    if project_id is not None:
        held = held.where(Assignment.project_id == project_id)
    assignments = session.scalars(
        held.order_by(Assignment.task_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).all()
    for assignment in assignments:
        release_slot(session, assignment, AssignmentState.RETURNED)
    return len(assignments)


def has_expired_leases(session: Session) -> bool:
    """Whether `expire_leases` has something to do."""
    return bool(connect(session).scalar(select(has_run_out), {"now": utc_now()}))


def expire_leases(session: Session) -> int:
    """Free the slots of leases that ran out, drafts kept; how many there were.

    Rows that another transaction holds are left to it or to the next caller.
    """
    rows = session.execute(_expired, {"now": utc_now()}).all()
    for assignment, task in rows:
        assignment.state = AssignmentState.EXPIRED
        if assignment.slot is not None:
            assignment.slot = None
            task.slots_taken -= 1
    session.flush()
    return len(rows)


def _ran_out() -> ColumnElement[bool]:
    return and_(
        Assignment.state == AssignmentState.LEASED,
        Assignment.lease_expires_at < bindparam("now", type_=Assignment.lease_expires_at.type),
    )


has_run_out = exists().where(_ran_out())
"""Whether `expire_leases` has something to do, at `now`; for a statement that asks more."""
_expired = (
    select(Assignment, Task)
    .join(Task, Task.id == Assignment.task_id)
    .where(_ran_out())
    .limit(EXPIRED_AT_ONCE)
    .with_for_update(key_share=True, skip_locked=True)
    .execution_options(populate_existing=True)
)
