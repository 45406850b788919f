"""What labelers said of each task, read so that it can be compared: by task and completion id."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.models import Completion, Ranking, RankingEntry, Task, TaskPurpose
from app.preferences.filters import (
    PairFilters,
    select_frozen,
    select_rankings,
    simulated_condition,
)

CHUNK_RANKINGS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One ranking: that of every completion of the task, in the order of the task's own list."""

    ranking_id: str
    labeler: str
    simulated: bool
    is_repeat: bool
    """Ranked before by the same labeler: measures self-consistency and nothing else."""
    ranks: list[int | None]
    """In the order of `JudgedTask.completion_ids`; 1 is best, equal is a tie, None is unranked."""
    shown: list[int]
    """Places in `completion_ids` in the order shown; empty where unknown (imports)."""
    active_ms: int | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedTask:
    """A task with every ranking of it that counts."""

    id: str
    round_id: str
    purpose: str
    completion_ids: list[str]
    gold: list[int] | None = None
    """The known order, in that of `completion_ids`."""
    judgements: list[Judgement] = field(default_factory=list)

    @property
    def firsts(self) -> list[Judgement]:
        """One ranking of each labeler: repeats are no second opinion."""
        return [judgement for judgement in self.judgements if not judgement.is_repeat]


def load_judged_tasks(
    session: Session, project_id: str, filters: PairFilters | None = None
) -> list[JudgedTask]:
    """Tasks that have rankings that count and fit the filters, by id; their rankings by id.

    Ranks are aligned by completion id, whatever order a ranking was shown or stored in.
    """
    return _judged_tasks(session, select_rankings(project_id, filters or PairFilters()))


def load_frozen_tasks(session: Session, snapshot_id: str) -> list[JudgedTask]:
    """The same of the rankings that a snapshot holds, whatever became of them since."""
    return _judged_tasks(session, select_frozen(snapshot_id))


def _judged_tasks(session: Session, selected: Select[str]) -> list[JudgedTask]:
    tasks: dict[str, JudgedTask] = {}
    places: dict[str, dict[str, int]] = {}
    columns = _with_columns(selected)
    columns = columns.order_by(Ranking.id).limit(CHUNK_RANKINGS)
    last = ""
    while rows := session.execute(columns.where(Ranking.id > last)).all():
        last = rows[-1].id
        fresh = {row.task_id for row in rows} - tasks.keys()
        for task in _load_tasks(session, fresh):
            tasks[task.id] = task
            places[task.id] = {item: place for place, item in enumerate(task.completion_ids)}
        ranks = _load_ranks(session, [row.id for row in rows])
        for row in rows:
            task = tasks[row.task_id]
            task.judgements.append(_judgement(row, task, places[row.task_id], ranks[row.id]))
    return [tasks[task_id] for task_id in sorted(tasks)]


def _with_columns(selected: Select[str]) -> Select[*tuple[Any, ...]]:
    return selected.with_only_columns(
        Ranking.id,
        Ranking.task_id,
        Ranking.labeler,
        simulated_condition().label("simulated"),
        Ranking.is_repeat,
        Ranking.shown_order,
        Ranking.active_ms,
        Ranking.created_at,
    )


def _load_tasks(session: Session, task_ids: set[str]) -> list[JudgedTask]:
    if not task_ids:
        return []
    completions: dict[str, list[str]] = defaultdict(list)
    for task_id, completion_id in session.execute(
        select(Completion.task_id, Completion.id)
        .where(Completion.task_id.in_(task_ids))
        .order_by(Completion.task_id, Completion.position)
    ):
        completions[task_id].append(completion_id)
    found = session.execute(
        select(Task.id, Task.round_id, Task.purpose, Task.gold_ranks).where(Task.id.in_(task_ids))
    )
    return [
        JudgedTask(
            id=task_id,
            round_id=round_id,
            purpose=purpose,
            completion_ids=completions[task_id],
            gold=(
                _gold_order(gold_ranks, completions[task_id])
                if purpose == TaskPurpose.GOLD
                else None
            ),
        )
        for task_id, round_id, purpose, gold_ranks in found
    ]


def _gold_order(
    gold_ranks: dict[str, int] | None, completion_ids: Sequence[str]
) -> list[int] | None:
    if not gold_ranks or any(item not in gold_ranks for item in completion_ids):
        return None
    return [gold_ranks[item] for item in completion_ids]


def _load_ranks(session: Session, ranking_ids: Sequence[str]) -> dict[str, dict[str, int | None]]:
    ranks: dict[str, dict[str, int | None]] = {ranking_id: {} for ranking_id in ranking_ids}
    # Past the ORM, which would take as long over these rows as the database does.
    for ranking_id, completion_id, rank in session.connection().execute(
        select(RankingEntry.ranking_id, RankingEntry.completion_id, RankingEntry.rank).where(
            RankingEntry.ranking_id.in_(ranking_ids)
        )
    ):
        ranks[ranking_id][completion_id] = rank
    return ranks


def _judgement(
    row: Any, task: JudgedTask, places: dict[str, int], ranks: dict[str, int | None]
) -> Judgement:
    shown = [places[item] for item in row.shown_order if item in places]
    return Judgement(
        ranking_id=row.id,
        labeler=row.labeler,
        simulated=bool(row.simulated),
        is_repeat=row.is_repeat,
        ranks=[ranks.get(item) for item in task.completion_ids],
        shown=shown if len(shown) == len(task.completion_ids) else [],
        active_ms=row.active_ms,
        created_at=row.created_at,
    )
