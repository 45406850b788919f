"""How many pairs there are behind a set of filters."""

from dataclasses import dataclass

from sqlalchemy import and_, case, func
from sqlalchemy.orm import Session, aliased

from app.models import Completion, Ranking, RankingEntry, Task
from app.preferences.filters import PairFilters, select_rankings, simulated_condition


@dataclass(frozen=True, kw_only=True)
class PairCounts:
    """How many there are behind a set of filters.

    `pairs` leaves out those of two identical texts, which `identical` counts; `empty` of the
    pairs have a side without any text, which the schemas for trainers leave out.
    """

    rankings: int
    simulated_rankings: int
    prompts: int
    labelers: int
    pairs: int
    identical: int
    empty: int


def count_pairs(
    session: Session, project_id: str, filters: PairFilters | None = None
) -> PairCounts:
    """Count what `iter_pairs` would give, without reading a text out of the database."""
    filters = filters or PairFilters()
    selected = select_rankings(project_id, filters)
    better, worse = aliased(RankingEntry), aliased(RankingEntry)
    chosen, rejected = aliased(Completion), aliased(Completion)
    blank = " \t\r\n"
    trim = func.trim if session.get_bind().dialect.name == "sqlite" else func.btrim
    same = chosen.text == rejected.text
    empty = and_(~same, (trim(chosen.text, blank) == "") | (trim(rejected.text, blank) == ""))
    length = func.length(chosen.text) - func.length(rejected.text)
    least, most = filters.min_length_difference, filters.max_length_difference
    of_pairs = (
        selected.join(better, better.ranking_id == Ranking.id)
        .join(worse, and_(worse.ranking_id == Ranking.id, better.rank < worse.rank))
        .join(chosen, chosen.id == better.completion_id)
        .join(rejected, rejected.id == worse.completion_id)
        .where(*[length >= least] if least is not None else [])
        .where(*[length <= most] if most is not None else [])
    )
    pairs = session.execute(
        of_pairs.with_only_columns(
            func.count().label("total"),
            func.count(case((same, 1))).label("identical"),
            func.count(case((empty, 1))).label("empty"),
        )
    ).one()
    # Where some pairs of a ranking are wanted and others not, a ranking without any is not meant.
    task = aliased(Task)
    counted = of_pairs if filters.selects_pairs else selected
    is_simulated = case((simulated_condition(), Ranking.id))
    rankings = session.execute(
        counted.join(task, task.id == Ranking.task_id).with_only_columns(
            func.count(Ranking.id.distinct()).label("rankings"),
            func.count(is_simulated.distinct()).label("simulated"),
            func.count(task.prompt_id.distinct()).label("prompts"),
            func.count(Ranking.labeler.distinct()).label("labelers"),
        )
    ).one()
    return PairCounts(
        rankings=rankings.rankings,
        simulated_rankings=rankings.simulated,
        prompts=rankings.prompts,
        labelers=rankings.labelers,
        pairs=pairs.total - pairs.identical,
        identical=pairs.identical,
        empty=pairs.empty,
    )
