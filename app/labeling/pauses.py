"""Pausing a labeler in a project: they are given no tasks until an admin lets them go on."""

from sqlalchemy.orm import Session

from app.accounts.audit import record
from app.labeling.slots import return_leases
from app.labeling.submissions import check_reason
from app.models import LabelerPause, User


def find_pause(session: Session, user: User, project_id: str) -> LabelerPause | None:
    """Why this person is given no tasks of the project, if they are not."""
    return session.get(LabelerPause, (project_id, user.id))


def pause_labeler(
    session: Session, admin: User | None, project_id: str, user: User, *, reason: str
) -> LabelerPause:
    """Give this person no more tasks of the project; the reason is shown to them.

    What they have in hand goes back to the queue, its draft kept; what they ranked stays. Pausing
    again changes the reason. For admins: the edge checks that. `Invalid` without a reason.
    """
    reason = check_reason(reason)
    pause = find_pause(session, user, project_id)
    if pause is None:
        pause = LabelerPause(project_id=project_id, user_id=user.id)
        session.add(pause)
    pause.reason = reason
    pause.paused_by = admin.id if admin else None
    return_leases(session, user, project_id)
    record(session, admin, "labeler.pause", "user", user.id, project=project_id, reason=reason)
    return pause


def resume_labeler(session: Session, admin: User | None, project_id: str, user: User) -> None:
    """Let a paused person go on; for somebody who is not paused nothing changes."""
    pause = find_pause(session, user, project_id)
    if pause is not None:
        session.delete(pause)
        record(session, admin, "labeler.resume", "user", user.id, project=project_id)
