"""Snapshots: a set of rankings frozen for training or export, and what was made from them."""

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, insert, literal, select
from sqlalchemy.orm import Session

from app.accounts.audit import record
from app.db import Database
from app.errors import Invalid, NotFound
from app.models import (
    Completion,
    Model,
    Prompt,
    Ranking,
    RankingEntry,
    Snapshot,
    SnapshotRanking,
    Task,
    User,
)
from app.preferences.filters import PairFilters, select_rankings, simulated_condition
from app.preferences.formats import (
    FORMAT_VERSION,
    PairFormat,
    PairSchema,
    export_pairs,
)
from app.preferences.queries import count_frozen, iter_frozen_pairs
from app.projects.messages import Message

MAX_NAME_LENGTH = 200
CHUNK_TASKS = 200


def create_snapshot(
    session: Session,
    user: User | None,
    project_id: str,
    *,
    name: str = "",
    filters: PairFilters | None = None,
) -> Snapshot:
    """Freeze the rankings that fit the filters now; admins may call.

    The hash is of the pairs as plain JSONL in their frozen order: the same filters on the same
    rankings give the same hash. Raises Invalid when there is no pair to freeze.
    """
    filters = filters or PairFilters()
    name = " ".join(name.split())
    if len(name) > MAX_NAME_LENGTH or "\x00" in name:
        raise Invalid("The name is too long.", fields={"name": "at most 200 characters"})
    snapshot = Snapshot(
        project_id=project_id,
        name=name,
        filters=filters.as_json(),
        sha256="",
        rankings=0,
        pairs=0,
        prompts=0,
        created_by=user.id if user else None,
    )
    session.add(snapshot)
    session.flush()
    chosen = select_rankings(project_id, filters).with_only_columns(
        literal(snapshot.id), Ranking.id
    )
    session.execute(
        insert(SnapshotRanking).from_select(["snapshot_id", "ranking_id"], chosen),
    )
    counts = count_frozen(session, snapshot.id)
    if not counts.pairs:
        raise Invalid(
            "There is no pair to freeze: no ranking fits the filters, or all of them are ties.",
            code="empty_snapshot",
            fields={"filters": "filters that at least one ranking with a preference fits"},
        )
    snapshot.rankings = counts.rankings
    snapshot.simulated_rankings = counts.simulated_rankings
    snapshot.prompts = counts.prompts
    snapshot.pairs = counts.pairs
    snapshot.identical_pairs = counts.identical
    snapshot.sha256 = _content_hash(session, snapshot.id)
    session.flush()
    record(session, user, "snapshot.create", "snapshot", snapshot.id, pairs=snapshot.pairs)
    return snapshot


def _content_hash(session: Session, snapshot_id: str) -> str:
    content = hashlib.sha256()
    pairs = iter_frozen_pairs(session, snapshot_id)
    for chunk in export_pairs(pairs, PairSchema.PLAIN, PairFormat.JSONL):
        content.update(chunk)
    return content.hexdigest()


def get_snapshot(session: Session, snapshot_id: str) -> Snapshot:
    """The snapshot, or NotFound. Who may see it is a question of its project."""
    snapshot = session.get(Snapshot, snapshot_id)
    if snapshot is None:
        raise NotFound("There is no such snapshot.", code="snapshot_not_found")
    return snapshot


def list_snapshots(
    session: Session, project_id: str, *, before_id: str | None = None, limit: int = 50
) -> list[Snapshot]:
    """The project's snapshots, newest first."""
    snapshots = select(Snapshot).where(Snapshot.project_id == project_id)
    if before_id is not None:
        snapshots = snapshots.where(Snapshot.id < before_id)
    return list(session.scalars(snapshots.order_by(Snapshot.id.desc()).limit(limit)))


def list_snapshot_models(session: Session, snapshot_id: str) -> list[Model]:
    """What was trained from the snapshot: the reward models that name it, and the policies tuned
    against those."""
    reward_models = select(Model.id).where(Model.snapshot_id == snapshot_id)
    return list(
        session.scalars(
            select(Model)
            .where((Model.snapshot_id == snapshot_id) | Model.reward_model_id.in_(reward_models))
            .order_by(Model.created_at, Model.id)
        )
    )


def count_revoked(session: Session, snapshot_id: str) -> int:
    """How many of the snapshot's rankings were revoked since it was frozen."""
    return count_revoked_by_snapshot(session, [snapshot_id]).get(snapshot_id, 0)


def count_revoked_by_snapshot(session: Session, snapshot_ids: Sequence[str]) -> dict[str, int]:
    """How many rankings of each snapshot were revoked since it was frozen; those with any."""
    counted = (
        select(SnapshotRanking.snapshot_id, func.count())
        .join(Ranking, Ranking.id == SnapshotRanking.ranking_id)
        .where(SnapshotRanking.snapshot_id.in_(snapshot_ids), Ranking.revoked_at.is_not(None))
        .group_by(SnapshotRanking.snapshot_id)
    )
    return {row[0]: row[1] for row in session.execute(counted)}


@dataclass(frozen=True, kw_only=True)
class FrozenRanking:
    """One labeler's ranks of a task's completions, in their order; None is unranked."""

    ranking_id: str
    labeler: str
    simulated: bool
    ranks: list[int | None]


@dataclass(frozen=True, kw_only=True)
class RankedTask:
    """One prompt with its completions and every frozen ranking of them: what training reads."""

    task_id: str
    prompt_id: str
    messages: list[Message]
    completions: list[str]
    rankings: list[FrozenRanking]


def iter_ranked_tasks(session: Session, snapshot_id: str) -> Iterator[RankedTask]:
    """The snapshot's tasks with their rankings, in order of task, a few hundred at a time."""
    tasks = (
        select(Task.id, Task.prompt_id, Prompt.messages)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .where(
            Task.id.in_(
                select(Ranking.task_id)
                .join(SnapshotRanking, SnapshotRanking.ranking_id == Ranking.id)
                .where(SnapshotRanking.snapshot_id == snapshot_id)
            )
        )
        .order_by(Task.id)
        .limit(CHUNK_TASKS)
    )
    last = ""
    while rows := session.execute(tasks.where(Task.id > last)).all():
        task_ids = [row.id for row in rows]
        positions, texts = _completions(session, task_ids)
        rankings = _frozen_rankings(session, snapshot_id, positions, texts)
        for row in rows:
            yield RankedTask(
                task_id=row.id,
                prompt_id=row.prompt_id,
                messages=row.messages,
                completions=texts[row.id],
                rankings=rankings[row.id],
            )
        last = task_ids[-1]


def _completions(
    session: Session, task_ids: Sequence[str]
) -> tuple[dict[str, int], dict[str, list[str]]]:
    """The place of each completion in its task, and the texts of each task."""
    positions: dict[str, int] = {}
    texts: dict[str, list[str]] = {task_id: [] for task_id in task_ids}
    for row in session.execute(
        select(Completion.id, Completion.task_id, Completion.text)
        .where(Completion.task_id.in_(task_ids))
        .order_by(Completion.task_id, Completion.position)
    ):
        positions[row.id] = len(texts[row.task_id])
        texts[row.task_id].append(row.text)
    return positions, texts


def _frozen_rankings(
    session: Session,
    snapshot_id: str,
    positions: dict[str, int],
    texts: dict[str, list[str]],
) -> dict[str, list[FrozenRanking]]:
    rankings: dict[str, list[FrozenRanking]] = {task_id: [] for task_id in texts}
    by_id: dict[str, FrozenRanking] = {}
    entries = (
        select(
            Ranking.id,
            Ranking.task_id,
            Ranking.labeler,
            simulated_condition().label("simulated"),
            RankingEntry.completion_id,
            RankingEntry.rank,
        )
        .join(SnapshotRanking, SnapshotRanking.ranking_id == Ranking.id)
        .join(RankingEntry, RankingEntry.ranking_id == Ranking.id)
        .outerjoin(User, User.id == Ranking.user_id)
        .where(SnapshotRanking.snapshot_id == snapshot_id, Ranking.task_id.in_(texts))
        .order_by(Ranking.id)
    )
    for row in session.execute(entries):
        ranking = by_id.get(row.id)
        if ranking is None:
            ranking = FrozenRanking(
                ranking_id=row.id,
                labeler=row.labeler,
                simulated=bool(row.simulated),
                ranks=[None] * len(texts[row.task_id]),
            )
            by_id[row.id] = ranking
            rankings[row.task_id].append(ranking)
        ranking.ranks[positions[row.completion_id]] = row.rank
    return rankings


def snapshot_etag(snapshot: Snapshot, schema: PairSchema, layout: PairFormat) -> str:
    """The same for the same bytes."""
    version = f"{FORMAT_VERSION}"
    if layout == PairFormat.PARQUET:
        import pyarrow

        version += f"-{pyarrow.__version__}"
    return f'"{snapshot.sha256[:32]}-{schema}-{layout}-{version}"'


def snapshot_file(
    database: Database,
    snapshot: Snapshot,
    schema: PairSchema,
    layout: PairFormat,
    exports_dir: Path,
) -> Path:
    """The snapshot's pairs as a file, written once and then kept, so that ranges of it can be sent.

    The folder is a cache: whatever is deleted from it is written again, with the same bytes.
    """
    name = snapshot_etag(snapshot, schema, layout).strip('"')
    path = exports_dir / f"{snapshot.id}-{name}.{layout}"
    if path.exists():
        return path
    exports_dir.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=exports_dir, suffix=".partial")
    try:
        with os.fdopen(handle, "wb") as file, database.read() as session:
            for chunk in export_pairs(iter_frozen_pairs(session, snapshot.id), schema, layout):
                file.write(chunk)
        Path(partial).replace(path)
    finally:
        Path(partial).unlink(missing_ok=True)
    return path
