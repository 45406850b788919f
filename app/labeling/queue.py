"""Who ranks which task next, and what becomes of a lease."""

import hashlib
import random
import time

from sqlalchemy import Select, exists, or_, select
from sqlalchemy.orm import Session

from app.errors import Conflict, NotFound
from app.labeling.slots import (
    expire_leases,
    extend_lease,
    hold_lease,
    lock_assignment,
    lock_labeler,
    release_slot,
    retake_lease,
)
from app.labeling.submissions import check_reason
from app.models import (
    Assignment,
    AssignmentState,
    Completion,
    Membership,
    Project,
    Ranking,
    Role,
    Round,
    RoundState,
    Task,
    TaskState,
    User,
    utc_now,
)
from app.models.projects import SHUFFLE_KEYS

__all__ = [
    "expire_leases",
    "lease_next_task",
    "renew_lease",
    "return_assignment",
    "return_leases",
    "skip_assignment",
]

# A task that another transaction holds at this moment may be free in the next: ask again for up to
# a second before saying that nothing is waiting.
RETRIES = 50
RETRY_SECONDS = 0.02


def lease_next_task(
    session: Session, user: User, project_id: str, *, lease_seconds: int
) -> Assignment | None:
    """Lease the next task of a project to a labeler; None when nothing is waiting for them.

    A lease the person holds here already is given again. Of what is free, their own expired task
    comes first (its draft is still there), then the tasks with the fewest slots free, so that
    tasks complete, and among those a random one for each labeler. Nobody gets a task again that
    they ranked or skipped. Raises `NotFound` for a project that is not open to the person.
    """
    require_open_project(session, user, project_id)
    lock_labeler(session, user)
    expire_leases(session)
    live = find_live_assignment(session, user, project_id)
    if live is not None:
        extend_lease(live, lease_seconds=lease_seconds)
        session.flush()
        return live
    for _ in range(RETRIES):
        task = _lock_expired_task(session, user, project_id)
        if task is None:
            if session.scalar(candidates(user, project_id).with_only_columns(Task.id)) is None:
                return None
            task = _lock_next_task(session, user, project_id)
        if task is not None:
            return _lease(session, user, task, lease_seconds)
        time.sleep(RETRY_SECONDS)
    return None


def require_open_project(session: Session, user: User, project_id: str) -> Project:
    """The project, if this person may rank in it."""
    project = session.scalar(open_projects(user).where(Project.id == project_id))
    if project is None:
        raise NotFound("There is no such project.")
    return project


def open_projects(user: User) -> Select[Project]:
    """The projects a person may rank in: every one that is not restricted to others."""
    projects = select(Project).where(Project.archived_at.is_(None))
    if user.role in (Role.ADMIN, Role.RESEARCHER):
        return projects
    mine = select(Membership.project_id).where(Membership.user_id == user.id)
    return projects.where(or_(~Project.restricted, Project.id.in_(mine)))


def find_live_assignment(session: Session, user: User, project_id: str) -> Assignment | None:
    """The lease the person holds in the project now."""
    return session.scalar(
        select(Assignment)
        .join(Task, Task.id == Assignment.task_id)
        .where(
            Assignment.user_id == user.id,
            Assignment.state == AssignmentState.LEASED,
            Assignment.lease_expires_at >= utc_now(),
            Task.project_id == project_id,
        )
        .order_by(Assignment.leased_at)
        .limit(1)
    )


def candidates(user: User, project_id: str) -> Select[Task]:
    """The tasks of a project that this labeler could be given now, fewest free slots first."""
    had = exists().where(
        Assignment.task_id == Task.id,
        Assignment.user_id == user.id,
        Assignment.state.in_(
            [AssignmentState.LEASED, AssignmentState.SUBMITTED, AssignmentState.SKIPPED]
        ),
    )
    ranked = exists().where(
        Ranking.task_id == Task.id,
        Ranking.labeler == user.handle,
        Ranking.current,
        ~Ranking.is_repeat,
    )
    closed = select(Round.id).where(
        Round.project_id == project_id, Round.state == RoundState.CLOSED
    )
    return (
        select(Task)
        .where(
            Task.project_id == project_id,
            Task.state == TaskState.OPEN,
            Task.slots_free > 0,
            Task.round_id.not_in(closed),
            ~had,
            ~ranked,
        )
        .order_by(Task.slots_free, Task.shuffle_key)
        .limit(1)
    )


def renew_lease(
    session: Session, user: User, assignment_id: str, *, lease_seconds: int
) -> Assignment:
    """Let the lease last from now on; one that ran out is taken up again if the task is free.

    Raises `Conflict` when it is not, or when the assignment was ranked or skipped already.
    """
    assignment = lock_assignment(session, user, assignment_id)
    if not retake_lease(session, assignment, lease_seconds=lease_seconds):
        raise lease_lost(assignment)
    session.flush()
    return assignment


def return_assignment(session: Session, user: User, assignment_id: str) -> Assignment:
    """Give a task back unranked; the draft is kept, and the same labeler may get it again."""
    assignment = lock_assignment(session, user, assignment_id)
    if assignment.state in (AssignmentState.SUBMITTED, AssignmentState.SKIPPED):
        raise lease_lost(assignment)
    release_slot(session, assignment, AssignmentState.RETURNED)
    return assignment


def return_leases(session: Session, user: User) -> int:
    """Give back every lease of a person who signs out; how many there were."""
    held = session.scalars(
        select(Assignment.id)
        .where(Assignment.user_id == user.id, Assignment.state == AssignmentState.LEASED)
        .order_by(Assignment.task_id)
    ).all()
    for assignment_id in held:
        return_assignment(session, user, assignment_id)
    return len(held)


def skip_assignment(session: Session, user: User, assignment_id: str, reason: str) -> Assignment:
    """Give a task back for good, saying why; skipping again changes nothing."""
    reason = check_reason(reason)
    assignment = lock_assignment(session, user, assignment_id)
    if assignment.state == AssignmentState.SKIPPED:
        return assignment
    if assignment.state == AssignmentState.SUBMITTED:
        raise lease_lost(assignment)
    assignment.skip_reason = reason
    release_slot(session, assignment, AssignmentState.SKIPPED)
    return assignment


def lease_lost(assignment: Assignment) -> Conflict:
    """The error that says why an assignment can no longer be worked on."""
    reasons = {
        AssignmentState.SUBMITTED: "You have ranked this task already.",
        AssignmentState.SKIPPED: "You have skipped this task.",
    }
    reason = reasons.get(
        AssignmentState(assignment.state),
        "Your lease on this task ran out and others have ranked it since.",
    )
    return Conflict(f"{reason} Ask for the next one.", code="lease_lost")


def _lock_expired_task(session: Session, user: User, project_id: str) -> Task | None:
    mine = (
        select(Assignment.task_id)
        .join(Task, Task.id == Assignment.task_id)
        .where(
            Assignment.user_id == user.id,
            Assignment.state == AssignmentState.EXPIRED,
            Task.project_id == project_id,
        )
    )
    return session.scalar(_locking(candidates(user, project_id).where(Task.id.in_(mine))))


def _lock_next_task(session: Session, user: User, project_id: str) -> Task | None:
    """Labelers walk a circle of shuffle keys from places of their own, so they seldom meet."""
    waiting = candidates(user, project_id)
    fewest = session.scalar(waiting.with_only_columns(Task.slots_free))
    digest = hashlib.sha256(f"{user.id}:{project_id}".encode()).digest()
    start = int.from_bytes(digest[:8], "big") % SHUFFLE_KEYS
    level = waiting.where(Task.slots_free == fewest)
    for part in (
        level.where(Task.shuffle_key >= start),
        level.where(Task.shuffle_key < start),
        waiting,
    ):
        task = session.scalar(_locking(part))
        if task is not None:
            return task
    return None


def _locking(tasks: Select[Task]) -> Select[Task]:
    return tasks.with_for_update(of=Task, key_share=True, skip_locked=True).execution_options(
        populate_existing=True
    )


def _lease(session: Session, user: User, task: Task, lease_seconds: int) -> Assignment:
    assignment = session.scalar(
        select(Assignment).where(Assignment.task_id == task.id, Assignment.user_id == user.id)
    )
    if assignment is None:
        shown_order = list(
            session.scalars(select(Completion.id).where(Completion.task_id == task.id))
        )
        random.SystemRandom().shuffle(shown_order)
        assignment = Assignment(
            project_id=task.project_id, task_id=task.id, user_id=user.id, shown_order=shown_order
        )
    return hold_lease(session, assignment, task, lease_seconds=lease_seconds)
