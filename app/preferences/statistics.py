"""What the pairs behind a set of filters look like: when they were made, who won them, how long
their texts are, and which ranks were given. The database adds up; memory stays flat."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise
from math import sqrt
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Date,
    Select,
    Subquery,
    and_,
    case,
    cast,
    func,
    literal,
    select,
    true,
    union_all,
)
from sqlalchemy.orm import Session, aliased

from app.models import Completion, Ranking, RankingEntry
from app.preferences.filters import PairFilters, select_rankings

UNKNOWN_MODEL = ""
"""Completions of which nobody said who wrote them."""
LENGTH_EDGES = (1, 50, 100, 200, 500, 1000, 2000)
"""Where the spans of a difference in characters begin, for both signs; 0 has a span of its own."""
NORMAL_95 = 1.959964
MOST_RANKS = 20
"""Ranks beyond share the last column."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """A share with its 95% interval and what it was counted from; None where there is none."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    """Pairs."""


@dataclass(frozen=True, kw_only=True)
class ModelWins:
    """How often a model's completions won their pairs against those of other models."""

    model: str
    share: Share


@dataclass(frozen=True, kw_only=True)
class LengthSpan:
    """Pairs whose chosen text is `low` to `high` characters longer than the rejected one, both
    included; negative where it is shorter, None where there is no end."""

    low: int | None
    high: int | None
    pairs: int


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """The lengths of chosen against those of rejected texts, in characters."""

    spans: list[LengthSpan]
    longer_wins: Share
    """Of the pairs whose texts are not equally long."""
    mean_chosen: float | None
    mean_rejected: float | None


@dataclass(frozen=True, kw_only=True)
class ModelRanks:
    """How often a model's completions were given each rank, of the ranked and unranked ones."""

    model: str
    ranks: dict[int, int]
    """By rank; `MOST_RANKS` stands for that rank and all beyond."""
    tied: int
    """How many of the ranked share their rank with another completion."""
    unranked: int

    @property
    def ranked(self) -> int:
        """How many have a rank."""
        return sum(self.ranks.values())

    @property
    def mean_rank(self) -> float | None:
        """The mean of the ranks given; None where there is none."""
        total = sum(rank * count for rank, count in self.ranks.items())
        return total / self.ranked if self.ranked else None


_better, _worse = aliased(RankingEntry), aliased(RankingEntry)
_chosen, _rejected = aliased(Completion), aliased(Completion)


def count_pairs_by_day(
    session: Session, project_id: str, filters: PairFilters | None = None
) -> dict[date, int]:
    """Pairs by the day (UTC) their ranking was made on; days without any are left out."""
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    moment = Ranking.created_at
    # SQLite keeps moments as text in UTC; PostgreSQL would take the day where the session is.
    day = func.date(moment) if is_sqlite else cast(func.timezone("UTC", moment), Date)
    pairs = _select_pairs(project_id, filters, day.label("day")).subquery()
    counted = session.execute(select(pairs.c.day, func.count()).group_by(pairs.c.day))
    return {
        date.fromisoformat(day) if isinstance(day, str) else day: count for day, count in counted
    }


def measure_model_wins(
    session: Session, project_id: str, filters: PairFilters | None = None
) -> list[ModelWins]:
    """The share of pairs that each model won against other models, the best first.

    Pairs of two completions of one model say nothing of models and are left out. Intervals are
    those of `clustered_share` over tasks.
    """
    winner, loser = _model(_chosen), _model(_rejected)
    played = _select_pairs(
        project_id,
        filters,
        winner.label("winner"),
        loser.label("loser"),
        func.count().label("pairs"),
        group_by=(winner, loser),
        where=winner != loser,
    )
    games = played.cte("games").prefix_with("MATERIALIZED")
    sides = union_all(
        select(
            games.c.task_id,
            games.c.winner.label("model"),
            games.c.pairs,
            games.c.pairs.label("won"),
        ),
        select(games.c.task_id, games.c.loser, games.c.pairs, literal(0)),
    ).subquery()
    by_task = (
        select(
            sides.c.model,
            func.sum(sides.c.won).label("part"),
            func.sum(sides.c.pairs).label("whole"),
        )
        .group_by(sides.c.model, sides.c.task_id)
        .subquery()
    )
    sums = select(by_task.c.model, *_cluster_sums(by_task)).group_by(by_task.c.model)
    wins = [
        ModelWins(model=row[0], share=clustered_share(*map(int, row[1:])))
        for row in session.execute(sums)
    ]
    return sorted(wins, key=lambda one: (-(one.share.value or 0), one.model))


def measure_lengths(
    session: Session, project_id: str, filters: PairFilters | None = None
) -> Lengths:
    """How the lengths of chosen and rejected texts compare, in characters."""
    # Materialized, or SQLite would carry the texts themselves into the sorting by task.
    measured = (
        _select_pairs(
            project_id,
            filters,
            func.length(_chosen.text).label("chosen"),
            func.length(_rejected.text).label("rejected"),
        )
        .cte("measured")
        .prefix_with("MATERIALIZED")
    )
    longer = measured.c.chosen - measured.c.rejected
    spans = length_spans()
    by_task = (
        select(
            func.sum(case((longer > 0, 1), else_=0)).label("part"),
            func.sum(case((longer != 0, 1), else_=0)).label("whole"),
            func.sum(measured.c.chosen).label("chosen"),
            func.sum(measured.c.rejected).label("rejected"),
            func.count().label("pairs"),
            *(
                func.sum(case((_within(longer, low, high), 1), else_=0)).label(f"span_{place}")
                for place, (low, high) in enumerate(spans)
            ),
        )
        .group_by(measured.c.task_id)
        .subquery()
    )
    row = session.execute(
        select(
            *_cluster_sums(by_task),
            func.sum(by_task.c.chosen),
            func.sum(by_task.c.rejected),
            func.sum(by_task.c.pairs),
            *(func.sum(by_task.c[f"span_{place}"]) for place in range(len(spans))),
        )
    ).one()
    numbers = [int(value or 0) for value in row]
    chosen, rejected, total = numbers[6:9]
    return Lengths(
        spans=[
            LengthSpan(low=low, high=high, pairs=found)
            for (low, high), found in zip(spans, numbers[9:], strict=True)
        ],
        longer_wins=clustered_share(*numbers[:6]),
        mean_chosen=chosen / total if total else None,
        mean_rejected=rejected / total if total else None,
    )


def count_model_ranks(
    session: Session, project_id: str, filters: PairFilters | None = None
) -> list[ModelRanks]:
    """How often each model's completions were given each rank, and how often a rank is shared.

    Of whole rankings: a filter on the difference in length, which selects pairs, takes part only
    in that a ranking without any such pair is left out.
    """
    filters = filters or PairFilters()
    selected = select_rankings(project_id, filters)
    if filters.selects_pairs:
        pairs = _select_pairs(project_id, filters, Ranking.id.label("ranking_id")).subquery()
        selected = selected.where(Ranking.id.in_(select(pairs.c.ranking_id)))
    entry, other = aliased(RankingEntry), aliased(RankingEntry)
    rank = case((entry.rank > MOST_RANKS, MOST_RANKS), else_=entry.rank)
    shared = (
        select(literal(1))
        .where(
            other.ranking_id == entry.ranking_id,
            other.rank == entry.rank,
            other.completion_id != entry.completion_id,
        )
        .exists()
    )
    model = _model(_chosen)
    counted = (
        selected.join(entry, entry.ranking_id == Ranking.id)
        .join(_chosen, _chosen.id == entry.completion_id)
        .with_only_columns(model, rank, func.count(), func.count(case((shared, 1))))
        .group_by(model, rank)
    )
    found: dict[str, ModelRanks] = {}
    for name, given, count, tied in session.execute(counted):
        ranks = found.setdefault(name, ModelRanks(model=name, ranks={}, tied=0, unranked=0))
        if given is None:
            found[name] = replace(ranks, unranked=count)
        else:
            ranks.ranks[given] = count
            found[name] = replace(ranks, tied=ranks.tied + tied)
    return sorted(found.values(), key=lambda one: (one.mean_rank or MOST_RANKS, one.model))


def length_spans() -> list[tuple[int | None, int | None]]:
    """The spans of a difference in length, from far shorter over equal to far longer."""
    longer: list[tuple[int, int | None]] = [(low, high - 1) for low, high in pairwise(LENGTH_EDGES)]
    longer.append((LENGTH_EDGES[-1], None))
    shorter = [(None if high is None else -high, -low) for low, high in reversed(longer)]
    return [*shorter, (0, 0), *longer]


def clustered_share(
    parts: int, wholes: int, parts_squared: int, products: int, wholes_squared: int, clusters: int
) -> Share:
    """A ratio of sums over clusters with its 95% interval, from six sums over the clusters.

    p = Σw / Σn with w of n pairs in a cluster, and by linearisation (Cochran 1977, Sampling
    Techniques, equation 6.13, without its correction for finite populations)
    Var(p) = c / (c − 1) · Σ(w − p·n)² / (Σn)² over c clusters. Pairs of one task are not
    independent, which an interval for as many coins would take them for. None for the interval of
    a single cluster, which says nothing of others.
    """
    if not wholes:
        return Share(value=None, low=None, high=None, n=0)
    share = parts / wholes
    if clusters < 2:
        return Share(value=share, low=None, high=None, n=wholes)
    squares = parts_squared - 2 * share * products + share * share * wholes_squared
    spread = sqrt(max(squares, 0.0) * clusters / (clusters - 1)) / wholes
    return Share(
        value=share,
        low=max(share - NORMAL_95 * spread, 0.0),
        high=min(share + NORMAL_95 * spread, 1.0),
        n=wholes,
    )


def _cluster_sums(clusters: Subquery) -> list[ColumnElement[Any]]:
    """What `clustered_share` takes, of clusters with a `part` and a `whole`; those without a
    whole say nothing."""
    part, whole = clusters.c.part, clusters.c.whole
    return [
        func.sum(part),
        func.sum(whole),
        func.sum(part * part),
        func.sum(part * whole),
        func.sum(whole * whole),
        func.count(case((whole > 0, 1))),
    ]


def _select_pairs(
    project_id: str,
    filters: PairFilters | None,
    *columns: ColumnElement[Any],
    group_by: Sequence[Any] = (),
    where: ColumnElement[bool] | None = None,
) -> Select[Any]:
    """The pairs of different texts that the filters take, with their task and these columns;
    grouped by these and the task where said."""
    filters = filters or PairFilters()
    longer = func.length(_chosen.text) - func.length(_rejected.text)
    least, most = filters.min_length_difference, filters.max_length_difference
    pairs: Select[Any] = (
        select_rankings(project_id, filters)
        .join(_better, _better.ranking_id == Ranking.id)
        .join(_worse, and_(_worse.ranking_id == Ranking.id, _better.rank < _worse.rank))
        .join(_chosen, _chosen.id == _better.completion_id)
        .join(_rejected, _rejected.id == _worse.completion_id)
        .where(_chosen.text != _rejected.text, _within(longer, least, most))
        .with_only_columns(Ranking.task_id, *columns)
    )
    if where is not None:
        pairs = pairs.where(where)
    if group_by:
        pairs = pairs.group_by(Ranking.task_id, *group_by)
    return pairs


def _within(value: ColumnElement[Any], low: int | None, high: int | None) -> ColumnElement[bool]:
    """Whether a value is from low to high, both included; None is no bound."""
    bounds: list[ColumnElement[bool]] = [true()]
    if low is not None:
        bounds.append(value >= low)
    if high is not None:
        bounds.append(value <= high)
    return and_(*bounds)


def _model(completion: Any) -> ColumnElement[str]:
    """Who wrote the completion: the registry's id, or the name that an import gave."""
    return func.coalesce(completion.model_id, completion.model_label, UNKNOWN_MODEL)
