"""Which task a labeler is given next: the order of the queue, and what is mixed into it."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    Select,
    SQLColumnExpression,
    and_,
    bindparam,
    exists,
    func,
    or_,
    select,
)
from sqlalchemy.orm import Session

from app.models import (
    Assignment,
    AssignmentState,
    Project,
    Ranking,
    Round,
    RoundState,
    Task,
    TaskPurpose,
    TaskState,
    User,
)
from app.models.projects import SHUFFLE_KEYS

CALIBRATION_RATE = 0.2
"""Share of a labeler's tasks that are calibration tasks, until they have ranked them all."""

REPEAT_GAP = 10
"""A task is not repeated before its labeler ranked this many others."""
REPEAT_CHOICES = 100

_draw = random.SystemRandom()


@dataclass(frozen=True)
class Asker:
    """A labeler who asks for a task, as the statements below name them."""

    user: User
    project_id: str

    @property
    def values(self) -> dict[str, str]:
        """The parameters of every statement below."""
        return {
            "user_id": self.user.id,
            "handle": self.user.handle,
            "project_id": self.project_id,
        }

    @property
    def start(self) -> int:
        """Where on the circle of shuffle keys this labeler begins, so that two seldom meet."""
        digest = hashlib.sha256(f"{self.user.id}:{self.project_id}".encode()).digest()
        return int.from_bytes(digest[:8], "big") % SHUFFLE_KEYS


def list_begun(session: Session, asker: Asker) -> Sequence[Assignment]:
    """What the person holds a lease on in the project, or held one that ran out."""
    return session.scalars(_begun, asker.values).all()


def is_anything_free(session: Session, asker: Asker) -> bool:
    """Whether a task waits for this labeler, though another transaction may hold it."""
    return session.scalar(_anything, asker.values) is not None


def candidates(user: User, project_id: str | SQLColumnExpression[str]) -> Select[Task]:
    """The tasks of a project that this labeler could be given now."""
    return select(Task).where(_given_to(user.id, user.handle, project_id), _has_room())


def find_begun(
    session: Session, asker: Asker, begun: Sequence[Assignment]
) -> str | Assignment | None:
    """The person's expired repeat, or the locked task of their expired lease if it has room."""
    if not begun:
        return None
    repeat = next((one for one in begun if one.is_repeat), None)
    return repeat or session.scalar(_expired_task, asker.values)


def find_next(
    session: Session,
    asker: Asker,
    *,
    gold_share: float,
    repeat_share: float,
    uncertain_first: bool,
) -> str | Assignment | None:
    """A locked task or, for a repeat, the assignment to repeat; None when nothing is free now.

    With `uncertain_first` the ordinary tasks of a priority come by how unsure a reward model is of
    them, those that none has scored last.
    """
    number = _draw.random()
    found: str | Assignment | None = None
    if number < gold_share:
        found = session.scalar(_gold, asker.values)
    elif number < gold_share + repeat_share:
        found = _choose_repeat(session, asker)
    if found is None and _draw.random() < CALIBRATION_RATE:
        found = session.scalar(_calibration, asker.values)
    return (
        found
        or _find_ordinary(session, asker, uncertain_first=uncertain_first)
        or session.scalar(_remaining, asker.values)
    )


def _find_ordinary(session: Session, asker: Asker, *, uncertain_first: bool) -> str | None:
    connection = session.connection()
    first = connection.execute(_first_level, asker.values).one_or_none()
    if first is None:
        return None
    level = {"priority": first.priority, "slots_free": first.slots_free}
    values = asker.values | level | {"start": asker.start}
    for part in (_most_uncertain, _ahead, _behind) if uncertain_first else (_ahead, _behind):
        task_id: str | None = connection.scalar(part, values)
        if task_id is not None:
            return task_id
    found: str | None = connection.scalar(_any_level, asker.values)
    return found


def _choose_repeat(session: Session, asker: Asker) -> Assignment | None:
    """One of the person's own rankings of some time ago."""
    choices = session.scalars(_repeatable, asker.values).all()
    return _draw.choice(choices) if choices else None


# The statements are made once: what they ask for does not change, and making them takes longer
# than the database needs to answer them.


def _given_to(
    user_id: str | ColumnElement[str],
    handle: str | ColumnElement[str],
    project_id: str | SQLColumnExpression[str],
) -> ColumnElement[bool]:
    """Tasks of open rounds that this labeler neither has, nor had, nor ranked elsewhere."""
    had = exists().where(
        Assignment.task_id == Task.id,
        Assignment.user_id == user_id,
        Assignment.state.not_in([AssignmentState.EXPIRED, AssignmentState.RETURNED]),
    )
    ranked = exists().where(
        Ranking.task_id == Task.id,
        Ranking.labeler == handle,
        Ranking.current,
        ~Ranking.is_repeat,
    )
    return and_(
        Task.project_id == project_id, Task.round_id.not_in(_closed(project_id)), ~had, ~ranked
    )


def _closed(project_id: str | SQLColumnExpression[str]) -> ScalarSelect[str]:
    return (
        select(Round.id)
        .where(Round.project_id == project_id, Round.state == RoundState.CLOSED)
        .scalar_subquery()
    )


def _has_room() -> ColumnElement[bool]:
    """As `slots.has_room` says of one task; a gold task without a slot to fill is a check only."""
    return or_(
        and_(Task.state == TaskState.OPEN, Task.slots_free > 0),
        and_(
            Task.purpose == TaskPurpose.CALIBRATION,
            Task.state.in_([TaskState.OPEN, TaskState.COMPLETE]),
        ),
    )


def _locking(tasks: Select[Task]) -> Select[str]:
    """The id of the first that no other transaction holds."""
    return (
        tasks.with_only_columns(Task.id)
        .limit(1)
        .with_for_update(of=Task, key_share=True, skip_locked=True)
    )


_user_id, _handle = (
    bindparam("user_id", type_=User.id.type),
    bindparam("handle", type_=User.handle.type),
)
_project_id = bindparam("project_id", type_=Project.id.type)
_free = select(Task).where(_given_to(_user_id, _handle, _project_id))
_ordinary = _free.where(
    Task.purpose == TaskPurpose.ORDINARY, Task.state == TaskState.OPEN, Task.slots_free > 0
)
_first_level = (
    _ordinary.with_only_columns(Task.priority, Task.slots_free)
    .order_by(Task.priority, Task.slots_free)
    .limit(1)
)
_level = _ordinary.where(
    Task.priority == bindparam("priority", type_=Task.priority.type),
    Task.slots_free == bindparam("slots_free", type_=Task.priority.type),
).order_by(Task.shuffle_key)
_start = bindparam("start", type_=Task.shuffle_key.type)
_ahead = _locking(_level.where(Task.shuffle_key >= _start))
_behind = _locking(_level.where(Task.shuffle_key < _start))
_most_uncertain = _locking(
    _ordinary.where(
        Task.priority == bindparam("priority", type_=Task.priority.type),
        Task.uncertainty.is_not(None),
    ).order_by(Task.uncertainty.desc(), Task.shuffle_key)
)
_any_level = _locking(_ordinary.order_by(Task.priority, Task.slots_free, Task.shuffle_key))
_checks = _free.where(Task.state.in_([TaskState.OPEN, TaskState.COMPLETE])).order_by(func.random())
_gold = _locking(_checks.where(Task.purpose == TaskPurpose.GOLD))
_calibration = _locking(_checks.where(Task.purpose == TaskPurpose.CALIBRATION))
_remaining = _locking(
    _free.where(Task.purpose != TaskPurpose.ORDINARY, _has_room()).order_by(func.random())
)
_anything = _free.with_only_columns(Task.id).where(_has_room()).limit(1)

_own = and_(Assignment.user_id == _user_id, Assignment.project_id == _project_id)
_mine = select(Assignment).where(_own)
_is_begun = Assignment.state.in_([AssignmentState.LEASED, AssignmentState.EXPIRED])
has_begun = exists().where(_own, _is_begun)
"""Whether `list_begun` gives something; for the statement that asks for a project's standing."""
_begun = (
    _mine.where(_is_begun).order_by(Assignment.leased_at).execution_options(populate_existing=True)
)
_expired_task = _locking(
    _free.where(
        _has_room(),
        Task.id.in_(
            _mine.with_only_columns(Assignment.task_id).where(
                Assignment.state == AssignmentState.EXPIRED
            )
        ),
    )
)
_repeated = (
    _mine.with_only_columns(Assignment.task_id).where(Assignment.is_repeat).scalar_subquery()
)
_repeatable = (
    _mine.join(Task, Task.id == Assignment.task_id)
    .where(
        Assignment.state == AssignmentState.SUBMITTED,
        ~Assignment.is_repeat,
        Assignment.task_id.not_in(_repeated),
        Task.round_id.not_in(_closed(_project_id)),
    )
    .order_by(Assignment.finished_at.desc())
    .offset(REPEAT_GAP)
    .limit(REPEAT_CHOICES)
)
