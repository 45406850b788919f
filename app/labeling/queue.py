"""Who ranks which task next, and what becomes of a lease."""

import time
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, Select, and_, bindparam, or_, select
from sqlalchemy.orm import Session

from app.errors import Conflict, NotFound
from app.labeling.balanced_order import present_balanced
from app.labeling.direct import connect, insert_row
from app.labeling.next_task import (
    Asker,
    find_begun,
    find_next,
    has_begun,
    is_anything_free,
    list_begun,
)
from app.labeling.slots import (
    count_on_task,
    expire_leases,
    extend_lease,
    has_run_out,
    hold_lease,
    list_completion_ids,
    lock_assignment,
    lock_labeler,
    lowest_free,
    release_slot,
    retake_lease,
)
from app.labeling.submissions import check_reason
from app.models import (
    Assignment,
    AssignmentState,
    LabelerPause,
    Membership,
    Project,
    Role,
    User,
    new_id,
    utc_now,
)

# A task that another transaction holds at this moment may be free in the next: ask again for up to
# a second before saying that nothing is waiting.
RETRIES = 50
RETRY_SECONDS = 0.02

FINAL_STATES = (AssignmentState.SUBMITTED, AssignmentState.SKIPPED, AssignmentState.REVOKED)


_standing = (
    select(
        Project.archived_at,
        Project.restricted,
        Project.gold_share,
        Project.repeat_share,
        Project.uncertain_first,
        LabelerPause.paused_at,
        has_begun.label("has_begun"),
        has_run_out.label("has_run_out"),
    )
    .outerjoin(
        LabelerPause,
        and_(LabelerPause.project_id == Project.id, LabelerPause.user_id == bindparam("user_id")),
    )
    .where(Project.id == bindparam("project_id"))
)
"""What a project asks for, whether the person is paused in it or has begun a task of it, and if
leases have run out."""
_given = select(Assignment.id, Assignment.user_id, Assignment.slot).where(
    Assignment.task_id == bindparam("task_id"), ~Assignment.is_repeat
)
"""To whom a task was given, as `_lease` needs it."""


def lease_next_task(
    session: Session, user: User, project_id: str, *, lease_seconds: int
) -> Assignment | None:
    """Lease the next task of a project to a labeler; None when nothing is waiting for them.

    A lease the person holds here already is given again. Of what is free, their own expired task
    comes first (its draft is still there); now and then a gold task, a calibration task or a
    repeat, as the project wants; then the tasks of the first priority with the fewest slots free,
    so that tasks complete, and among those a random one for each labeler. Where the project asks
    for it, the tasks of the first priority that a reward model is least sure of go before those.
    Nobody gets a task again that they ranked or skipped, but for a repeat, which says nothing of
    being one. A paused labeler gets none. Raises `NotFound` for a project that is not open to the
    person.
    """
    asker = Asker(user, project_id)
    lock_labeler(session, user)
    values = asker.values | {"now": utc_now()}
    standing = connect(session).execute(_standing, values).one_or_none()
    if standing is None or not _is_open_to(session, user, project_id, standing):
        raise NotFound("There is no such project.", code="project_not_found")
    if standing.paused_at is not None:
        return None
    if standing.has_run_out:
        expire_leases(session)
    begun = list_begun(session, asker) if standing.has_begun else []
    live = next((one for one in begun if one.state == AssignmentState.LEASED), None)
    if live is not None:
        extend_lease(live, lease_seconds=lease_seconds)
        session.flush()
        return live
    for _ in range(RETRIES):
        found = find_begun(session, asker, begun) or find_next(
            session,
            asker,
            gold_share=standing.gold_share,
            repeat_share=standing.repeat_share,
            uncertain_first=standing.uncertain_first,
        )
        if found is not None:
            return _lease(session, user, project_id, found, lease_seconds)
        if not is_anything_free(session, asker):
            return None
        time.sleep(RETRY_SECONDS)
    return None


def require_open_project(session: Session, user: User, project_id: str) -> Project:
    """The project, if this person may rank in it."""
    project = session.scalar(open_projects(user).where(Project.id == project_id))
    if project is None:
        raise NotFound("There is no such project.", code="project_not_found")
    return project


def _is_open_to(
    session: Session, user: User, project_id: str, standing: Row[*tuple[Any, ...]]
) -> bool:
    """As `open_projects` says of all."""
    if standing.archived_at is not None:
        return False
    if not standing.restricted or user.role in (Role.ADMIN, Role.RESEARCHER):
        return True
    return session.get(Membership, (project_id, user.id)) is not None


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
        .where(
            Assignment.user_id == user.id,
            Assignment.project_id == project_id,
            Assignment.state == AssignmentState.LEASED,
            Assignment.lease_expires_at >= utc_now(),
        )
        .order_by(Assignment.leased_at)
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
    if assignment.state in FINAL_STATES:
        raise lease_lost(assignment)
    release_slot(session, assignment, AssignmentState.RETURNED)
    return assignment


def skip_assignment(session: Session, user: User, assignment_id: str, reason: str) -> Assignment:
    """Give a task back for good, saying why; skipping again changes nothing."""
    reason = check_reason(reason)
    assignment = lock_assignment(session, user, assignment_id)
    if assignment.state == AssignmentState.SKIPPED:
        return assignment
    if assignment.state in FINAL_STATES:
        raise lease_lost(assignment)
    assignment.skip_reason = reason
    release_slot(session, assignment, AssignmentState.SKIPPED)
    return assignment


def lease_lost(assignment: Assignment) -> Conflict:
    """The error that says why an assignment can no longer be worked on."""
    reasons = {
        AssignmentState.SUBMITTED: "You have ranked this task already.",
        AssignmentState.SKIPPED: "You have skipped this task.",
        AssignmentState.REVOKED: "An admin has revoked your ranking of this task.",
    }
    reason = reasons.get(
        AssignmentState(assignment.state),
        "You no longer hold this task, and it cannot be taken up again: others have ranked it, or "
        "an admin has paused your work.",
    )
    return Conflict(f"{reason} Ask for the next one.", code="lease_lost")


def _lease(
    session: Session, user: User, project_id: str, found: str | Assignment, lease_seconds: int
) -> Assignment:
    if isinstance(found, Assignment):
        return _lease_repeat(session, found, lease_seconds)
    given = session.connection().execute(_given, {"task_id": found}).all()
    mine = next((row.id for row in given if row.user_id == user.id), None)
    if mine is not None:
        assignment = session.get_one(Assignment, mine)
        return hold_lease(session, assignment, lease_seconds=lease_seconds)
    now = utc_now()
    assignment = Assignment(
        id=new_id(),
        project_id=project_id,
        task_id=found,
        user_id=user.id,
        is_repeat=False,
        state=AssignmentState.LEASED.value,
        slot=lowest_free(row.slot for row in given),
        shown_order=present_balanced(
            session, found, list_completion_ids(session, found), len(given), user.id
        ),
        draft=None,
        leased_at=now,
        lease_expires_at=now + timedelta(seconds=lease_seconds),
        finished_at=None,
        skip_reason=None,
    )
    insert_row(session, assignment)
    count_on_task(session, found, slots=1)
    return assignment


def _lease_repeat(session: Session, found: Assignment, lease_seconds: int) -> Assignment:
    """The first look's order the other way round tells how much the place decided."""
    assignment = found
    if not found.is_repeat:
        assignment = Assignment(
            project_id=found.project_id,
            task_id=found.task_id,
            user_id=found.user_id,
            is_repeat=True,
            shown_order=found.shown_order[::-1],
        )
    assignment.state = AssignmentState.LEASED
    assignment.finished_at = None
    extend_lease(assignment, lease_seconds=lease_seconds)
    session.add(assignment)
    session.flush()
    return assignment
