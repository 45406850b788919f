"""Figures that take a second to compute, kept by this process until what they rest on changes."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, TypeVar

import orjson
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.models import (
    Assignment,
    AssignmentState,
    LabelerPause,
    Ranking,
    Task,
    TaskPurpose,
)
from app.preferences.filters import PairFilters

FIGURES_REMEMBERED = 32

Figure = TypeVar("Figure")
_figures: OrderedDict[Hashable, tuple[Hashable, Any]] = OrderedDict()
_lock = Lock()


def remembered(
    session: Session,
    name: str,
    project_id: str,
    filters: PairFilters,
    compute: Callable[[], Figure],
) -> Figure:
    """What `compute` gives, or gave for the same project and filters while nothing changed."""
    key = (str(session.get_bind().engine.url), name, project_id, filters)
    version = _data_version(session, project_id)
    with _lock:
        known = _figures.get(key)
        if known is not None and known[0] == version:
            _figures.move_to_end(key)
            figure: Figure = known[1]
            return figure
    figure = compute()
    with _lock:
        _figures[key] = (version, figure)
        _figures.move_to_end(key)
        while len(_figures) > FIGURES_REMEMBERED:
            _figures.popitem(last=False)
    return figure


def _data_version(session: Session, project_id: str) -> Hashable:
    """What is different after a ranking, an edit, a revocation or its undoing, an erasure, a skip,
    a pause, a change of calibration tasks or of a gold order."""
    rankings = session.execute(
        select(
            func.count(),
            func.max(Ranking.id),
            func.count(Ranking.revoked_at),
            func.max(Ranking.revoked_at),
            func.count(Ranking.erased_at),
        ).where(Ranking.project_id == project_id)
    ).one()
    skips = session.execute(
        select(func.count(), func.max(Assignment.finished_at)).where(
            Assignment.project_id == project_id, Assignment.state == AssignmentState.SKIPPED
        )
    ).one()
    pauses = session.execute(
        select(func.count(), func.max(LabelerPause.paused_at)).where(
            LabelerPause.project_id == project_id
        )
    ).one()
    calibration = session.execute(
        select(func.count(), func.min(Task.id), func.max(Task.id)).where(
            Task.project_id == project_id, Task.purpose == TaskPurpose.CALIBRATION
        )
    ).one()
    gold = session.execute(
        select(Task.id, Task.gold_ranks)
        .where(Task.project_id == project_id, Task.purpose == TaskPurpose.GOLD)
        .order_by(Task.id)
    ).all()
    orders = orjson.dumps([list(row) for row in gold], option=orjson.OPT_SORT_KEYS)
    return (*rankings, *skips, *pauses, *calibration, orders)
