"""How far the labelers of each task agree, computed by the database: a filter asks for it."""

from sqlalchemy import Float, Select, and_, case, cast, func, select
from sqlalchemy.orm import aliased

from app.models import Ranking, RankingEntry


def select_agreed_tasks(
    project_id: str, least: float | None = None, most: float | None = None
) -> Select[str]:
    """Ids of the tasks with an agreement from `least` to `most`, both included.

    The agreement of a task is the share of (labeler pair, completion pair) on which both labelers
    say the same of better, equal, worse. Of n labelers who compare two completions, a put the
    first before the second, b the second before the first and c tie them: then
    C(a,2) + C(b,2) + C(c,2) of the C(n,2) labeler pairs agree. A completion that a labeler left
    unranked is not compared. Rankings that count and are no repeats take part; a task that fewer
    than two labelers ranked is never among them.
    """
    first, second = aliased(RankingEntry), aliased(RankingEntry)
    better = func.count(case((first.rank < second.rank, 1)))
    worse = func.count(case((first.rank > second.rank, 1)))
    equal = func.count(case((first.rank == second.rank, 1)))
    every = func.count()
    compared = (
        select(
            Ranking.task_id.label("task_id"),
            (better * (better - 1) + worse * (worse - 1) + equal * (equal - 1)).label("agreeing"),
            (every * (every - 1)).label("possible"),
        )
        .join(first, first.ranking_id == Ranking.id)
        .join(
            second,
            and_(
                second.ranking_id == Ranking.id,
                first.completion_id < second.completion_id,
            ),
        )
        .where(
            Ranking.project_id == project_id,
            Ranking.current,
            Ranking.revoked_at.is_(None),
            ~Ranking.is_repeat,
            first.rank.is_not(None),
            second.rank.is_not(None),
        )
        .group_by(Ranking.task_id, first.completion_id, second.completion_id)
        .subquery()
    )
    agreement = cast(func.sum(compared.c.agreeing), Float) / func.nullif(
        func.sum(compared.c.possible), 0
    )
    tasks = select(compared.c.task_id).group_by(compared.c.task_id)
    if least is not None:
        tasks = tasks.having(agreement >= least)
    if most is not None:
        tasks = tasks.having(agreement <= most)
    return tasks
