"""Deleting for good: snapshots, and rankings, prompts and rounds that no snapshot holds."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from sqlalchemy import ColumnElement, Select, delete, exists, select
from sqlalchemy.orm import Session

from app.accounts.audit import record
from app.errors import Conflict
from app.labeling.removal import change_rows, forget_rows, lock_rows, take_off_tasks
from app.models import (
    Assignment,
    Job,
    JobState,
    Model,
    Prompt,
    Ranking,
    RankingEntry,
    Round,
    RoundState,
    Snapshot,
    SnapshotRanking,
    Task,
    User,
)
from app.preferences.revisions import list_revisions
from app.projects.rounds import refuse_active_job

NAMED_AT_MOST = 5


def delete_snapshot(session: Session, admin: User | None, snapshot: Snapshot) -> None:
    """Let a snapshot go; the rankings it held stay, but for tombstones that no other one holds.

    For admins: the edge checks that, and removes its files after the commit:
    `remove_snapshot_files`. Conflict `used_by_model` where a model was trained on it, whose lineage
    would end in nothing; `used_by_job` where a job is about to be.
    """
    models = session.scalars(
        select(Model).where(Model.snapshot_id == snapshot.id).order_by(Model.created_at, Model.id)
    ).all()
    if models:
        names = _names([model.name or model.id for model in models])
        raise Conflict(
            f"This snapshot cannot be deleted: {names} learned from it, and what a model learned "
            "from stays known.",
            code="used_by_model",
        )
    # Configs are JSON and unfinished jobs few, so they are sifted here.
    unfinished = session.scalars(
        select(Job).where(
            Job.project_id == snapshot.project_id,
            Job.state.in_([JobState.QUEUED, JobState.RUNNING]),
        )
    )
    if any(job.config.get("snapshot_id") == snapshot.id for job in unfinished):
        raise Conflict(
            "A job is about to learn from this snapshot. Cancel the job, or wait until it ended.",
            code="used_by_job",
        )
    session.delete(snapshot)
    session.flush()
    # A tombstone is there for the snapshots that hold it.
    change_rows(
        session,
        delete(Ranking).where(
            Ranking.project_id == snapshot.project_id,
            Ranking.erased_at.is_not(None),
            ~exists().where(SnapshotRanking.ranking_id == Ranking.id),
        ),
    )
    details = {"name": snapshot.name, "sha256": snapshot.sha256, "pairs": snapshot.pairs}
    record(session, admin, "snapshot.delete", "snapshot", snapshot.id, **details)


def remove_snapshot_files(exports_dir: Path, snapshot_ids: Iterable[str]) -> int:
    """Remove the files kept for downloads of the snapshots; how many there were."""
    removed = 0
    for snapshot_id in snapshot_ids:
        for path in exports_dir.glob(f"{snapshot_id}-*"):
            path.unlink(missing_ok=True)
            removed += 1
    return removed


def delete_ranking(session: Session, admin: User | None, ranking: Ranking) -> None:
    """Delete a ranking with all its revisions, as if it had never been made.

    Its task has the slot back, and its labeler may be given it again. For admins: the edge checks
    that. Conflict `held_by_snapshot` where a snapshot holds a revision.
    """
    ids = [revision.id for revision in list_revisions(session, ranking)]
    theirs = Ranking.id.in_(ids)
    assigned = Assignment.id.in_(select(Ranking.assignment_id).where(theirs))
    ranking_id, project_id, task_id = ranking.id, ranking.project_id, ranking.task_id
    _hold(session, theirs, assigned)
    _refuse_held(session, theirs, "This ranking")
    assignments = list(session.scalars(select(Assignment.id).where(assigned)))
    take_off_tasks(session, theirs, assigned)
    rankings = _delete_rankings(session, theirs)
    change_rows(session, delete(Assignment).where(Assignment.id.in_(assignments)))
    forget_rows(session)
    details = {"project": project_id, "task": task_id, "revisions": rankings}
    record(session, admin, "ranking.delete", "ranking", ranking_id, **details)


def delete_prompt(session: Session, admin: User | None, prompt: Prompt) -> None:
    """Delete a prompt with its tasks, their completions and all that was said of them.

    For admins: the edge checks that. Conflict `held_by_snapshot` where a snapshot holds a ranking
    of it, `round_generating` where a job is making its completions.
    """
    prompt_id, project_id = prompt.id, prompt.project_id
    tasks = select(Task.id).where(Task.prompt_id == prompt_id)
    rounds = select(Round).where(Round.id.in_(select(Task.round_id).where(Task.id.in_(tasks))))
    for round_ in session.scalars(rounds):
        refuse_active_job(session, round_)
    counts = _delete_tasks(session, tasks, "This prompt")
    change_rows(session, delete(Prompt).where(Prompt.id == prompt_id))
    forget_rows(session)
    record(session, admin, "prompt.delete", "prompt", prompt_id, project=project_id, **counts)


def delete_round(session: Session, admin: User | None, round_: Round) -> None:
    """Delete a round with its tasks, their completions and all that was said of them; the prompts
    stay. For admins: the edge checks that.

    Conflict `held_by_snapshot` where a snapshot holds a ranking of it, `round_generating` where a
    job is making its completions, `round_open` where labelers are asked to rank it.
    """
    round_id, project_id, number = round_.id, round_.project_id, round_.number
    session.flush()
    session.refresh(round_, with_for_update={"key_share": True})
    refuse_active_job(session, round_)
    if round_.state == RoundState.OPEN:
        raise Conflict(
            "This round is open, and labelers may be ranking it. Close it first.",
            code="round_open",
        )
    tasks = select(Task.id).where(Task.round_id == round_id)
    counts = _delete_tasks(session, tasks, "This round")
    change_rows(session, delete(Round).where(Round.id == round_id))
    forget_rows(session)
    details = {"project": project_id, "number": number, **counts}
    record(session, admin, "round.delete", "round", round_id, **details)


def list_holding_round(session: Session, round_id: str) -> list[Snapshot]:
    """The snapshots that hold a ranking of the round, the oldest first."""
    return _list_holding(
        session, Ranking.task_id.in_(select(Task.id).where(Task.round_id == round_id))
    )


def _delete_tasks(session: Session, tasks: Select[str], what: str) -> dict[str, int]:
    """Delete the tasks and everything that hangs on them; how many tasks and rankings."""
    theirs, assigned = Ranking.task_id.in_(tasks), Assignment.task_id.in_(tasks)
    _hold(session, theirs, assigned)
    lock_rows(session, select(Task.id).where(Task.id.in_(tasks)).order_by(Task.id))
    _refuse_held(session, theirs, what)
    rankings = _delete_rankings(session, theirs)
    change_rows(session, delete(Assignment).where(assigned))
    # Its completions go with a task.
    return {
        "tasks": change_rows(session, delete(Task).where(Task.id.in_(tasks))),
        "rankings": rankings,
    }


def _hold(session: Session, theirs: ColumnElement[bool], assigned: ColumnElement[bool]) -> None:
    """Hold rankings and assignments, so that nobody freezes or changes them meanwhile."""
    session.flush()
    lock_rows(session, select(Assignment.id).where(assigned).order_by(Assignment.task_id))
    lock_rows(session, select(Ranking.id).where(theirs).order_by(Ranking.task_id, Ranking.id))


def _refuse_held(session: Session, theirs: ColumnElement[bool], what: str) -> None:
    holding = _list_holding(session, theirs)
    if holding:
        names = _names([snapshot.name or f"Snapshot {snapshot.id[-6:]}" for snapshot in holding])
        raise Conflict(
            f"{what} cannot be deleted: what was frozen of it is in {names}. Delete "
            f"{'that snapshot' if len(holding) == 1 else 'those snapshots'} first. To erase what "
            "one person said, erase the labeler.",
            code="held_by_snapshot",
        )


def _list_holding(session: Session, theirs: ColumnElement[bool]) -> list[Snapshot]:
    holding = (
        select(SnapshotRanking.snapshot_id)
        .join(Ranking, Ranking.id == SnapshotRanking.ranking_id)
        .where(theirs)
    )
    held = select(Snapshot).where(Snapshot.id.in_(holding)).order_by(Snapshot.id)
    return list(session.scalars(held))


def _delete_rankings(session: Session, theirs: ColumnElement[bool]) -> int:
    said = select(Ranking.id).where(theirs)
    change_rows(session, delete(RankingEntry).where(RankingEntry.ranking_id.in_(said)))
    return change_rows(session, delete(Ranking).where(theirs))


def _names(names: Sequence[str]) -> str:
    """Some of the names in a sentence, and how many more there are."""
    shown = [f"“{name}”" for name in names[:NAMED_AT_MOST]]
    more = len(names) - len(shown)
    if more:
        return f"{', '.join(shown)} and {more} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
