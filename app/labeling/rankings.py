"""Rankings: submitted by people, imported, or made by simulated labelers."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam, insert, null, select, update
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.labeling.direct import connect, forget, insert_row
from app.labeling.flags import flag_names
from app.labeling.queue import lease_lost
from app.labeling.slots import (
    count_on_task,
    list_completion_ids,
    lock_assignment,
    lock_task,
    retake_lease,
)
from app.labeling.submissions import (
    CheckedSubmission,
    Submission,
    check_submission,
    dense_ranks,
)
from app.models import (
    Assignment,
    AssignmentState,
    Project,
    Ranking,
    RankingEntry,
    RankingSource,
    Task,
    User,
    new_id,
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
    own = {"assignment_id": assignment_id, "user_id": user.id}
    found = connect(session).execute(_own, own).one_or_none()
    if found is None:
        raise NotFound("There is no such assignment of yours.")
    checked = check_submission(
        submission,
        list_completion_ids(session, found.task_id),
        accepted_flags=flag_names(found.flags),
    )
    earlier = None
    if found.state == AssignmentState.LEASED:
        session.connection().execute(_finish, {"of_id": assignment_id, "now": utc_now()})
        forget(session, Assignment, assignment_id)
    else:
        earlier = _reopen(session, lock_assignment(session, user, assignment_id))
    return _store(
        session,
        labeler=user,
        checked=checked,
        earlier=earlier,
        slots=0,
        external_id=None,
        project_id=found.project_id,
        task_id=found.task_id,
        source=str(RankingSource.SIMULATED if user.simulated else RankingSource.APP),
        shown_order=found.shown_order,
        assignment_id=assignment_id,
        is_repeat=found.is_repeat,
        guidelines_version=_version_read(submission, found.guidelines_version),
    )


_own = (
    select(
        Assignment.project_id,
        Assignment.task_id,
        Assignment.state,
        Assignment.is_repeat,
        Assignment.shown_order,
        Project.flags,
        Project.guidelines_version,
    )
    .join(Project, Project.id == Assignment.project_id)
    .where(Assignment.id == bindparam("assignment_id"), Assignment.user_id == bindparam("user_id"))
    .with_for_update(of=Assignment, key_share=True)
)
_finish = (
    update(Assignment)
    .where(Assignment.id == bindparam("of_id"))
    .values(
        state=AssignmentState.SUBMITTED.value,
        finished_at=bindparam("now", type_=Assignment.finished_at.type),
        draft=null(),
    )
)


def _reopen(session: Session, assignment: Assignment) -> Ranking | None:
    """Take a lease that was lost up again, or find the ranking submitted before, to edit it."""
    earlier = None
    if assignment.state == AssignmentState.SUBMITTED:
        earlier = find_ranking_of(session, assignment.id)
    elif retake_lease(session, assignment, lease_seconds=1):
        assignment.state = AssignmentState.SUBMITTED
        assignment.finished_at = utc_now()
    else:
        raise lease_lost(assignment)
    assignment.draft = None
    session.flush()
    return earlier


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
    guidelines_version: int = 1,
    is_repeat: bool = False,
) -> Ranking:
    """Check a ranking made outside the queue against its task's completions, and store it.

    A labeler's earlier ranking of the task is kept and no longer current (unless the content is
    the same, then it is returned as it is); a repeat stands beside it. Rankings that are not
    repeats count towards what the task wants: its `rankings_got`, `slots_taken` and state are
    true afterwards. Flags of any name are kept: that the project knows them is checked where they
    come in. Only an import may leave completions unranked. Raises `Invalid`.
    """
    checked = check_submission(
        Submission(
            ranks=ranks,
            ratings=ratings or {},
            flags=flags or {},
            comment=comment,
            active_ms=active_ms,
        ),
        list_completion_ids(session, task.id),
        accepted_flags=None,
        allow_unranked=source == RankingSource.IMPORT,
    )
    name = labeler if isinstance(labeler, str) else labeler.handle
    lock_task(session, task.id)
    return _store(
        session,
        labeler=labeler,
        checked=checked,
        earlier=None if is_repeat else find_current_ranking(session, task.id, name),
        slots=1,
        project_id=task.project_id,
        task_id=task.id,
        source=str(source),
        assignment_id=None,
        external_id=external_id,
        shown_order=list(shown_order),
        is_repeat=is_repeat,
        guidelines_version=guidelines_version,
    )


def _store(
    session: Session,
    *,
    labeler: User | str,
    checked: CheckedSubmission,
    earlier: Ranking | None,
    slots: int,
    **columns: Any,
) -> Ranking:
    """A new ranking, or a new revision of the earlier one; a new one takes so many slots."""
    if earlier is not None:
        if _same_content(session, earlier, checked):
            return earlier
        earlier.current = False
        session.flush()
    ranking = Ranking(
        id=new_id(),
        created_at=utc_now(),
        current=True,
        revoked_at=None,
        revoked_by=None,
        revoke_reason="",
        user_id=None if isinstance(labeler, str) else labeler.id,
        labeler=labeler if isinstance(labeler, str) else labeler.handle,
        revision=1 if earlier is None else earlier.revision + 1,
        comment=checked.comment,
        active_ms=checked.active_ms,
        **columns,
    )
    insert_row(session, ranking)
    if earlier is None and not ranking.is_repeat:
        count_on_task(session, ranking.task_id, slots=slots, rankings=1)
    session.connection().execute(
        _insert_entries,
        [
            {
                "ranking_id": ranking.id,
                "completion_id": completion,
                "rank": rank,
                "rating": checked.ratings.get(completion),
                "flags": checked.flags.get(completion, []),
            }
            for completion, rank in dense_ranks(checked.ranks).items()
        ],
    )
    return ranking


_insert_entries = insert(RankingEntry)


def _version_read(submission: Submission, newest: int) -> int:
    """The version of the guidelines that the labeler had before them, as far as they say."""
    version = submission.guidelines_version
    return version if version is not None and 1 <= version <= newest else newest


def find_ranking_of(session: Session, assignment_id: str) -> Ranking | None:
    """The current revision of the ranking that an assignment led to."""
    return session.scalar(_ranking_of, {"assignment_id": assignment_id})


_ranking_of = select(Ranking).where(
    Ranking.assignment_id == bindparam("assignment_id"), Ranking.current
)


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


_entries = select(
    RankingEntry.completion_id, RankingEntry.rank, RankingEntry.rating, RankingEntry.flags
).where(RankingEntry.ranking_id == bindparam("ranking_id"))


def load_submission(session: Session, ranking: Ranking) -> CheckedSubmission:
    """A stored ranking in the form it was handed in."""
    entries = session.execute(_entries, {"ranking_id": ranking.id}).all()
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


def _as_sets(flags: Mapping[str, Sequence[str]]) -> dict[str, set[str]]:
    """Flags are said in the order the project lists them, which may change."""
    return {completion: set(names) for completion, names in flags.items()}


def _same_content(session: Session, ranking: Ranking, checked: CheckedSubmission) -> bool:
    stored = load_submission(session, ranking)
    return (
        stored.ranks == dense_ranks(checked.ranks)
        and stored.ratings == checked.ratings
        and _as_sets(stored.flags) == _as_sets(checked.flags)
        and stored.comment == checked.comment
    )
