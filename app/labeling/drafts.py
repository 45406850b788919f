"""What a labeler has done of a ranking so far, kept on the server after each change."""

from dataclasses import asdict

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.labeling.slots import lock_assignment, retake_lease
from app.labeling.submissions import Submission, check_submission
from app.models import Assignment, AssignmentState, Completion, User


def save_draft(
    session: Session, user: User, assignment_id: str, draft: Submission, *, lease_seconds: int
) -> tuple[Assignment, bool]:
    """Keep the draft, whatever became of the lease; say whether the lease is held.

    A draft is a sign of life: it renews the lease, or takes it up again where a slot is free.
    Ranks may be missing, but what is there must fit the task (`Invalid`).
    """
    assignment = lock_assignment(session, user, assignment_id)
    completion_ids = session.scalars(
        select(Completion.id).where(Completion.task_id == assignment.task_id)
    ).all()
    assignment.draft = asdict(check_submission(draft, completion_ids, allow_missing=True))
    held = assignment.state == AssignmentState.SUBMITTED or retake_lease(
        session, assignment, lease_seconds=lease_seconds
    )
    session.flush()
    return assignment, held
