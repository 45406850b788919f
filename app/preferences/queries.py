"""Rankings and pairs read from the database in one order, with flat memory."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any

from sqlalchemy import Select, String, case, cast, func, or_, select
from sqlalchemy.orm import Session, aliased

from app.models import Completion, Prompt, Ranking, RankingEntry, Round, Snapshot, Task, User
from app.preferences.filters import (
    PairFilters,
    select_frozen,
    select_rankings,
    simulated_condition,
)
from app.preferences.pair_stream import PairStream
from app.preferences.splits import get_splits
from app.preferences.stored_rankings import RankedCompletion, RankedPrompt, StoredRanking

CHUNK_RANKINGS = 500
FIRST_CHUNK_RANKINGS = 10
CHUNK_CHARACTERS = 1_000_000
_task = aliased(Task)


def iter_rankings(
    session: Session, project_id: str, filters: PairFilters | None = None
) -> Iterator[StoredRanking]:
    """The project's rankings in the order they were made, a few hundred in memory at a time."""
    yield from _iter_selected(session, select_rankings(project_id, filters or PairFilters()))


def iter_rankings_by_task(
    session: Session, project_id: str, filters: PairFilters | None = None
) -> Iterator[list[StoredRanking]]:
    """The rankings of one task after the other, by task id, in the order made; no repeats.

    The database sorts and hands them out as they are asked for: a few hundred in memory at a time.
    """
    selected = select_rankings(project_id, filters or PairFilters()).where(~Ranking.is_repeat)
    columns = _with_columns(selected).order_by(Ranking.task_id, Ranking.id)
    rows = session.execute(columns, execution_options={"yield_per": CHUNK_RANKINGS})
    batch: list[Any] = []
    for _, of_task in groupby(rows, key=lambda row: row.task_id):
        batch += of_task
        if len(batch) >= CHUNK_RANKINGS:
            yield from _by_task(session, batch)
            batch = []
    yield from _by_task(session, batch)


def _by_task(session: Session, rows: list[Any]) -> Iterator[list[StoredRanking]]:
    rankings = _assemble(session, rows)
    for _, of_task in groupby(rankings, key=lambda ranking: ranking.task_id):
        yield list(of_task)


def iter_frozen_rankings(
    session: Session, snapshot: Snapshot, *, split: str | None = None
) -> Iterator[StoredRanking]:
    """The rankings a snapshot, or one of its parts, holds, in their frozen order.

    Raises:
        Invalid: the snapshot has no such part.
    """
    rankings = _iter_selected(session, select_frozen(snapshot.id))
    if split is None:
        yield from rankings
        return
    splits = get_splits(snapshot)
    splits.get_part(split)
    for ranking in rankings:
        if splits.part_of(ranking.prompt.content_hash, ranking.labeler) == split:
            yield ranking


def iter_pairs(
    session: Session,
    project_id: str,
    filters: PairFilters | None = None,
    *,
    include_identical: bool = False,
) -> PairStream:
    """The project's pairs, those of two identical texts only when asked for."""
    rankings = iter_rankings(session, project_id, filters)
    return PairStream(rankings, filters, include_identical=include_identical)


def iter_frozen_pairs(
    session: Session, snapshot: Snapshot, *, split: str | None = None
) -> PairStream:
    """The pairs a snapshot, or one of its parts, holds: the same in the same order, always."""
    rankings = iter_frozen_rankings(session, snapshot, split=split)
    return PairStream(rankings, PairFilters.from_json(snapshot.filters))


def list_rankings(
    session: Session,
    project_id: str,
    filters: PairFilters | None = None,
    *,
    before_id: str | None = None,
    limit: int = 10,
) -> list[StoredRanking]:
    """A page of the project's rankings, the newest first."""
    selected = select_rankings(project_id, filters or PairFilters())
    if before_id is not None:
        selected = selected.where(Ranking.id < before_id)
    columns = _with_columns(selected).order_by(Ranking.id.desc()).limit(limit)
    return _assemble(session, session.execute(columns).all())


def list_frozen_rankings(
    session: Session, snapshot_id: str, *, limit: int = 10
) -> list[StoredRanking]:
    """The first rankings a snapshot holds."""
    columns = _with_columns(select_frozen(snapshot_id)).order_by(Ranking.id).limit(limit)
    return _assemble(session, session.execute(columns).all())


def list_rankings_by_id(session: Session, ids: Collection[str]) -> list[StoredRanking]:
    """These rankings, whether they count or not, in the order made; erased ones say nothing."""
    selected = (
        select(Ranking.id).outerjoin(User, User.id == Ranking.user_id).where(Ranking.id.in_(ids))
    )
    rows = session.execute(_with_columns(selected).order_by(Ranking.id)).all()
    return list(_assemble(session, rows))


def list_labelers(session: Session, project_id: str, *, limit: int = 200) -> list[str]:
    """Who ranked in the project, by name."""
    labelers = select(Ranking.labeler).where(Ranking.project_id == project_id, Ranking.current)
    return list(session.scalars(labelers.distinct().order_by(Ranking.labeler).limit(limit)))


def list_completion_models(session: Session, project_id: str, *, limit: int = 200) -> list[str]:
    """Which models wrote completions of the project, by registry id or imported name."""
    model = func.coalesce(Completion.model_id, Completion.model_label)
    models = (
        select(model)
        .join(Task, Task.id == Completion.task_id)
        .where(Task.project_id == project_id, model.is_not(None))
    )
    return list(session.scalars(models.distinct().order_by(model).limit(limit)))


def _iter_selected(session: Session, selected: Select[str]) -> Iterator[StoredRanking]:
    """In chunks of about as many bytes, however long the texts are."""
    columns = _with_columns(selected).order_by(Ranking.id)
    last, count = "", FIRST_CHUNK_RANKINGS
    while True:
        statement = columns.where(Ranking.id > last).limit(count)
        rankings = _assemble(session, session.connection().execute(statement).all())
        if not rankings:
            return
        yield from rankings
        last = rankings[-1].id
        size = sum(len(item.text) for ranking in rankings for item in ranking.completions)
        count = min(CHUNK_RANKINGS, 1 + CHUNK_CHARACTERS * len(rankings) // max(size, 1))


def _with_columns(selected: Select[str]) -> Select[*tuple[Any, ...]]:
    """What a ranking and its task have in their own rows, in the order of `StoredRanking`; after
    that the id of its prompt."""
    return (
        selected.join(_task, _task.id == Ranking.task_id)
        .with_only_columns(
            Ranking.id,
            Ranking.task_id,
            _task.purpose,
            Round.number,
            Ranking.labeler,
            simulated_condition().label("simulated"),
            Ranking.source,
            Ranking.external_id,
            Ranking.is_repeat,
            Ranking.shown_order,
            Ranking.comment,
            Ranking.active_ms,
            Ranking.guidelines_version,
            Ranking.created_at,
            Ranking.origin,
            _task.gold_ranks,
            _task.prompt_id,
        )
        .join(Round, Round.id == _task.round_id)
    )


def _assemble(session: Session, rows: Sequence[Any]) -> list[StoredRanking]:
    """The chunk's rankings with their prompts, completions and ranks: one query for each kind.

    Straight from the connection, and by place rather than by name: an ORM session would look at
    each of the rows once more, and this is most of what an export takes.
    """
    prompts = _load_prompts(session, {row[-1] for row in rows})
    completions = _load_completions(session, {row[1] for row in rows})
    ranks, marked = _load_ranks(session, [row[0] for row in rows])
    marks = _load_marks(session, marked)
    rankings = []
    for row in rows:
        ranked = completions[row[1]]
        of_ranking = ranks.get(row[0], {})
        ratings, flags = _unmarked(len(ranked))
        if row[0] in marks:
            said = marks[row[0]]
            ratings = [said[0].get(item.id) for item in ranked]
            flags = [said[1].get(item.id, []) for item in ranked]
        numbers = [of_ranking.get(item.id) for item in ranked]
        spoken_of = (prompts[row[-1]], ranked, numbers, ratings, flags)
        rankings.append(StoredRanking._make((*row[:-1], *spoken_of)))
    return rankings


def _load_prompts(session: Session, ids: set[str]) -> dict[str, RankedPrompt]:
    prompts = select(
        Prompt.id,
        Prompt.messages,
        Prompt.is_chat,
        Prompt.content_hash,
        Prompt.external_id,
        Prompt.tags,
        Prompt.details,
    ).where(Prompt.id.in_(ids))
    return {row[0]: RankedPrompt._make(row) for row in session.connection().execute(prompts).all()}


def _load_completions(session: Session, task_ids: set[str]) -> dict[str, list[RankedCompletion]]:
    completions: dict[str, list[RankedCompletion]] = defaultdict(list)
    statement = (
        select(
            Completion.id,
            Completion.text,
            func.coalesce(Completion.model_id, Completion.model_label),
            Completion.finish_reason,
            Completion.token_count,
            Completion.task_id,
        )
        .where(Completion.task_id.in_(task_ids))
        .order_by(Completion.task_id, Completion.position)
    )
    for *said, task_id in session.connection().execute(statement).all():
        completions[task_id].append(RankedCompletion._make(said))
    return completions


def _load_ranks(
    session: Session, ranking_ids: list[str]
) -> tuple[dict[str, dict[str, int]], list[str]]:
    """The rank of each ranked completion, and the rankings that carry a rating or a flag.

    One row a ranking, "id rank,id rank": a row a completion takes twice the time to fetch.
    """
    rank = RankingEntry.completion_id + " " + cast(RankingEntry.rank, String)
    has_mark = or_(RankingEntry.rating.is_not(None), RankingEntry.flags != [])
    statement = (
        select(
            RankingEntry.ranking_id,
            func.aggregate_strings(rank, ","),
            func.max(case((has_mark, 1), else_=0)),
        )
        .where(RankingEntry.ranking_id.in_(ranking_ids))
        .group_by(RankingEntry.ranking_id)
    )
    ranks: dict[str, dict[str, int]] = {}
    marked = []
    for ranking_id, content, is_marked in session.connection().execute(statement).all():
        said = [item.split(" ") for item in content.split(",")] if content else []
        ranks[ranking_id] = {completion_id: int(number) for completion_id, number in said}
        if is_marked:
            marked.append(ranking_id)
    return ranks, marked


Marks = tuple[dict[str, int], dict[str, list[str]]]
"""Ratings and flags by completion, where there are any."""


@lru_cache
def _unmarked(completions: int) -> tuple[Sequence[int | None], Sequence[Sequence[str]]]:
    """Ratings and flags where there are none."""
    return (None,) * completions, ((),) * completions


def _load_marks(session: Session, ranking_ids: list[str]) -> dict[str, Marks]:
    if not ranking_ids:
        return {}
    statement = select(
        RankingEntry.ranking_id,
        RankingEntry.completion_id,
        RankingEntry.rating,
        RankingEntry.flags,
    ).where(RankingEntry.ranking_id.in_(ranking_ids))
    marks: dict[str, Marks] = defaultdict(lambda: ({}, {}))
    for row in session.connection().execute(statement):
        ratings, flags = marks[row.ranking_id]
        if row.rating is not None:
            ratings[row.completion_id] = row.rating
        if row.flags:
            flags[row.completion_id] = row.flags
    return marks
