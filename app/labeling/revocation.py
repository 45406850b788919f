"""Revoking every ranking of one labeler: kept, marked, and out of every pair from now on."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts.audit import record
from app.labeling.slots import first_free_slots, lock_tasks
from app.labeling.submissions import check_reason
from app.models import (
    Assignment,
    AssignmentState,
    Model,
    Ranking,
    Round,
    Snapshot,
    SnapshotRanking,
    Task,
    TaskState,
    User,
    utc_now,
)
from app.registry.lineage import list_models_from


@dataclass(frozen=True, kw_only=True)
class Revocation:
    """What revoking did."""

    rankings: int
    reopened_tasks: int
    """Complete tasks that want a ranking again; those of closed rounds are not handed out."""


@dataclass(frozen=True, kw_only=True)
class Touched:
    """What was made from a labeler's rankings, the oldest first."""

    snapshots: list[Snapshot]
    models: list[Model]
    """Trained on one of the snapshots, or made from such a model at any depth."""


def revoke_rankings(
    session: Session, admin: User | None, project_id: str, labeler: str, *, reason: str
) -> Revocation:
    """Revoke all rankings of a labeler in the project, repeats included.

    Nothing is deleted: the rankings stay readable, marked with who revoked them, when and why, and
    snapshots keep what they froze. Each task gets its slot back and is open again where it now has
    too few rankings; this labeler is not given it again. For admins: the edge checks that.
    `Invalid` without a reason.
    """
    reason = check_reason(reason)
    chosen = _lock_rankings(session, project_id, labeler, revoked=False)
    now = utc_now()
    for ranking, assignment in chosen:
        ranking.revoked_at = now
        ranking.revoked_by = admin.id if admin else None
        ranking.revoke_reason = reason
        if assignment is not None:
            assignment.state = AssignmentState.REVOKED
            assignment.slot = None
            assignment.draft = None
    session.flush()
    reopened = _count_off(session, [ranking for ranking, _ in chosen])
    details = {"labeler": labeler, "rankings": len(chosen), "reason": reason}
    record(session, admin, "labeler.revoke", "project", project_id, **details)
    return Revocation(rankings=len(chosen), reopened_tasks=reopened)


def restore_rankings(session: Session, admin: User | None, project_id: str, labeler: str) -> int:
    """Undo `revoke_rankings`; how many count again.

    A task that others ranked meanwhile then has more rankings than it wanted, and keeps them all.
    """
    chosen = _lock_rankings(session, project_id, labeler, revoked=True)
    tasks = lock_tasks(session, {ranking.task_id for ranking, _ in chosen})
    asked = _asked(session, tasks.values())
    free = first_free_slots(session, tasks)
    for ranking, assignment in chosen:
        ranking.revoked_at = ranking.revoked_by = None
        ranking.revoke_reason = ""
        task = tasks[ranking.task_id]
        if assignment is not None:
            assignment.state = AssignmentState.SUBMITTED
            assignment.slot = None if ranking.is_repeat else free[task.id]
        if not ranking.is_repeat:
            task.rankings_got += 1
            task.slots_taken += 1
            task.rankings_wanted += task.id not in asked
            if task.state == TaskState.OPEN and task.rankings_got >= task.rankings_wanted:
                task.state = TaskState.COMPLETE
    session.flush()
    if chosen:
        details = {"labeler": labeler, "rankings": len(chosen)}
        record(session, admin, "labeler.restore", "project", project_id, **details)
    return len(chosen)


def find_touched(session: Session, project_id: str, labeler: str) -> Touched:
    """What rests on the labeler's rankings, revoked and superseded ones included."""
    holding = (
        select(SnapshotRanking.snapshot_id)
        .join(Ranking, Ranking.id == SnapshotRanking.ranking_id)
        .where(Ranking.project_id == project_id, Ranking.labeler == labeler)
    )
    snapshots = session.scalars(
        select(Snapshot).where(Snapshot.id.in_(holding)).order_by(Snapshot.id)
    ).all()
    models = list_models_from(session, [snapshot.id for snapshot in snapshots])
    return Touched(snapshots=list(snapshots), models=models)


def _lock_rankings(
    session: Session, project_id: str, labeler: str, *, revoked: bool
) -> list[tuple[Ranking, Assignment | None]]:
    """The labeler's rankings with their assignments, which are held until the transaction ends.

    Assignments come before tasks, each kind in the order of tasks, as everywhere.
    """
    mine = (
        Ranking.project_id == project_id,
        Ranking.labeler == labeler,
        Ranking.current,
        Ranking.revoked_at.is_not(None) if revoked else Ranking.revoked_at.is_(None),
    )
    held = session.scalars(
        select(Assignment)
        .where(Assignment.id.in_(select(Ranking.assignment_id).where(*mine)))
        .order_by(Assignment.task_id, Assignment.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).all()
    assignments = {assignment.id: assignment for assignment in held}
    rankings = session.scalars(
        select(Ranking)
        .where(*mine)
        .order_by(Ranking.task_id, Ranking.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).all()
    return [(ranking, assignments.get(ranking.assignment_id or "")) for ranking in rankings]


def _count_off(session: Session, rankings: Sequence[Ranking]) -> int:
    """Take rankings off what their tasks have; how many complete tasks are open again."""
    counted = Counter(ranking.task_id for ranking in rankings if not ranking.is_repeat)
    tasks = lock_tasks(session, counted.keys())
    asked = _asked(session, tasks.values())
    reopened = 0
    for task_id, task in tasks.items():
        task.rankings_got -= counted[task_id]
        task.slots_taken -= counted[task_id]
        if task_id not in asked:
            task.rankings_wanted -= counted[task_id]
        if task.state == TaskState.COMPLETE and task.rankings_got < task.rankings_wanted:
            task.state = TaskState.OPEN
            reopened += 1
    session.flush()
    return reopened


def _asked(session: Session, tasks: Collection[Task]) -> set[str]:
    """Those of the tasks whose round asks labelers; others want just what an import brought."""
    rounds = set(
        session.scalars(
            select(Round.id).where(
                Round.id.in_({task.round_id for task in tasks}), Round.labelers_per_task > 0
            )
        )
    )
    return {task.id for task in tasks if task.round_id in rounds}
