"""Tasks as training reads them: a snapshot's rankings of them, or their completions alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Row, Select, select
from sqlalchemy.orm import Session

from app.models import (
    Completion,
    Prompt,
    Ranking,
    RankingEntry,
    Snapshot,
    SnapshotRanking,
    Task,
    TaskState,
    User,
)
from app.preferences.filters import PairFilters, simulated_condition
from app.projects.messages import Message

CHUNK_TASKS = 200


@dataclass(frozen=True, kw_only=True)
class FrozenRanking:
    """One labeler's ranks of a task's completions, in their order; None is unranked.

    `ratings` are 1 to 7; None is unrated.
    """

    ranking_id: str
    labeler: str
    simulated: bool
    ranks: list[int | None]
    ratings: list[int | None]


@dataclass(frozen=True, kw_only=True)
class RankedTask:
    """One prompt with its completions and every frozen ranking of them: what training reads."""

    task_id: str
    prompt_id: str
    round_id: str
    messages: list[Message]
    completions: list[str]
    completion_ids: list[str]
    finished: list[bool]
    """Whether each completion ended by itself; False for those known to have run out of tokens."""
    rankings: list[FrozenRanking]
    length_difference: tuple[int | None, int | None]
    """Of the pairs only those whose chosen text is at least and at most so many characters
    longer were frozen."""


@dataclass(frozen=True)
class _Completions:
    """Those of one task, in their order."""

    ids: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    finished: list[bool] = field(default_factory=list)


def iter_ranked_tasks(session: Session, snapshot: Snapshot) -> Iterator[RankedTask]:
    """The snapshot's tasks with their rankings, in order of task, a few hundred at a time."""
    filters = PairFilters.from_json(snapshot.filters)
    length_difference = (filters.min_length_difference, filters.max_length_difference)
    tasks = _tasks.where(
        Task.id.in_(
            select(Ranking.task_id)
            .join(SnapshotRanking, SnapshotRanking.ranking_id == Ranking.id)
            .where(SnapshotRanking.snapshot_id == snapshot.id, Ranking.erased_at.is_(None))
        )
    )
    for rows in _chunks(session, tasks):
        completions = _completions(session, [row.id for row in rows])
        rankings = _frozen_rankings(session, snapshot.id, completions)
        for row in rows:
            yield _task(row, completions[row.id], rankings[row.id], length_difference)


def iter_labeled_tasks(session: Session, project_id: str) -> Iterator[RankedTask]:
    """The project's tasks that people can rank or have ranked, without their rankings."""
    states = [TaskState.OPEN, TaskState.COMPLETE]
    tasks = _tasks.where(Task.project_id == project_id, Task.state.in_(states))
    for rows in _chunks(session, tasks):
        completions = _completions(session, [row.id for row in rows])
        for row in rows:
            yield _task(row, completions[row.id], [], (None, None))


_tasks = (
    select(Task.id, Task.prompt_id, Task.round_id, Prompt.messages)
    .join(Prompt, Prompt.id == Task.prompt_id)
    .order_by(Task.id)
    .limit(CHUNK_TASKS)
)


def _chunks(
    session: Session, tasks: Select[str, str, str, list[Message]]
) -> Iterator[Sequence[Row[str, str, str, list[Message]]]]:
    last = ""
    while rows := session.execute(tasks.where(Task.id > last)).all():
        yield rows
        last = rows[-1].id


def _task(
    row: Row[str, str, str, list[Message]],
    completions: _Completions,
    rankings: list[FrozenRanking],
    length_difference: tuple[int | None, int | None],
) -> RankedTask:
    return RankedTask(
        task_id=row.id,
        prompt_id=row.prompt_id,
        round_id=row.round_id,
        messages=row.messages,
        completions=completions.texts,
        completion_ids=completions.ids,
        finished=completions.finished,
        rankings=rankings,
        length_difference=length_difference,
    )


def _completions(session: Session, task_ids: Sequence[str]) -> dict[str, _Completions]:
    found = {task_id: _Completions() for task_id in task_ids}
    for row in session.execute(
        select(Completion.id, Completion.task_id, Completion.text, Completion.finish_reason)
        .where(Completion.task_id.in_(task_ids))
        .order_by(Completion.task_id, Completion.position)
    ):
        of_task = found[row.task_id]
        of_task.ids.append(row.id)
        of_task.texts.append(row.text)
        of_task.finished.append(row.finish_reason != "length")
    return found


def _frozen_rankings(
    session: Session, snapshot_id: str, completions: dict[str, _Completions]
) -> dict[str, list[FrozenRanking]]:
    rankings: dict[str, list[FrozenRanking]] = {task_id: [] for task_id in completions}
    positions = {
        completion_id: place
        for of_task in completions.values()
        for place, completion_id in enumerate(of_task.ids)
    }
    by_id: dict[str, FrozenRanking] = {}
    entries = (
        select(
            Ranking.id,
            Ranking.task_id,
            Ranking.labeler,
            simulated_condition().label("simulated"),
            RankingEntry.completion_id,
            RankingEntry.rank,
            RankingEntry.rating,
        )
        .join(SnapshotRanking, SnapshotRanking.ranking_id == Ranking.id)
        .join(RankingEntry, RankingEntry.ranking_id == Ranking.id)
        .outerjoin(User, User.id == Ranking.user_id)
        .where(SnapshotRanking.snapshot_id == snapshot_id, Ranking.task_id.in_(completions))
        .order_by(Ranking.id)
    )
    for row in session.execute(entries):
        ranking = by_id.get(row.id)
        if ranking is None:
            count = len(completions[row.task_id].ids)
            ranking = FrozenRanking(
                ranking_id=row.id,
                labeler=row.labeler,
                simulated=bool(row.simulated),
                ranks=[None] * count,
                ratings=[None] * count,
            )
            by_id[row.id] = ranking
            rankings[row.task_id].append(ranking)
        place = positions[row.completion_id]
        ranking.ranks[place], ranking.ratings[place] = row.rank, row.rating
    return rankings
