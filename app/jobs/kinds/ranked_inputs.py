"""What the kinds that learn from rankings have in common: a snapshot, written out as tasks."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from app.errors import Invalid
from app.models import Job, Snapshot, User
from app.preferences.filters import PairFilters
from app.preferences.frozen_tasks import RankedTask as FrozenTask
from app.preferences.frozen_tasks import iter_labeled_tasks, iter_ranked_tasks
from app.preferences.pair_counts import count_pairs
from app.preferences.snapshots import create_snapshot

if TYPE_CHECKING:
    from app.training.ranked_task import RankedTask

TASKS_FILE = "tasks.jsonl"


def check_rankings(session: Session, project_id: str, snapshot_id: str | None) -> None:
    """Refuse a foreign or empty snapshot, and without one a project that has no pair."""
    if snapshot_id is None:
        if not count_pairs(session, project_id, PairFilters.for_training()).pairs:
            raise Invalid(
                "This project has no pair yet: rank some completions first.",
                code="no_pairs",
                fields={"snapshot_id": "a snapshot with at least one pair"},
            )
        return
    snapshot = session.get(Snapshot, snapshot_id)
    if snapshot is None or snapshot.project_id != project_id:
        raise Invalid(
            f"There is no snapshot {snapshot_id!r} in this project.",
            fields={"snapshot_id": "the id of a snapshot of this project, or nothing"},
        )
    if not snapshot.pairs or snapshot.erased_rankings == snapshot.rankings:
        raise Invalid(
            "This snapshot holds no pair.",
            code="no_pairs",
            fields={"snapshot_id": "a snapshot with at least one pair"},
        )


def settle_snapshot(session: Session, job: Job, snapshot_id: str | None, use: str) -> Snapshot:
    """The snapshot of a job; without one, the project's pairs are frozen now, named for `use`.

    The job's config names the new snapshot in the same transaction, so that a crash afterwards
    finds it there and freezes no other.
    """
    if snapshot_id is not None:
        return session.get_one(Snapshot, snapshot_id)
    assert job.project_id is not None, "check refuses a job without a project"
    user = session.get(User, job.created_by) if job.created_by else None
    name = f"For {use} job {job.id[-6:]}"
    snapshot = create_snapshot(
        session, user, job.project_id, name=name, filters=PairFilters.for_training()
    )
    job.config = {**job.config, "snapshot_id": snapshot.id}
    return snapshot


def write_tasks(session: Session, snapshot: Snapshot, run_dir: Path) -> None:
    """Write the snapshot's ranked tasks for `read_tasks`, one a line.

    Labelers go by the id of the first of their rankings, not by name: what a run makes of the file
    is kept, and nobody would find a name there when it has to be erased.
    """
    labelers: dict[str, str] = {}
    with (run_dir / TASKS_FILE).open("w", encoding="utf-8") as file:
        for task in iter_ranked_tasks(session, snapshot):
            rankings = task.rankings
            line = _describe(task) | {
                "rankings": [ranking.ranks for ranking in rankings],
                "ratings": [ranking.ratings for ranking in rankings],
                "ranking_ids": [ranking.ranking_id for ranking in rankings],
                "labelers": [
                    labelers.setdefault(ranking.labeler, ranking.ranking_id) for ranking in rankings
                ],
                "length_difference": task.length_difference,
            }
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def write_unranked_tasks(session: Session, project_id: str, path: Path) -> None:
    """Write the tasks that people can rank or have ranked, without rankings, for `read_tasks`."""
    with path.open("w", encoding="utf-8") as file:
        for task in iter_labeled_tasks(session, project_id):
            line = _describe(task) | {"rankings": []}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _describe(task: FrozenTask) -> dict[str, Any]:
    return {
        "task_id": task.task_id,
        "prompt_id": task.prompt_id,
        "round_id": task.round_id,
        "messages": task.messages,
        "completions": task.completions,
        "completion_ids": task.completion_ids,
        "finished": task.finished,
    }


def read_tasks(run_dir: Path, name: str = TASKS_FILE) -> "list[RankedTask]":
    """The tasks that `write_tasks` or `write_unranked_tasks` wrote."""
    from app.training.ranked_task import RankedTask

    with (run_dir / name).open(encoding="utf-8") as file:
        return [RankedTask(**json.loads(line)) for line in file]
