"""How a new policy did against its predecessor in a blind round."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from sqlalchemy import ColumnElement, and_, case, func, select
from sqlalchemy.orm import Session, aliased

from app.models import Completion, Model, Ranking, RankingEntry, RankingSource, Round, Task


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How often `policy` was ranked above `baseline` in one blind round.

    `win_rate` is the mean over tasks of the share of (policy, baseline) pairs won, ties as half;
    `half_width` is that of its 95% interval over tasks (normal approximation), None for one task.
    """

    round_id: str
    round_number: int
    policy: str
    baseline: str
    win_rate: float
    half_width: float | None
    tasks: int
    simulated: bool
    """Whether any of the rankings came from a simulated labeler."""


def ranking_counts() -> ColumnElement[bool]:
    """A ranking that is neither superseded nor revoked."""
    return and_(Ranking.current, Ranking.revoked_at.is_(None))


def find_newest_comparison(session: Session, rounds: Sequence[Round]) -> Comparison | None:
    """The newest round of two policies that has rankings: the younger policy against the other."""
    for compared in reversed(rounds):
        if len(compared.policies) != 2:
            continue
        baseline, policy = session.scalars(
            select(Model.id).where(Model.id.in_(compared.policies)).order_by(Model.created_at)
        ).all() or (None, None)
        if baseline is None or policy is None:
            continue
        shares = _win_shares(session, compared.id, policy, baseline)
        if shares:
            return _summarize(compared, policy, baseline, shares)
    return None


def _win_shares(
    session: Session, round_id: str, policy: str, baseline: str
) -> list[tuple[float, bool]]:
    """For each task, the share of (policy, baseline) pairs that the policy won, a tie being half,
    and whether a simulated labeler had a say in it."""
    ours, theirs = aliased(RankingEntry), aliased(RankingEntry)
    our_text, their_text = aliased(Completion), aliased(Completion)
    won = case((ours.rank < theirs.rank, 1.0), (ours.rank == theirs.rank, 0.5), else_=0.0)
    simulated = case((Ranking.source == RankingSource.SIMULATED, 1), else_=0)
    rows = session.execute(
        select(func.avg(won), func.max(simulated))
        .select_from(Ranking)
        .join(Task, Task.id == Ranking.task_id)
        .join(ours, and_(ours.ranking_id == Ranking.id, ours.rank.is_not(None)))
        .join(theirs, and_(theirs.ranking_id == Ranking.id, theirs.rank.is_not(None)))
        .join(our_text, our_text.id == ours.completion_id)
        .join(their_text, their_text.id == theirs.completion_id)
        .where(
            Task.round_id == round_id,
            our_text.model_id == policy,
            their_text.model_id == baseline,
            ranking_counts(),
        )
        .group_by(Ranking.task_id)
    )
    return [(float(share), bool(any_simulated)) for share, any_simulated in rows]


def _summarize(
    compared: Round, policy: str, baseline: str, won: list[tuple[float, bool]]
) -> Comparison:
    shares = [share for share, _ in won]
    n = len(shares)
    mean = sum(shares) / n
    half_width = None
    if n > 1:
        variance = sum((share - mean) ** 2 for share in shares) / (n - 1)
        half_width = 1.96 * sqrt(variance / n)
    return Comparison(
        round_id=compared.id,
        round_number=compared.number,
        policy=policy,
        baseline=baseline,
        win_rate=mean,
        half_width=half_width,
        tasks=n,
        simulated=any(simulated for _, simulated in won),
    )
