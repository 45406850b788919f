"""What a labeler has done of a ranking so far, kept on the server after each change."""

from dataclasses import asdict

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.labeling.flags import known_flags
from app.labeling.slots import lock_assignment, retake_lease
from app.labeling.submissions import Submission, check_submission
from app.models import Assignment, AssignmentState, Completion, Project, Ranking, User


def save_draft(
    session: Session,
    user: User,
    assignment_id: str,
    draft: Submission,
    *,
    lease_seconds: int,
    based_on: int = 0,
) -> tuple[Assignment, bool]:
    """Keep the draft, whatever became of the lease; say whether the lease is held.

    A draft is a sign of life: it renews the lease, or takes it up again where a slot is free.
    Ranks may be missing, but what is there must fit the task (`Invalid`). `based_on` is the
    revision of the ranking that the page showed, 0 for none: a draft that arrives after the
    ranking it led to was submitted is dropped.
    """
    assignment = lock_assignment(session, user, assignment_id)
    completion_ids = session.scalars(
        select(Completion.id).where(Completion.task_id == assignment.task_id)
    ).all()
    project = session.get_one(Project, assignment.project_id)
    checked = check_submission(
        draft, completion_ids, accepted_flags=known_flags(project), allow_missing=True
    )
    if assignment.state == AssignmentState.SUBMITTED:
        revision = session.scalar(
            select(Ranking.revision).where(Ranking.assignment_id == assignment.id, Ranking.current)
        )
        if based_on == revision:
            assignment.draft = asdict(checked)
        held = True
    else:
        assignment.draft = asdict(checked)
        held = retake_lease(session, assignment, lease_seconds=lease_seconds)
    session.flush()
    return assignment, held
