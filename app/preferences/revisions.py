"""Revisions of one ranking: what the same labeler said of the same task, before and after."""

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import Session, aliased

from app.errors import NotFound
from app.models import Ranking


def get_ranking(session: Session, ranking_id: str) -> Ranking:
    """The ranking, whatever became of it, or NotFound. Who may see it is a question of its
    project."""
    ranking = session.get(Ranking, ranking_id)
    if ranking is None:
        raise NotFound("There is no such ranking.")
    return ranking


def is_revision_of(one: type[Ranking], other: type[Ranking]) -> ColumnElement[bool]:
    """Whether two rows are revisions of one ranking; the two are aliases of `Ranking`.

    A labeler ranks a task once, and whatever else they say of it is a revision; a repeat, which
    stands beside it, is told by its assignment.
    """
    return and_(
        one.task_id == other.task_id,
        one.labeler == other.labeler,
        one.is_repeat == other.is_repeat,
        or_(~one.is_repeat, one.assignment_id == other.assignment_id, one.id == other.id),
    )


def list_revisions(session: Session, ranking: Ranking) -> list[Ranking]:
    """Every revision of the ranking, the first of them first, itself among them."""
    this, revision = aliased(Ranking), aliased(Ranking)
    revisions = (
        select(revision)
        .join(this, is_revision_of(this, revision))
        .where(this.id == ranking.id)
        .order_by(revision.revision, revision.id)
    )
    return list(session.scalars(revisions))
