"""Deleting for good: snapshots, and rankings, prompts and rounds that no snapshot holds."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts.audit import record
from app.errors import Conflict
from app.models import Job, JobState, Model, Snapshot, User

NAMED_AT_MOST = 5


def delete_snapshot(session: Session, admin: User, snapshot: Snapshot) -> None:
    """Let a snapshot go; the rankings it held stay. For admins: the edge checks that.

    The edge removes its files after the commit: `remove_snapshot_files`. Conflict `used_by_model`
    where a model was trained on it, whose lineage would end in nothing; `used_by_job` where a job
    is about to be.
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


def _names(names: Sequence[str]) -> str:
    """Some of the names in a sentence, and how many more there are."""
    shown = [f"“{name}”" for name in names[:NAMED_AT_MOST]]
    more = len(names) - len(shown)
    if more:
        return f"{', '.join(shown)} and {more} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
