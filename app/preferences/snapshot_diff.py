"""What two snapshots of a project have in common, what only one of them holds, and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, String, and_, case, exists, func, literal, select
from sqlalchemy.orm import Session, aliased

from app.errors import Invalid
from app.models import Completion, Prompt, Ranking, RankingEntry, Snapshot, SnapshotRanking, Task
from app.preferences.filters import PairFilters
from app.preferences.revisions import is_revision_of

EXAMPLES = 5
EXCERPT_LENGTH = 300


class Reason(StrEnum):
    """Why a ranking is in one snapshot and not in the other."""

    ERASED = "erased"
    """Its labeler's data had to go: a tombstone is all that is left."""
    SUPERSEDED = "superseded"
    """The other snapshot holds a later revision of it."""
    REVISED = "revised"
    """It is the later revision of a ranking that the other snapshot holds."""
    REVOKED = "revoked"
    """It was revoked since."""
    NEWER = "newer"
    """It was made, or imported, after the other snapshot."""
    LEFT_OUT = "left_out"
    """The filters of the other snapshot do not take it, or it did not count when that was made."""


@dataclass(frozen=True, kw_only=True)
class DiffExample:
    """A ranking that only one snapshot holds."""

    ranking_id: str
    labeler: str
    revision: int
    reason: Reason
    prompt: str
    """The beginning of what was asked last."""
    counterpart_id: str | None
    """The later revision of it in the other snapshot, or the earlier one; None where neither is."""


@dataclass(frozen=True, kw_only=True)
class OneSided:
    """What one snapshot holds and the other does not."""

    rankings: int
    pairs: int
    reasons: dict[Reason, int]
    """How many of the rankings for each reason there is one."""
    examples: dict[Reason, list[DiffExample]]
    labelers: list[str]
    """Who is in this snapshot alone, by name; pseudonyms of erased labelers left out."""
    prompts: int
    """Those that are in no ranking of the other."""


@dataclass(frozen=True, kw_only=True)
class InBoth:
    """What both snapshots hold."""

    rankings: int
    pairs: int


@dataclass(frozen=True, kw_only=True)
class FilterDifference:
    """A filter that the two snapshots were not made with alike; None is a filter not set."""

    name: str
    first: Any
    second: Any


@dataclass(frozen=True, kw_only=True)
class SnapshotDiff:
    """Two snapshots of one project, compared."""

    first: Snapshot
    second: Snapshot
    only_first: OneSided
    only_second: OneSided
    common: InBoth
    filters: list[FilterDifference]

    @property
    def same_content(self) -> bool:
        """Whether the two held the same pairs on the day they were made."""
        return self.first.sha256 == self.second.sha256


def diff_snapshots(session: Session, first: Snapshot, second: Snapshot) -> SnapshotDiff:
    """Compare two snapshots of one project.

    Counts are of what the two hold now: pairs of rankings that were erased since are in neither.
    Rankings that both hold give other pairs where the two select pairs by other lengths.

    Raises:
        Invalid: they are of two projects.
    """
    if first.project_id != second.project_id:
        raise Invalid(
            "Only snapshots of one project can be compared.",
            code="other_project",
            fields={"against": "the id of another snapshot of the same project"},
        )
    common_rankings = session.scalar(
        select(func.count()).where(
            SnapshotRanking.snapshot_id == first.id, _holds(second.id, SnapshotRanking.ranking_id)
        )
    )
    common_pairs = _count_pairs(session, first, second)
    return SnapshotDiff(
        first=first,
        second=second,
        only_first=_one_sided(session, first, second, common_pairs),
        only_second=_one_sided(session, second, first, common_pairs),
        common=InBoth(rankings=common_rankings or 0, pairs=common_pairs),
        filters=_filter_differences(first, second),
    )


def _holds(snapshot_id: str, ranking_id: Any) -> ColumnElement[bool]:
    held = aliased(SnapshotRanking)
    return exists().where(held.snapshot_id == snapshot_id, held.ranking_id == ranking_id)


def _one_sided(
    session: Session, snapshot: Snapshot, other: Snapshot, common_pairs: int
) -> OneSided:
    alone = _rankings_alone(snapshot, other).subquery()
    counted = session.execute(
        select(alone.c.reason, func.count()).group_by(alone.c.reason).order_by(alone.c.reason)
    )
    reasons = {Reason(reason): count for reason, count in counted}
    pairs = _count_pairs(session, snapshot) if snapshot.erased_rankings else snapshot.pairs
    gone_prompts = _prompts(snapshot).except_(_prompts(other)).subquery()
    return OneSided(
        rankings=sum(reasons.values()),
        pairs=pairs - common_pairs,
        reasons={reason: reasons[reason] for reason in Reason if reason in reasons},
        examples={
            reason: _examples(session, snapshot, other, reason)
            for reason in Reason
            if reason in reasons
        },
        labelers=sorted(_labelers(session, snapshot) - _labelers(session, other)),
        prompts=session.scalar(select(func.count()).select_from(gone_prompts)) or 0,
    )


def _rankings_alone(snapshot: Snapshot, other: Snapshot) -> Select[Any]:
    """Ids of the rankings that only `snapshot` holds, with the reason and the other revision."""
    revision = aliased(Ranking)
    held = aliased(SnapshotRanking)
    counterparts = (
        select(revision.id)
        .join(held, held.ranking_id == revision.id)
        .where(held.snapshot_id == other.id, is_revision_of(revision, Ranking))
        .correlate(Ranking)
    )
    later = counterparts.where(revision.revision > Ranking.revision)
    earlier = counterparts.where(revision.revision < Ranking.revision)
    reason = case(
        (Ranking.erased_at.is_not(None), literal(Reason.ERASED.value, String)),
        (later.exists(), Reason.SUPERSEDED.value),
        (earlier.exists(), Reason.REVISED.value),
        (Ranking.revoked_at.is_not(None), Reason.REVOKED.value),
        # Ids are made in the order of time; an import may bring a time long past.
        (Ranking.id > other.id, Reason.NEWER.value),
        else_=Reason.LEFT_OUT.value,
    )
    return (
        select(
            Ranking.id,
            reason.label("reason"),
            counterparts.order_by(revision.revision.desc()).limit(1).scalar_subquery().label("to"),
        )
        .join(SnapshotRanking, SnapshotRanking.ranking_id == Ranking.id)
        .where(SnapshotRanking.snapshot_id == snapshot.id, ~_holds(other.id, Ranking.id))
    )


def _examples(
    session: Session, snapshot: Snapshot, other: Snapshot, reason: Reason
) -> list[DiffExample]:
    alone = _rankings_alone(snapshot, other).subquery()
    rows = session.execute(
        select(Ranking.id, Ranking.labeler, Ranking.revision, Prompt.messages, alone.c.to)
        .join(alone, alone.c.id == Ranking.id)
        .join(Task, Task.id == Ranking.task_id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .where(alone.c.reason == reason.value)
        .order_by(Ranking.id)
        .limit(EXAMPLES)
    )
    return [
        DiffExample(
            ranking_id=row.id,
            labeler=row.labeler,
            revision=row.revision,
            reason=reason,
            prompt=_excerpt(row.messages),
            counterpart_id=row.to if reason in (Reason.SUPERSEDED, Reason.REVISED) else None,
        )
        for row in rows
    ]


def _excerpt(messages: Sequence[dict[str, str]]) -> str:
    return " ".join(messages[-1]["content"][:EXCERPT_LENGTH].split())


def _count_pairs(session: Session, snapshot: Snapshot, other: Snapshot | None = None) -> int:
    """Pairs of different texts that the snapshot holds; with another, those that both hold."""
    better, worse = aliased(RankingEntry), aliased(RankingEntry)
    chosen, rejected = aliased(Completion), aliased(Completion)
    length = func.length(chosen.text) - func.length(rejected.text)
    pairs = (
        select(func.count())
        .select_from(SnapshotRanking)
        .join(better, better.ranking_id == SnapshotRanking.ranking_id)
        .join(worse, and_(worse.ranking_id == better.ranking_id, better.rank < worse.rank))
        .join(chosen, chosen.id == better.completion_id)
        .join(rejected, rejected.id == worse.completion_id)
        .where(SnapshotRanking.snapshot_id == snapshot.id, chosen.text != rejected.text)
    )
    if other is not None:
        pairs = pairs.where(_holds(other.id, SnapshotRanking.ranking_id))
    for one in (snapshot, other) if other is not None else (snapshot,):
        filters = PairFilters.from_json(one.filters)
        if filters.min_length_difference is not None:
            pairs = pairs.where(length >= filters.min_length_difference)
        if filters.max_length_difference is not None:
            pairs = pairs.where(length <= filters.max_length_difference)
    return session.scalar(pairs) or 0


def _prompts(snapshot: Snapshot) -> Select[str]:
    return (
        select(Task.prompt_id)
        .join(Ranking, Ranking.task_id == Task.id)
        .join(SnapshotRanking, SnapshotRanking.ranking_id == Ranking.id)
        .where(SnapshotRanking.snapshot_id == snapshot.id)
    )


def _labelers(session: Session, snapshot: Snapshot) -> set[str]:
    return set(
        session.scalars(
            select(Ranking.labeler)
            .join(SnapshotRanking, SnapshotRanking.ranking_id == Ranking.id)
            .where(SnapshotRanking.snapshot_id == snapshot.id, Ranking.erased_at.is_(None))
            .distinct()
        )
    )


def _filter_differences(first: Snapshot, second: Snapshot) -> list[FilterDifference]:
    names = sorted(first.filters.keys() | second.filters.keys())
    return [
        FilterDifference(name=name, first=first.filters.get(name), second=second.filters.get(name))
        for name in names
        if first.filters.get(name) != second.filters.get(name)
    ]
