"""Rankings made elsewhere, stored a batch at a time: a handful of statements whatever its size."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, bindparam, or_, select, update
from sqlalchemy.orm import Session

from app.models import (
    Project,
    Ranking,
    RankingEntry,
    RankingSource,
    Round,
    RoundKind,
    RoundState,
    Task,
    new_ids,
    utc_now,
)
from app.preferences.bulk_insert import insert_rows
from app.preferences.imported_tasks import ImportedTask, ParsedRanking, origin_ids, store_tasks
from app.projects.rounds import FEWEST_COMPLETIONS, next_round_number

__all__ = ["ANONYMOUS", "ParsedRanking", "store_rankings"]

ANONYMOUS = "anonymous"


def store_rankings(session: Session, project_id: str, rankings: Sequence[ParsedRanking]) -> int:
    """Store those that are new, with their prompts, tasks and completions; says how many.

    A prompt that is there already keeps its own metadata and external id; tags are united. A task
    that is there keeps its own purpose and known order. A ranking is a duplicate when

    - its `external_id` is that of one the project has,
    - its `ranking_id`, or one it had elsewhere, is that of one the project has or had imported,
    - or it has no `external_id`, and the same labeler gave the same completions the same ranks. Of
      those with a `ranking_id`, repeats by their own word are told apart by that alone.

    Any other ranking of the same task by the same labeler is a repeat: kept, and marked. The import
    round is locked meanwhile, so that two imports at once do not store one twice.
    """
    round_ = _lock_import_round(session, project_id)
    tasks = store_tasks(session, round_, rankings)
    _load_given(session, tasks, rankings)
    external_ids = _known_external_ids(session, project_id, rankings)
    own = _known_ids(session, project_id, rankings)
    version = session.scalars(
        select(Project.guidelines_version).where(Project.id == project_id)
    ).one()
    moment = utc_now()
    ranking_rows: list[dict[str, Any]] = []
    entry_rows: list[dict[str, Any]] = []
    got: dict[str, int] = defaultdict(int)
    for ranking_id, ranking in zip(new_ids(len(rankings)), rankings, strict=True):
        task = tasks[ranking.task_hash]
        if not own.isdisjoint(ranking.ranking_ids) or _is_known(task, ranking, external_ids):
            continue
        if ranking.external_id is not None:
            external_ids.add(ranking.external_id)
        labeler = ranking.labeler or _name_anonymous(task)
        is_repeat = ranking.is_repeat or labeler in task.firsts
        task.add(labeler, ranking.said, is_repeat=is_repeat, ranking_ids=ranking.ranking_ids)
        got[task.id] += not is_repeat
        row = {"id": ranking_id, "project_id": project_id, "is_repeat": is_repeat}
        ranking_rows.append(row | _ranking_row(ranking, task, labeler, version, moment))
        entry_rows += _entry_rows(ranking_id, ranking, task)
    if ranking_rows:
        insert_rows(session, Ranking, ranking_rows)
        insert_rows(session, RankingEntry, entry_rows)
        _count_rankings(session, got)
    return len(ranking_rows)


def _ranking_row(
    ranking: ParsedRanking, task: ImportedTask, labeler: str, version: int, moment: datetime
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "task_id": task.id,
        "labeler": labeler,
        "source": RankingSource.SIMULATED if ranking.simulated else RankingSource.IMPORT,
        "external_id": ranking.external_id,
        "comment": ranking.comment,
        "active_ms": ranking.active_ms,
        "guidelines_version": ranking.guidelines_version or version,
        "created_at": ranking.created_at or moment,
        "shown_order": [],
    }
    if ranking.shown:
        by_place = dict(zip(ranking.order, task.completion_ids, strict=True))
        row["shown_order"] = [by_place[place] for place in ranking.shown]
    origin = dict(ranking.origin or {})
    if not ranking.ranking_ids <= {origin.get("ranking_id")}:
        origin["ranking_ids"] = sorted(ranking.ranking_ids)
    if origin:
        row["origin"] = origin
    return row


def _entry_rows(
    ranking_id: str, ranking: ParsedRanking, task: ImportedTask
) -> Iterator[dict[str, Any]]:
    for completion_id, place in zip(task.completion_ids, ranking.order, strict=True):
        yield {
            "ranking_id": ranking_id,
            "completion_id": completion_id,
            "rank": ranking.ranks[place],
            "rating": ranking.ratings[place],
            "flags": ranking.flags[place],
        }


def _is_known(task: ImportedTask, ranking: ParsedRanking, external_ids: set[str]) -> bool:
    if ranking.external_id is not None and ranking.external_id in external_ids:
        return True
    if not task.ranking_ids.isdisjoint(ranking.ranking_ids):
        return True
    if ranking.external_id is not None:
        return False
    if ranking.labeler is not None and ranking.ranking_ids:
        # Of one export, or of two with a revision between them.
        return not ranking.is_repeat and task.firsts.get(ranking.labeler) == ranking.said
    if ranking.labeler is not None:
        return ranking.said in task.given.get(ranking.labeler, ())
    return any(ranking.said in given for name, given in task.given.items() if _is_anonymous(name))


def _is_anonymous(labeler: str) -> bool:
    return labeler == ANONYMOUS or labeler.startswith(f"{ANONYMOUS}-")


def _name_anonymous(task: ImportedTask) -> str:
    """A name that nobody has who ranked the task: those without one are different people."""
    number = 1 + sum(_is_anonymous(name) for name in task.given)
    name = ANONYMOUS if number == 1 else f"{ANONYMOUS}-{number}"
    while name in task.given:
        number += 1
        name = f"{ANONYMOUS}-{number}"
    return name


def _count_rankings(session: Session, got: dict[str, int]) -> None:
    """Keep what the labeling service keeps for the tasks it hands out."""
    session.connection().execute(
        update(Task)
        .where(Task.id == bindparam("task"))
        .values(
            rankings_got=Task.rankings_got + bindparam("count"),
            rankings_wanted=Task.rankings_wanted + bindparam("count"),
            slots_taken=Task.slots_taken + bindparam("count"),
        ),
        [{"task": task, "count": count} for task, count in got.items()],
    )


def _lock_import_round(session: Session, project_id: str) -> Round:
    """The project's round for imports, made at the first one; it asks no labeler to rank."""
    session.execute(select(Project.id).where(Project.id == project_id).with_for_update())
    round_ = session.scalar(
        select(Round).where(
            Round.project_id == project_id,
            Round.kind == RoundKind.IMPORTED,
            Round.labelers_per_task == 0,
        )
    )
    if round_ is None:
        round_ = Round(
            project_id=project_id,
            number=next_round_number(session, project_id),
            kind=RoundKind.IMPORTED,
            state=RoundState.CLOSED,
            completions_per_prompt=FEWEST_COMPLETIONS,
            labelers_per_task=0,
            closed_at=utc_now(),
        )
        session.add(round_)
        session.flush()
    return round_


def _load_given(
    session: Session, tasks: dict[str, ImportedTask], rankings: Sequence[ParsedRanking]
) -> None:
    """What the labelers of these rankings said of the tasks so far."""
    by_id = {tasks[ranking.task_hash].id: ranking for ranking in rankings}
    rows = session.execute(
        select(
            Ranking.id,
            Ranking.task_id,
            Ranking.labeler,
            Ranking.is_repeat,
            Ranking.origin,
            RankingEntry.completion_id,
            RankingEntry.rank,
        )
        .join(RankingEntry, RankingEntry.ranking_id == Ranking.id)
        .where(Ranking.task_id.in_(by_id), Ranking.current, _may_be_same(rankings))
    )
    given: dict[str, tuple[Any, dict[str, int | None]]] = {}
    for row in rows:
        given.setdefault(row.id, (row, {}))[1][row.completion_id] = row.rank
    for row, ranks in given.values():
        ranking = by_id[row.task_id]
        task = tasks[ranking.task_hash]
        task.add(
            row.labeler,
            ranking.canonical([ranks.get(completion_id) for completion_id in task.completion_ids]),
            is_repeat=row.is_repeat,
            ranking_ids=origin_ids(row.origin),
        )


def _may_be_same(rankings: Sequence[ParsedRanking]) -> ColumnElement[bool]:
    """Rankings by the same labelers: a task that a crowd has ranked is not read for each of it."""
    named = Ranking.labeler.in_({r.labeler for r in rankings if r.labeler is not None})
    if all(ranking.labeler is not None for ranking in rankings):
        return named
    return or_(named, Ranking.labeler == ANONYMOUS, Ranking.labeler.like(f"{ANONYMOUS}-%"))


def _known_external_ids(
    session: Session, project_id: str, rankings: Sequence[ParsedRanking]
) -> set[str]:
    named = {ranking.external_id for ranking in rankings if ranking.external_id is not None}
    if not named:
        return set()
    known = select(Ranking.external_id).where(
        Ranking.project_id == project_id, Ranking.current, Ranking.external_id.in_(named)
    )
    return {external_id for external_id in session.scalars(known) if external_id is not None}


def _known_ids(session: Session, project_id: str, rankings: Sequence[ParsedRanking]) -> set[str]:
    named = {one for ranking in rankings for one in ranking.ranking_ids}
    if not named:
        return set()
    known = select(Ranking.id).where(Ranking.project_id == project_id, Ranking.id.in_(named))
    return set(session.scalars(known))
