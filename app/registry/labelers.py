"""Who taught a model: the labelers whose rankings are in any snapshot behind it."""

from collections import OrderedDict, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

from sqlalchemy import ColumnElement, Select, Subquery, and_, case, func, or_, select, true
from sqlalchemy.orm import Session, aliased

from app.models import (
    Completion,
    Model,
    Project,
    Ranking,
    RankingEntry,
    Round,
    Snapshot,
    SnapshotRanking,
    Task,
    User,
)
from app.preferences.filters import PairFilters, simulated_condition
from app.registry.lineage import list_snapshots_behind

COUNTS_REMEMBERED = 8
"""Sets of snapshots whose pairs this process remembers; each has a number for every labeler."""

PairsByLabeler = Mapping[tuple[str, str], int]
"""By project id and labeler."""
_counted: OrderedDict[tuple[tuple[str, int], ...], PairsByLabeler] = OrderedDict()
_lock = Lock()


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """What one labeler of one project contributed to the snapshots behind a model."""

    project: Project
    labeler: str
    """The handle, or the labeler's name as an import gave it."""
    user_id: str | None
    """The account; None where imports alone name them."""
    simulated: bool
    rankings: int
    """Each once, however many of the snapshots hold it."""
    pairs: int
    revoked: int
    """Rankings among them that were revoked since; the model still rests on them."""
    rounds: list[Round]
    guidelines_versions: dict[int, int]
    """How many of the rankings were made under each version of the project's guidelines."""


@dataclass(frozen=True, kw_only=True)
class ErasedTeaching:
    """Rankings behind a model whose labelers' data had to go: tombstones, without any name."""

    rankings: int
    simulated_rankings: int
    """Those of them that the app's simulated labelers made."""
    rounds: list[Round]
    guidelines_versions: dict[int, int]


@dataclass(frozen=True, kw_only=True)
class ModelLabelers:
    """Everything that people and rules taught a model, at any depth."""

    snapshots: list[Snapshot]
    """The snapshots behind the model, the oldest first."""
    labelers: list[Teacher]
    """Who contributed most comes first."""
    erased: ErasedTeaching | None
    """What tombstones still tell; None where there is none."""
    rankings: int
    """Of all labelers, the erased ones left out."""
    pairs: int
    simulated_rankings: int
    revoked: int

    @property
    def simulated_share(self) -> float | None:
        """Share of the rankings that simulated labelers made; None where there are none."""
        return self.simulated_rankings / self.rankings if self.rankings else None

    @property
    def projects(self) -> int:
        """How many projects the labelers worked in."""
        return len({one.project.id for one in self.labelers})


def get_model_labelers(session: Session, model: Model) -> ModelLabelers:
    """Who is behind the model, counted by the database: no ranking is read one by one.

    Pairs are those that the snapshots still hold, each once. They are counted once for the same
    snapshots and then remembered until some of their rankings are erased.
    """
    snapshots = list_snapshots_behind(session, model)
    if not snapshots:
        return _sum_up([], [], None)
    rows = session.execute(_count_rankings(_held(snapshots))).all()
    rounds = _by_id(session, Round, {row.round_id for row in rows})
    projects = _by_id(session, Project, {row.project_id for row in rows})
    pairs = _remember_pairs(session, snapshots)
    known: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for row in rows:
        if not row.is_erased:
            known[row.project_id, row.labeler].append(row)
    labelers = [
        Teacher(
            project=projects[project_id],
            labeler=labeler,
            user_id=next((row.user_id for row in own if row.user_id), None),
            simulated=any(row.simulated for row in own),
            rankings=sum(row.rankings for row in own),
            pairs=pairs.get((project_id, labeler), 0),
            revoked=sum(row.revoked for row in own),
            rounds=_rounds_in(own, rounds),
            guidelines_versions=_versions_in(own),
        )
        for (project_id, labeler), own in known.items()
    ]
    erased = [row for row in rows if row.is_erased]
    gone = ErasedTeaching(
        rankings=sum(row.rankings for row in erased),
        simulated_rankings=sum(row.rankings for row in erased if row.simulated),
        rounds=_rounds_in(erased, rounds),
        guidelines_versions=_versions_in(erased),
    )
    return _sum_up(snapshots, labelers, gone if erased else None)


def _sum_up(
    snapshots: list[Snapshot], labelers: list[Teacher], erased: ErasedTeaching | None
) -> ModelLabelers:
    return ModelLabelers(
        snapshots=snapshots,
        labelers=sorted(labelers, key=lambda one: (-one.rankings, one.labeler, one.project.id)),
        erased=erased,
        rankings=sum(one.rankings for one in labelers),
        pairs=sum(one.pairs for one in labelers),
        simulated_rankings=sum(one.rankings for one in labelers if one.simulated),
        revoked=sum(one.revoked for one in labelers),
    )


def _rounds_in(rows: Sequence[Any], rounds: Mapping[str, Round]) -> list[Round]:
    found = {row.round_id: rounds[row.round_id] for row in rows}
    return sorted(found.values(), key=lambda round_: (round_.project_id, round_.number))


def _versions_in(rows: Sequence[Any]) -> dict[int, int]:
    versions: dict[int, int] = defaultdict(int)
    for row in rows:
        versions[row.guidelines_version] += row.rankings
    return dict(sorted(versions.items()))


def _by_id(session: Session, entity: Any, ids: set[str]) -> dict[str, Any]:
    return {one.id: one for one in session.scalars(select(entity).where(entity.id.in_(ids)))}


def _held(snapshots: Sequence[Snapshot]) -> Select[str]:
    """Ids of the rankings that any of the snapshots holds, each once."""
    held = select(SnapshotRanking.ranking_id).where(
        SnapshotRanking.snapshot_id.in_([snapshot.id for snapshot in snapshots])
    )
    return held if len(snapshots) == 1 else held.distinct()


def _count_rankings(held: Select[str]) -> Select[*tuple[Any, ...]]:
    """How many there are of each labeler, round and version of guidelines."""
    chosen = held.subquery()
    is_erased = Ranking.erased_at.is_not(None)
    groups = (
        Ranking.project_id,
        Ranking.labeler,
        Ranking.user_id,
        simulated_condition().label("simulated"),
        is_erased.label("is_erased"),
        Task.round_id,
        Ranking.guidelines_version,
    )
    return (
        select(
            *groups,
            func.count().label("rankings"),
            func.count(Ranking.revoked_at).label("revoked"),
        )
        .select_from(chosen)
        .join(Ranking, Ranking.id == chosen.c.ranking_id)
        .join(Task, Task.id == Ranking.task_id)
        .outerjoin(User, User.id == Ranking.user_id)
        .group_by(*groups)
    )


def _remember_pairs(session: Session, snapshots: Sequence[Snapshot]) -> PairsByLabeler:
    key = tuple((snapshot.id, snapshot.erased_rankings) for snapshot in snapshots)
    with _lock:
        if key in _counted:
            _counted.move_to_end(key)
            return _counted[key]
    rows = session.execute(_count_pairs(snapshots))
    pairs = {(row.project_id, row.labeler): row.pairs for row in rows}
    with _lock:
        _counted[key] = pairs
        while len(_counted) > COUNTS_REMEMBERED:
            _counted.popitem(last=False)
    return pairs


def _count_pairs(snapshots: Sequence[Snapshot]) -> Select[*tuple[Any, ...]]:
    """The pairs of each labeler that some snapshot holds.

    Texts are looked at only where they matter, which takes twice the time: where the filters of a
    snapshot go by their length, or some of its pairs had two identical ones.
    """
    filters = [PairFilters.from_json(snapshot.filters) for snapshot in snapshots]
    by_length = any(one.selects_pairs for one in filters)
    if not by_length and not any(snapshot.identical_pairs for snapshot in snapshots):
        return _pairs_of(_held(snapshots).subquery())[0]
    held = _held_by(snapshots, filters).subquery()
    pairs, better, worse = _pairs_of(held)
    chosen, rejected = aliased(Completion), aliased(Completion)
    length = func.length(chosen.text) - func.length(rejected.text)
    takes = [
        and_(held.c[name] == 1, _takes(length, *bounds))
        for name, bounds in zip(_names(filters), _bounds(filters), strict=True)
    ]
    return (
        pairs.join(chosen, chosen.id == better.completion_id)
        .join(rejected, rejected.id == worse.completion_id)
        .where(chosen.text != rejected.text, or_(*takes))
    )


def _pairs_of(
    held: Subquery,
) -> tuple[Select[*tuple[Any, ...]], type[RankingEntry], type[RankingEntry]]:
    """Preferred-first pairs by project and labeler, with the two entries of each."""
    better, worse = aliased(RankingEntry), aliased(RankingEntry)
    pairs = (
        select(Ranking.project_id, Ranking.labeler, func.count().label("pairs"))
        .select_from(held)
        .join(Ranking, Ranking.id == held.c.ranking_id)
        .join(better, better.ranking_id == held.c.ranking_id)
        .join(worse, and_(worse.ranking_id == held.c.ranking_id, better.rank < worse.rank))
        .group_by(Ranking.project_id, Ranking.labeler)
    )
    return pairs, better, worse


Bounds = tuple[int | None, int | None]


def _bounds(filters: Sequence[PairFilters]) -> list[Bounds]:
    """The lengths by which the snapshots choose among pairs, each once."""
    return list(
        dict.fromkeys((one.min_length_difference, one.max_length_difference) for one in filters)
    )


def _names(filters: Sequence[PairFilters]) -> list[str]:
    return [f"takes_{place}" for place in range(len(_bounds(filters)))]


def _held_by(
    snapshots: Sequence[Snapshot], filters: Sequence[PairFilters]
) -> Select[*tuple[Any, ...]]:
    """Each ranking once, with whether a snapshot of these lengths holds it, for each of them."""
    columns = []
    for name, bounds in zip(_names(filters), _bounds(filters), strict=True):
        ids = [
            snapshot.id
            for snapshot, one in zip(snapshots, filters, strict=True)
            if (one.min_length_difference, one.max_length_difference) == bounds
        ]
        holds = case((SnapshotRanking.snapshot_id.in_(ids), 1), else_=0)
        columns.append(func.max(holds).label(name))
    return (
        select(SnapshotRanking.ranking_id, *columns)
        .where(SnapshotRanking.snapshot_id.in_([snapshot.id for snapshot in snapshots]))
        .group_by(SnapshotRanking.ranking_id)
    )


def _takes(length: Any, least: int | None, most: int | None) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool]] = [true()]
    if least is not None:
        conditions.append(length >= least)
    if most is not None:
        conditions.append(length <= most)
    return and_(*conditions)
