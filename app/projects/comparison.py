"""How a new policy did against its predecessor in a blind round."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, case, func, select
from sqlalchemy.orm import Session, aliased

from app.evaluation.win_rates import Rate, Vote, measure_rate
from app.models import Completion, Model, Ranking, RankingEntry, RankingSource, Round, Task


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How often `policy` was ranked above `baseline` in one blind round.

    The same figures as `app.evaluation.results` gives, without what takes longer.
    """

    round_id: str
    round_number: int
    policy: str
    baseline: str
    rate: Rate
    simulated: bool
    """Whether any of the rankings came from a simulated labeler."""


def ranking_counts() -> ColumnElement[bool]:
    """A ranking that is neither superseded nor revoked."""
    return and_(Ranking.current, Ranking.revoked_at.is_(None))


def find_newest_comparison(session: Session, rounds: Sequence[Round]) -> Comparison | None:
    """The newest round that compares policies and has rankings.

    Where nobody said who is on trial, that is the younger of two policies.
    """
    for compared in reversed(rounds):
        pair = _find_pair(session, compared)
        if pair is None:
            continue
        votes, simulated = _load_votes(session, compared.id, *pair)
        if votes:
            return Comparison(
                round_id=compared.id,
                round_number=compared.number,
                policy=pair[0],
                baseline=pair[1],
                rate=measure_rate(votes),
                simulated=simulated,
            )
    return None


def _find_pair(session: Session, compared: Round) -> tuple[str, str] | None:
    """The policy on trial and the one it must beat."""
    if compared.candidate_id and compared.baseline_id:
        return compared.candidate_id, compared.baseline_id
    if len(compared.policies) != 2:
        return None
    by_age = session.scalars(
        select(Model.id)
        .where(Model.id.in_(compared.policies))
        .order_by(Model.created_at.desc(), Model.id.desc())
    ).all()
    return (by_age[0], by_age[1]) if len(by_age) == 2 else None


def _load_votes(
    session: Session, round_id: str, policy: str, baseline: str
) -> tuple[list[Vote], bool]:
    """A vote of each ranking, and whether a simulated labeler cast any of them."""
    ours, theirs = aliased(RankingEntry), aliased(RankingEntry)
    our_text, their_text = aliased(Completion), aliased(Completion)
    won = case((ours.rank < theirs.rank, 1.0), (ours.rank == theirs.rank, 0.5), else_=0.0)
    simulated = case((Ranking.source == RankingSource.SIMULATED, 1), else_=0)
    rows = session.execute(
        select(Task.prompt_id, func.avg(won), func.max(simulated))
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
            ~Ranking.is_repeat,
            ranking_counts(),
        )
        .group_by(Ranking.id, Task.prompt_id)
    ).all()
    votes = [Vote(prompt_id=prompt_id, share=float(share)) for prompt_id, share, _ in rows]
    return votes, any(by_rule for _, _, by_rule in rows)
