"""Which rankings an export, a page or a snapshot is about."""

from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any, Self

from sqlalchemy import ColumnElement, Select, and_, exists, or_, select

from app.errors import Invalid
from app.models import Completion, Ranking, RankingSource, SnapshotRanking, Task, User


@dataclass(frozen=True, kw_only=True)
class PairFilters:
    """Filters select whole rankings, so that the pairs of a ranking stay together.

    Revoked and superseded rankings are never among them.
    """

    round_id: str | None = None
    labeler: str | None = None
    """The handle, or the labeler's name as an import gave it."""
    model: str | None = None
    """Rankings of tasks for which this model, by id or imported name, wrote a completion."""
    simulated: bool | None = None
    """False leaves simulated labelers out, True takes nothing else."""
    repeats: bool = True
    """False leaves out what the same labeler ranked again."""
    purpose: str | None = None
    """Rankings of tasks that are `ordinary`, `calibration` or `gold` now."""
    created_after: datetime | None = None
    created_before: datetime | None = None

    def as_json(self) -> dict[str, Any]:
        """The filters that are set, as a snapshot stores them."""
        defaults = PairFilters()
        values = asdict(self)
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in values.items()
            if value != getattr(defaults, name)
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """What `as_json` gave; Invalid names a filter that there is not."""
        known = {item.name for item in fields(cls)}
        unknown = sorted(values.keys() - known)
        if unknown:
            raise Invalid(
                f"There is no filter {', '.join(unknown)}.",
                fields={name: f"one of {', '.join(sorted(known))}" for name in unknown},
            )
        values = dict(values)
        for name in ("created_after", "created_before"):
            if isinstance(values.get(name), str):
                moment = datetime.fromisoformat(values[name])
                values[name] = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return cls(**values)


def simulated_condition() -> ColumnElement[bool]:
    """Whether a ranking was made by a rule and not by a person; needs `User` joined outer."""
    return or_(Ranking.source == RankingSource.SIMULATED, User.simulation_rule.is_not(None))


def select_rankings(
    project_id: str, filters: PairFilters, *, include_revoked: bool = False
) -> Select[str]:
    """Ids of the rankings that count and fit the filters, not yet ordered.

    The revoked ones, which do not count, come with them only to be listed or counted as such.
    """
    rankings = (
        select(Ranking.id)
        .outerjoin(User, User.id == Ranking.user_id)
        .where(Ranking.project_id == project_id, Ranking.current)
    )
    if not include_revoked:
        rankings = rankings.where(Ranking.revoked_at.is_(None))
    if filters.round_id is not None or filters.purpose is not None:
        rankings = rankings.join(Task, Task.id == Ranking.task_id)
    if filters.round_id is not None:
        rankings = rankings.where(Task.round_id == filters.round_id)
    if filters.purpose is not None:
        rankings = rankings.where(Task.purpose == filters.purpose)
    if filters.labeler is not None:
        rankings = rankings.where(Ranking.labeler == filters.labeler)
    if filters.model is not None:
        written = exists().where(
            and_(
                Completion.task_id == Ranking.task_id,
                or_(Completion.model_id == filters.model, Completion.model_label == filters.model),
            )
        )
        rankings = rankings.where(written)
    if filters.simulated is not None:
        condition = simulated_condition()
        rankings = rankings.where(condition if filters.simulated else ~condition)
    if not filters.repeats:
        rankings = rankings.where(~Ranking.is_repeat)
    if filters.created_after is not None:
        rankings = rankings.where(Ranking.created_at >= filters.created_after)
    if filters.created_before is not None:
        rankings = rankings.where(Ranking.created_at < filters.created_before)
    return rankings


def select_frozen(snapshot_id: str) -> Select[str]:
    """Ids of the rankings that a snapshot holds, whatever became of them since."""
    return (
        select(Ranking.id)
        .outerjoin(User, User.id == Ranking.user_id)
        .join(SnapshotRanking, SnapshotRanking.ranking_id == Ranking.id)
        .where(SnapshotRanking.snapshot_id == snapshot_id)
    )
