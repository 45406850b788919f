"""Which rankings, and which of their pairs, an export, a page or a snapshot is about."""

from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self

from sqlalchemy import ColumnElement, Select, and_, exists, or_, select

from app.errors import Invalid
from app.models import (
    Completion,
    Prompt,
    Ranking,
    RankingEntry,
    RankingSource,
    Round,
    SnapshotRanking,
    Task,
    User,
)
from app.preferences.task_agreement import select_agreed_tasks
from app.projects.tags import has_metadata, has_tag, holds_text, parse_metadata_filter


class AbRounds(StrEnum):
    """Whether rankings of A/B rounds, which judge a policy, are taken."""

    INCLUDE = "include"
    EXCLUDE = "exclude"
    ONLY = "only"


@dataclass(frozen=True, kw_only=True)
class PairFilters:
    """Filters select whole rankings, so that the pairs of a ranking stay together; the two of
    length select among the pairs of those.

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
    ab_rounds: AbRounds = AbRounds.INCLUDE
    """What judged a policy is left out of what the next one learns from: see `for_training`. A
    round that is named is taken whatever it is for."""
    created_after: datetime | None = None
    created_before: datetime | None = None
    tag: str | None = None
    """Rankings of prompts that carry this tag."""
    metadata: str | None = None
    """Rankings of prompts whose metadata has this value under this key, as `key=value`."""
    flag: str | None = None
    """Rankings in which some completion carries this flag."""
    without_flag: str | None = None
    """Rankings in which no completion carries this flag."""
    min_agreement: float | None = None
    """Rankings of tasks whose labelers agree on at least this share of completion pairs, 0 to 1.
    Tasks that fewer than two labelers ranked have no agreement and are left out."""
    max_agreement: float | None = None
    """The same, at most."""
    min_length_difference: int | None = None
    """Pairs whose chosen text is at least so many characters longer than the rejected one;
    negative where it is shorter."""
    max_length_difference: int | None = None
    """The same, at most: -1 leaves the pairs won by the shorter text."""

    @classmethod
    def for_training(cls) -> Self:
        """What a model learns from where nobody chose: everything but the rankings of A/B rounds.

        A reward model that has learnt from them would judge the next policy by its own exam.
        """
        return cls(ab_rounds=AbRounds.EXCLUDE)

    @property
    def selects_pairs(self) -> bool:
        """Whether some pairs of a ranking may be taken and others not."""
        return self.min_length_difference is not None or self.max_length_difference is not None

    def takes_pair(self, chosen: str, rejected: str) -> bool:
        """Whether a pair of these two texts is one of those asked for."""
        difference = len(chosen) - len(rejected)
        least, most = self.min_length_difference, self.max_length_difference
        return (least is None or difference >= least) and (most is None or difference <= most)

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
        if "ab_rounds" in values:
            values["ab_rounds"] = AbRounds(values["ab_rounds"])
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
    by_round = filters.ab_rounds != AbRounds.INCLUDE and filters.round_id is None
    of_task = (filters.round_id, filters.purpose, filters.tag, filters.metadata)
    if by_round or any(value is not None for value in of_task):
        rankings = rankings.join(Task, Task.id == Ranking.task_id)
    if by_round:
        judges = Task.round_id.in_(
            select(Round.id).where(Round.project_id == project_id, Round.candidate_id.is_not(None))
        )
        rankings = rankings.where(judges if filters.ab_rounds == AbRounds.ONLY else ~judges)
    if filters.tag is not None or filters.metadata is not None:
        rankings = rankings.join(Prompt, Prompt.id == Task.prompt_id)
    if filters.tag is not None:
        rankings = rankings.where(has_tag(filters.tag))
    if filters.metadata is not None:
        rankings = rankings.where(has_metadata(*parse_metadata_filter(filters.metadata)))
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
    if filters.flag is not None:
        rankings = rankings.where(_carries(filters.flag))
    if filters.without_flag is not None:
        rankings = rankings.where(~_carries(filters.without_flag))
    if filters.min_agreement is not None or filters.max_agreement is not None:
        agreed = select_agreed_tasks(project_id, filters.min_agreement, filters.max_agreement)
        rankings = rankings.where(Ranking.task_id.in_(agreed))
    return rankings


def _carries(flag: str) -> ColumnElement[bool]:
    """Whether some completion of the ranking carries the flag."""
    return exists().where(
        RankingEntry.ranking_id == Ranking.id, holds_text(RankingEntry.flags, flag)
    )


def select_frozen(snapshot_id: str) -> Select[str]:
    """Ids of the rankings that a snapshot holds, whatever became of them since; of those that were
    erased there is nothing to read."""
    return (
        select(Ranking.id)
        .outerjoin(User, User.id == Ranking.user_id)
        .join(SnapshotRanking, SnapshotRanking.ranking_id == Ranking.id)
        .where(SnapshotRanking.snapshot_id == snapshot_id, Ranking.erased_at.is_(None))
    )
