"""Rankings: submitted by people, imported, or made by simulated labelers."""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.labeling.flags import known_flags
from app.labeling.queue import lease_lost
from app.labeling.slots import lock_assignment, retake_lease
from app.labeling.submissions import (
    CheckedSubmission,
    Submission,
    check_submission,
    dense_ranks,
)
from app.models import (
    Assignment,
    AssignmentState,
    Completion,
    Project,
    Ranking,
    RankingEntry,
    RankingSource,
    Task,
    TaskState,
    User,
    utc_now,
)


def submit_ranking(
    session: Session, user: User, assignment_id: str, submission: Submission
) -> Ranking:
    """Rank an assignment's task, or edit the ranking submitted for it before.

    Afterwards the assignment is submitted, its draft gone, and the task complete if this was the
    last ranking it wanted. The same content again changes nothing; other content makes a new
    revision and keeps the earlier one. A lease that ran out is taken up again while the task has a
    free slot; otherwise `Conflict`. `Invalid` names each field that does not fit the task,
    `NotFound` is somebody else's assignment.
    """
    assignment = lock_assignment(session, user, assignment_id)
    completion_ids = session.scalars(
        select(Completion.id).where(Completion.task_id == assignment.task_id)
    ).all()
    project = session.get_one(Project, assignment.project_id)
    checked = check_submission(submission, completion_ids, accepted_flags=known_flags(project))
    if assignment.state != AssignmentState.SUBMITTED and not retake_lease(
        session, assignment, lease_seconds=1
    ):
        raise lease_lost(assignment)
    task = session.get_one(Task, assignment.task_id)
    ranking = store_ranking(
        session,
        task=task,
        labeler=user,
        ranks=checked.ranks,
        source=RankingSource.SIMULATED if user.simulated else RankingSource.APP,
        ratings=checked.ratings,
        flags=checked.flags,
        comment=checked.comment,
        active_ms=checked.active_ms,
        shown_order=assignment.shown_order,
        assignment_id=assignment.id,
        guidelines_version=project.guidelines_version,
        completion_ids=completion_ids,
    )
    if assignment.state != AssignmentState.SUBMITTED:
        assignment.state = AssignmentState.SUBMITTED
        assignment.finished_at = utc_now()
    assignment.draft = None
    session.flush()
    return ranking


def store_ranking(
    session: Session,
    *,
    task: Task,
    labeler: User | str,
    ranks: Mapping[str, int | None],
    source: RankingSource | str,
    external_id: str | None = None,
    ratings: Mapping[str, int] | None = None,
    flags: Mapping[str, Sequence[str]] | None = None,
    comment: str = "",
    active_ms: int | None = None,
    shown_order: Sequence[str] = (),
    assignment_id: str | None = None,
    guidelines_version: int = 1,
    is_repeat: bool = False,
    completion_ids: Collection[str] | None = None,
) -> Ranking:
    """Check a ranking against its task's completions and store it with dense ranks.

    A labeler's earlier ranking of the task is kept and no longer current (unless the content is
    the same, then it is returned as it is); a repeat stands beside it. Rankings that are not
    repeats count towards what the task wants: its `rankings_got`, `slots_taken` and state are
    true afterwards. Flags of any name are kept: that the project knows them is checked where they
    come in. Only an import may leave completions unranked. Raises `Invalid`.
    """
    if completion_ids is None:
        completion_ids = session.scalars(
            select(Completion.id).where(Completion.task_id == task.id)
        ).all()
    submission = Submission(
        ranks=ranks, ratings=ratings or {}, flags=flags or {}, comment=comment, active_ms=active_ms
    )
    checked = check_submission(
        submission,
        completion_ids,
        accepted_flags=None,
        allow_unranked=source == RankingSource.IMPORT,
    )
    session.refresh(task, with_for_update={"key_share": True})
    name = labeler if isinstance(labeler, str) else labeler.handle
    earlier = None if is_repeat else find_current_ranking(session, task.id, name)
    if earlier is not None:
        if _same_content(session, earlier, checked):
            return earlier
        earlier.current = False
        session.flush()
    ranking = Ranking(
        project_id=task.project_id,
        task_id=task.id,
        assignment_id=assignment_id,
        user_id=None if isinstance(labeler, str) else labeler.id,
        labeler=name,
        source=source,
        external_id=external_id,
        is_repeat=is_repeat,
        revision=1 if earlier is None else earlier.revision + 1,
        shown_order=list(shown_order),
        comment=checked.comment,
        active_ms=active_ms,
        guidelines_version=guidelines_version,
    )
    session.add(ranking)
    session.flush()
    session.add_all(
        RankingEntry(
            ranking_id=ranking.id,
            completion_id=completion,
            rank=rank,
            rating=checked.ratings.get(completion),
            flags=checked.flags.get(completion, []),
        )
        for completion, rank in dense_ranks(checked.ranks).items()
    )
    if earlier is None and not is_repeat:
        _count_ranking(task, holds_slot=assignment_id is not None)
    session.flush()
    return ranking


def find_current_ranking(session: Session, task_id: str, labeler: str) -> Ranking | None:
    """A labeler's ranking of a task that counts now."""
    return session.scalar(
        select(Ranking).where(
            Ranking.task_id == task_id,
            Ranking.labeler == labeler,
            Ranking.current,
            ~Ranking.is_repeat,
        )
    )


def load_submission(session: Session, ranking: Ranking) -> CheckedSubmission:
    """A stored ranking in the form it was handed in."""
    entries = session.scalars(
        select(RankingEntry).where(RankingEntry.ranking_id == ranking.id)
    ).all()
    return CheckedSubmission(
        ranks={entry.completion_id: entry.rank for entry in entries},
        ratings={
            entry.completion_id: entry.rating for entry in entries if entry.rating is not None
        },
        flags={entry.completion_id: list(entry.flags) for entry in entries if entry.flags},
        comment=ranking.comment,
        active_ms=ranking.active_ms,
    )


def find_last_submitted(session: Session, user: User, project_id: str) -> Assignment | None:
    """The assignment a labeler ranked last in a project."""
    return session.scalar(
        select(Assignment)
        .join(Task, Task.id == Assignment.task_id)
        .where(
            Assignment.user_id == user.id,
            Assignment.state == AssignmentState.SUBMITTED,
            Task.project_id == project_id,
        )
        .order_by(Assignment.finished_at.desc(), Assignment.id.desc())
        .limit(1)
    )


def _same_content(session: Session, ranking: Ranking, checked: CheckedSubmission) -> bool:
    stored = load_submission(session, ranking)
    return (
        stored.ranks == dense_ranks(checked.ranks)
        and stored.ratings == checked.ratings
        and stored.flags == checked.flags
        and stored.comment == checked.comment
    )


def _count_ranking(task: Task, *, holds_slot: bool) -> None:
    task.rankings_got += 1
    if not holds_slot:
        task.slots_taken += 1
    if task.state == TaskState.OPEN and task.rankings_got >= task.rankings_wanted:
        task.state = TaskState.COMPLETE
