"""The slots of a task: exactly `rankings_wanted` of them, whoever asks at the same moment.

Locks are always taken in one order, labeler, assignment, task, and of each at most one is waited
for, so that no two transactions on PostgreSQL can wait for each other. On SQLite a write
transaction is alone.
"""

from datetime import timedelta

from sqlalchemy import ColumnElement, and_, select
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.models import Assignment, AssignmentState, Task, TaskState, User, utc_now

EXPIRED_AT_ONCE = 500


def lock_labeler(session: Session, user: User) -> None:
    """Let one request of a person lease at a time."""
    session.execute(select(User.id).where(User.id == user.id).with_for_update(key_share=True))


def lock_assignment(session: Session, user: User, assignment_id: str) -> Assignment:
    """The person's own assignment, held until the transaction ends; somebody else's is absent."""
    assignment = session.scalar(
        select(Assignment)
        .where(Assignment.id == assignment_id, Assignment.user_id == user.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    if assignment is None:
        raise NotFound("There is no such assignment of yours.")
    return assignment


def lock_task(session: Session, task_id: str) -> Task:
    """The task, held until the transaction ends."""
    return session.scalars(
        select(Task)
        .where(Task.id == task_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).one()


def take_slot(session: Session, task: Task) -> int:
    """Count one more lease of a locked task with a free slot, and give its lowest free number."""
    used = set(
        session.scalars(
            select(Assignment.slot).where(
                Assignment.task_id == task.id, Assignment.slot.is_not(None)
            )
        )
    )
    task.slots_taken += 1
    return next(number for number in range(task.rankings_wanted) if number not in used)


def hold_lease(
    session: Session, assignment: Assignment, task: Task, *, lease_seconds: int
) -> Assignment:
    """Give a new or locked assignment that holds no slot one of its locked task's free slots."""
    assignment.slot = take_slot(session, task)
    assignment.state = AssignmentState.LEASED
    assignment.finished_at = None
    extend_lease(assignment, lease_seconds=lease_seconds)
    session.add(assignment)
    session.flush()
    return assignment


def extend_lease(assignment: Assignment, *, lease_seconds: int) -> None:
    """Let the lease last from now on."""
    assignment.lease_expires_at = utc_now() + timedelta(seconds=lease_seconds)


def retake_lease(session: Session, assignment: Assignment, *, lease_seconds: int) -> bool:
    """Take up a lost lease again where the task still has a free slot; say whether it is held."""
    if assignment.state == AssignmentState.LEASED:
        extend_lease(assignment, lease_seconds=lease_seconds)
        return True
    if assignment.state not in (AssignmentState.EXPIRED, AssignmentState.RETURNED):
        return False
    task = lock_task(session, assignment.task_id)
    if task.state != TaskState.OPEN or task.slots_free < 1:
        return False
    hold_lease(session, assignment, task, lease_seconds=lease_seconds)
    return True


def release_slot(session: Session, assignment: Assignment, state: AssignmentState) -> None:
    """End a locked assignment's lease and give its slot back to the task."""
    if assignment.slot is not None:
        lock_task(session, assignment.task_id).slots_taken -= 1
        assignment.slot = None
    assignment.state = state
    assignment.finished_at = utc_now()
    session.flush()


def has_expired_leases(session: Session) -> bool:
    """Whether `expire_leases` has something to do."""
    return session.scalar(select(Assignment.id).where(_ran_out()).limit(1)) is not None


def expire_leases(session: Session) -> int:
    """Free the slots of leases that ran out, drafts kept; how many there were.

    Rows that another transaction holds are left to it or to the next caller.
    """
    rows = session.execute(
        select(Assignment, Task)
        .join(Task, Task.id == Assignment.task_id)
        .where(_ran_out())
        .limit(EXPIRED_AT_ONCE)
        .with_for_update(key_share=True, skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()
    for assignment, task in rows:
        assignment.state = AssignmentState.EXPIRED
        assignment.slot = None
        task.slots_taken -= 1
    session.flush()
    return len(rows)


def _ran_out() -> ColumnElement[bool]:
    return and_(Assignment.state == AssignmentState.LEASED, Assignment.lease_expires_at < utc_now())
