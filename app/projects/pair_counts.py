"""How many pairs a project has, for a page that asks again every few seconds.

Counting expands every ranking and compares texts, which takes a second for some ten thousand
rankings. Rankings never change, so what was counted once stays true until one of them is
superseded or revoked: this process remembers it and counts only what came since.
"""

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from threading import Lock

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session, aliased

from app.models import Completion, Ranking, RankingEntry, Round, Task
from app.projects.comparison import ranking_counts

PROJECTS_REMEMBERED = 200


@dataclass(frozen=True)
class Counted:
    """The pairs of every ranking up to one, and what would tell that those rankings changed."""

    last_id: str
    rankings: int
    revoked: int
    revoked_at: datetime | None
    pairs: int


_counted: OrderedDict[tuple[str, str], Counted] = OrderedDict()
_lock = Lock()


def count_loop_pairs(session: Session, project_id: str) -> int:
    """Preferred-first pairs that a model may learn from: those of all current rankings but the ones
    of A/B rounds, and none of two identical texts.

    The same number as `app.preferences.pair_counts.count_pairs` gives with the filters for
    training.
    """
    newest = session.scalar(
        select(func.max(Ranking.id)).where(Ranking.project_id == project_id, ranking_counts())
    )
    if newest is None:
        return 0
    key = (str(session.get_bind().engine.url), project_id)
    known = _counted.get(key)
    if known is not None and known == _describe(session, project_id, known.last_id, known.pairs):
        pairs = known.pairs + _count_pairs(session, project_id, known.last_id, newest)
    else:
        pairs = _count_pairs(session, project_id, "", newest)
    with _lock:
        _counted[key] = _describe(session, project_id, newest, pairs)
        _counted.move_to_end(key)
        while len(_counted) > PROJECTS_REMEMBERED:
            _counted.popitem(last=False)
    return pairs


def _describe(session: Session, project_id: str, last_id: str, pairs: int) -> Counted:
    """What the rankings up to one look like now; an edit or a revocation makes a difference."""
    row = session.execute(
        select(
            func.count(Ranking.id),
            func.count(Ranking.revoked_at),
            func.max(Ranking.revoked_at),
        ).where(Ranking.project_id == project_id, Ranking.id <= last_id, Ranking.current)
    ).one()
    return Counted(last_id, row[0], row[1], row[2], pairs)


def _count_pairs(session: Session, project_id: str, after: str, last: str) -> int:
    """Pairs of the rankings after one and up to another, both by id."""
    if after == last:
        return 0
    better, worse = aliased(RankingEntry), aliased(RankingEntry)
    chosen, rejected = aliased(Completion), aliased(Completion)
    return (
        session.scalar(
            select(func.count())
            .select_from(Ranking)
            .join(Task, Task.id == Ranking.task_id)
            .join(Round, and_(Round.id == Task.round_id, Round.candidate_id.is_(None)))
            .join(better, better.ranking_id == Ranking.id)
            .join(worse, and_(worse.ranking_id == Ranking.id, better.rank < worse.rank))
            .join(chosen, chosen.id == better.completion_id)
            .join(rejected, and_(rejected.id == worse.completion_id, rejected.text != chosen.text))
            .where(
                Ranking.project_id == project_id,
                Ranking.id > after,
                Ranking.id <= last,
                ranking_counts(),
            )
        )
        or 0
    )
