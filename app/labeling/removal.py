"""Taking rankings and leases off their tasks in a few statements, however many there are."""

from typing import Any

from sqlalchemy import (
    ColumnElement,
    Delete,
    Select,
    Update,
    and_,
    case,
    exists,
    func,
    select,
    update,
)
from sqlalchemy.engine import CursorResult
from sqlalchemy.orm import Session

from app.models import (
    Assignment,
    AssignmentState,
    Completion,
    Prompt,
    Ranking,
    RankingEntry,
    Round,
    Task,
    TaskState,
)


def change_rows(session: Session, statement: Update | Delete) -> int:
    """Run it; how many rows it changed. What the session knows of them is stale then: see
    `forget_rows`."""
    done = session.execute(statement, execution_options={"synchronize_session": False})
    assert isinstance(done, CursorResult), "an update or a deletion counts its rows"
    return done.rowcount


def forget_rows(session: Session) -> None:
    """Have the session read again what rows like those say, after `change_rows`."""
    for row in list(session.identity_map.values()):
        if isinstance(
            row, Assignment | Completion | Prompt | Ranking | RankingEntry | Round | Task
        ):
            session.expire(row)


def lock_rows(session: Session, rows: Select[Any]) -> None:
    """Hold rows in the order given until the transaction ends, without fetching them.

    As everywhere: first labelers, then assignments, rankings and tasks, each kind by its task.
    """
    if session.get_bind().dialect.name != "sqlite":
        held = rows.with_for_update(key_share=True).subquery()
        session.execute(select(func.count()).select_from(held))


def take_off_tasks(
    session: Session, rankings: ColumnElement[bool], assignments: ColumnElement[bool]
) -> int:
    """Give tasks back the slots of rankings and leases that are about to go; how many complete
    tasks are open again. Both conditions choose rows that the caller holds."""
    counting = and_(rankings, Ranking.current, Ranking.revoked_at.is_(None), ~Ranking.is_repeat)
    leased = and_(
        assignments, Assignment.state == AssignmentState.LEASED, Assignment.slot.is_not(None)
    )
    touched = Task.id.in_(
        select(Ranking.task_id).where(counting).union(select(Assignment.task_id).where(leased))
    )
    lock_rows(session, select(Task.id).where(touched).order_by(Task.id))
    counted = _count_of_task(Ranking, counting)
    asks = exists().where(Round.id == Task.round_id, Round.labelers_per_task > 0)
    # Where nobody is asked, a task wants just what an import brought.
    lacking = Task.rankings_got - case((asks, counted), else_=0) < Task.rankings_wanted
    opens = and_(Task.state == TaskState.COMPLETE, lacking)
    reopened = session.scalar(select(func.count()).select_from(Task).where(touched, opens))
    change_rows(
        session,
        update(Task)
        .where(touched)
        .values(
            state=case((opens, TaskState.OPEN.value), else_=Task.state),
            rankings_got=Task.rankings_got - counted,
            slots_taken=Task.slots_taken - counted - _count_of_task(Assignment, leased),
            rankings_wanted=Task.rankings_wanted - case((asks, 0), else_=counted),
        ),
    )
    return reopened or 0


def _count_of_task(table: type[Ranking | Assignment], condition: ColumnElement[bool]) -> Any:
    counted = select(func.count()).select_from(table).where(table.task_id == Task.id, condition)
    return counted.correlate(Task).scalar_subquery()
