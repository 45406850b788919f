"""What came of one ranking: from its revisions to every snapshot, model and round they touched."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import Model, ModelKind, Ranking, Round, Snapshot, SnapshotRanking
from app.preferences.filters import PairFilters
from app.preferences.pair_stream import ranking_sides
from app.preferences.queries import list_rankings_by_id
from app.preferences.revisions import list_revisions
from app.preferences.splits import SplitBy, Splits
from app.preferences.stored_rankings import StoredRanking
from app.registry.lineage import list_models_from, list_rounds_of


@dataclass(frozen=True, kw_only=True)
class Holding:
    """A snapshot that holds a revision of the ranking."""

    snapshot: Snapshot
    ranking: Ranking
    """The revision that it holds."""
    part: str | None
    """The part of the split that it fell into; None where the snapshot has no parts, and of a
    tombstone in a split by labeler, which nobody's name can place any more."""
    pairs: int
    """How many of its pairs the snapshot holds now; a tombstone has none."""


@dataclass(frozen=True, kw_only=True)
class RankingLineage:
    """A ranking with all its revisions, and what they came to."""

    ranking: Ranking
    revisions: list[Ranking]
    """The first first, the ranking itself among them."""
    said: Mapping[str, StoredRanking]
    """What each revision says, by its id."""
    holdings: list[Holding]
    """By snapshot, the oldest first."""
    models: list[Model]
    """Trained on one of those snapshots, or made from such a model at any depth; oldest first."""
    rounds: list[Round]
    """Rounds that one of those models generated for, the newest first."""

    @property
    def reward_models(self) -> list[Model]:
        """Those of the models that judge."""
        return [model for model in self.models if model.kind == ModelKind.REWARD_MODEL]

    @property
    def policies(self) -> list[Model]:
        """The other ones."""
        return [model for model in self.models if model.kind != ModelKind.REWARD_MODEL]


def get_ranking_lineage(session: Session, ranking: Ranking) -> RankingLineage:
    """Everything that rests on the ranking or on another revision of it."""
    revisions = list_revisions(session, ranking)
    stored = list_rankings_by_id(session, [revision.id for revision in revisions])
    said = {one.id: one for one in stored}
    rows = session.execute(
        select(Snapshot, Ranking)
        .join(SnapshotRanking, SnapshotRanking.snapshot_id == Snapshot.id)
        .join(Ranking, Ranking.id == SnapshotRanking.ranking_id)
        .where(SnapshotRanking.ranking_id.in_(said))
        .order_by(Snapshot.id, Ranking.id)
    ).all()
    models = list_models_from(session, {snapshot.id for snapshot, _ in rows})
    return RankingLineage(
        ranking=ranking,
        revisions=revisions,
        said=said,
        holdings=[_describe_holding(snapshot, held, said[held.id]) for snapshot, held in rows],
        models=models,
        rounds=list_rounds_of(session, [model.id for model in models]),
    )


def _describe_holding(snapshot: Snapshot, held: Ranking, said: StoredRanking) -> Holding:
    part = None
    if snapshot.splits is not None:
        splits = Splits.from_json(snapshot.splits)
        if held.erased_at is None or splits.by == SplitBy.PROMPT:
            part = splits.part_of(said.prompt.content_hash, said.labeler)
    pairs = len(ranking_sides(said, PairFilters.from_json(snapshot.filters)))
    return Holding(snapshot=snapshot, ranking=held, part=part, pairs=pairs)
