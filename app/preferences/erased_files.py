"""Files beside the database that hold rankings: removed when what they hold had to go."""

import re
import time
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.jobs.kinds.ranked_inputs import TASKS_FILE
from app.models import Job, JobState, Snapshot
from app.preferences.deletion import remove_snapshot_files
from app.preferences.erasure import ErasureReport

ABANDONED_SECONDS = 3600
"""No download takes so long to write."""
_kept_name = re.compile(r"([0-9a-f]{32})-.*-e(\d+)\.[0-9a-f]+\.[a-z.]+")


def remove_erased_files(report: ErasureReport, exports_dir: Path, runs_dir: Path) -> int:
    """Remove what was kept for downloads of the snapshots, and the copies of their rankings that
    jobs learned from; how many files there were. A job that is resumed makes a new copy."""
    removed = remove_snapshot_files(exports_dir, report.snapshot_ids)
    return removed + sum(_remove_copy(runs_dir, job_id) for job_id in report.job_ids)


def remove_leftovers(session: Session, exports_dir: Path, runs_dir: Path) -> int:
    """Remove the same files where a crash came between an erasure, or the deletion of a snapshot,
    and their removal; how many there were."""
    removed = 0
    rows = session.execute(select(Snapshot.id, Snapshot.erased_rankings))
    erased: dict[str, int] = {row[0]: row[1] for row in rows}
    for path in exports_dir.glob("*"):
        name = _kept_name.fullmatch(path.name)
        if name is not None and erased.get(name[1]) == int(name[2]):
            continue
        if name is None and not _is_abandoned(path):
            continue
        path.unlink(missing_ok=True)
        removed += 1
    ended = select(Job).where(Job.state.not_in([JobState.QUEUED, JobState.RUNNING]))
    for job in session.scalars(ended):
        if erased.get(job.config.get("snapshot_id") or ""):
            removed += _remove_copy(runs_dir, job.id)
    return removed


def _remove_copy(runs_dir: Path, job_id: str) -> bool:
    copy = runs_dir / job_id / TASKS_FILE
    was_there = copy.exists()
    copy.unlink(missing_ok=True)
    return was_there


def _is_abandoned(path: Path) -> bool:
    return (
        path.is_file()
        and path.suffix == ".partial"
        and time.time() - path.stat().st_mtime > ABANDONED_SECONDS
    )
