"""Snapshots: a set of rankings frozen for training or export, and what was made from them."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from app.accounts.audit import record
from app.db import Database
from app.errors import Conflict, Invalid, NotFound
from app.models import (
    Model,
    Ranking,
    Snapshot,
    SnapshotRanking,
    User,
)
from app.preferences.filters import PairFilters
from app.preferences.formats import PairFormat, PairSchema, export_pairs
from app.preferences.pair_stream import PairStream, Sides
from app.preferences.queries import iter_rankings
from app.preferences.splits import SplitBy, SplitPlan, Splits, cut
from app.preferences.stored_rankings import StoredRanking

MAX_NAME_LENGTH = 200
MAX_LICENCE_LENGTH = 100
CHUNK_RANKINGS = 500


@dataclass(frozen=True, kw_only=True)
class SnapshotDraft:
    """What a snapshot would hold, measured in one consistent state of the database."""

    project_id: str
    filters: PairFilters
    ranking_ids: list[str]
    sha256: str
    simulated_rankings: int
    pairs: int
    identical_pairs: int
    prompts: int
    labelers: int
    guidelines_versions: dict[str, int]
    splits: Splits | None


def draft_snapshot(
    session: Session,
    project_id: str,
    filters: PairFilters | None = None,
    plan: SplitPlan | None = None,
) -> SnapshotDraft:
    """Read, count and hash what fits the filters; changes nothing.

    The hash is of the pairs as plain JSONL in their frozen order: the same filters on the same
    rankings give the same hash. Raises Invalid when there is no pair to freeze, or fewer prompts
    than parts to split them into.
    """
    filters = filters or PairFilters()
    if plan is not None:
        plan.check()
    tally = _Tally(iter_rankings(session, project_id, filters), filters, plan)
    content = hashlib.sha256()
    for chunk in export_pairs(tally, PairSchema.PLAIN, PairFormat.JSONL):
        content.update(chunk)
    if not tally.pair_count:
        raise Invalid(
            "There is no pair to freeze: no ranking fits the filters, or all of them are ties.",
            code="empty_snapshot",
            fields={"filters": "filters that at least one ranking with a preference fits"},
        )
    return SnapshotDraft(
        project_id=project_id,
        filters=filters,
        ranking_ids=tally.ranking_ids,
        sha256=content.hexdigest(),
        simulated_rankings=tally.simulated,
        pairs=tally.pair_count,
        identical_pairs=tally.identical,
        prompts=len(tally.prompts),
        labelers=len(tally.labelers),
        guidelines_versions=dict(sorted(tally.versions.items())),
        splits=cut(plan, tally.groups) if plan else None,
    )


class _Tally(PairStream):
    """The pairs of rankings, counted while they go by."""

    def __init__(
        self, rankings: Iterator[StoredRanking], filters: PairFilters, plan: SplitPlan | None
    ) -> None:
        super().__init__(rankings, filters, include_identical=True)
        self.only_with_pairs = filters.selects_pairs
        self.by_labeler = plan is not None and plan.by == SplitBy.LABELER
        self.ranking_ids: list[str] = []
        self.prompts: set[str] = set()
        self.labelers: set[str] = set()
        self.versions: dict[str, int] = {}
        self.groups: dict[str, tuple[int, int]] = {}
        self.simulated = self.pair_count = self.identical = 0

    def by_ranking(self) -> Iterator[tuple[StoredRanking, list[Sides]]]:
        """Each ranking with its pairs of two different texts."""
        for ranking, found in super().by_ranking():
            different = [sides for sides in found if sides[0].text != sides[1].text]
            if self.only_with_pairs and not found:
                continue
            self._count(ranking, len(different), len(found) - len(different))
            yield ranking, different

    def _count(self, ranking: StoredRanking, pairs: int, identical: int) -> None:
        self.ranking_ids.append(ranking.id)
        self.prompts.add(ranking.prompt.id)
        self.labelers.add(ranking.labeler)
        version = str(ranking.guidelines_version)
        self.versions[version] = self.versions.get(version, 0) + 1
        self.simulated += ranking.simulated
        self.pair_count += pairs
        self.identical += identical
        group = ranking.labeler if self.by_labeler else ranking.prompt.content_hash
        rankings_before, pairs_before = self.groups.get(group, (0, 0))
        self.groups[group] = (rankings_before + 1, pairs_before + pairs)


def store_snapshot(
    session: Session,
    user: User | None,
    draft: SnapshotDraft,
    *,
    name: str = "",
    licence: str = "",
) -> Snapshot:
    """Write the snapshot that was drafted; admins may call.

    Rankings are never changed, so that what was measured before this transaction is what is
    frozen. Conflict where one was erased or deleted in between.
    """
    snapshot = Snapshot(
        project_id=draft.project_id,
        name=checked_line(name, "name", MAX_NAME_LENGTH),
        licence=checked_line(licence, "licence", MAX_LICENCE_LENGTH),
        filters=draft.filters.as_json(),
        sha256=draft.sha256,
        rankings=len(draft.ranking_ids),
        simulated_rankings=draft.simulated_rankings,
        pairs=draft.pairs,
        identical_pairs=draft.identical_pairs,
        prompts=draft.prompts,
        labelers=draft.labelers,
        guidelines_versions=draft.guidelines_versions,
        splits=draft.splits.as_json() if draft.splits else None,
        created_by=user.id if user else None,
    )
    session.add(snapshot)
    session.flush()
    for start in range(0, len(draft.ranking_ids), CHUNK_RANKINGS):
        ids = draft.ranking_ids[start : start + CHUNK_RANKINGS]
        # Locked, so that nobody erases one of them before the snapshot says that it holds it.
        alive = session.scalars(
            select(Ranking.id)
            .where(Ranking.id.in_(ids), Ranking.erased_at.is_(None))
            .with_for_update(read=True)
        ).all()
        if len(alive) != len(ids):
            raise Conflict(
                "Some of these rankings were erased meanwhile. Freeze them again.",
                code="rankings_erased",
            )
        rows = [{"snapshot_id": snapshot.id, "ranking_id": ranking_id} for ranking_id in ids]
        session.connection().execute(insert(SnapshotRanking), rows)
    record(session, user, "snapshot.create", "snapshot", snapshot.id, pairs=snapshot.pairs)
    return snapshot


def create_snapshot(
    session: Session,
    user: User | None,
    project_id: str,
    *,
    name: str = "",
    filters: PairFilters | None = None,
    plan: SplitPlan | None = None,
    licence: str = "",
) -> Snapshot:
    """Draft and store a snapshot in the session's one transaction; admins may call."""
    draft = draft_snapshot(session, project_id, filters, plan)
    return store_snapshot(session, user, draft, name=name, licence=licence)


def freeze(
    database: Database,
    user: User | None,
    project_id: str,
    *,
    name: str = "",
    filters: PairFilters | None = None,
    plan: SplitPlan | None = None,
    licence: str = "",
) -> Snapshot:
    """As `create_snapshot`, reading in one transaction and writing in another: however much there
    is to hash, nobody waits for the writer meanwhile."""
    checked_line(name, "name", MAX_NAME_LENGTH)
    checked_line(licence, "licence", MAX_LICENCE_LENGTH)
    with database.read() as session:
        draft = draft_snapshot(session, project_id, filters, plan)
    with database.write() as session:
        return store_snapshot(session, user, draft, name=name, licence=licence)


def checked_line(text: str, field: str, limit: int) -> str:
    """The text on one line; Invalid where it is too long."""
    line = " ".join(text.split())
    if len(line) > limit or "\x00" in line:
        raise Invalid(f"The {field} is too long.", fields={field: f"at most {limit} characters"})
    return line


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
