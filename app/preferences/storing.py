"""Rankings made elsewhere, stored a batch at a time: a handful of statements whatever its size."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.orm import Session

from app.models import (
    Completion,
    Model,
    Project,
    Prompt,
    Ranking,
    RankingEntry,
    RankingSource,
    Round,
    RoundKind,
    RoundState,
    Task,
    TaskState,
    new_ids,
    opaque_id,
    utc_now,
)
from app.projects.messages import Message, messages_hash
from app.projects.prompts import ParsedPrompt, store_prompts
from app.projects.rounds import next_round_number

ANONYMOUS = "anonymous"
FEWEST_COMPLETIONS = 2


@dataclass(frozen=True, kw_only=True)
class ParsedRanking:
    """A ranking made elsewhere, checked; the lists are in the order of `completions`."""

    messages: list[Message]
    is_chat: bool
    completions: list[tuple[str, str | None]]
    """Text and model of each."""
    ranks: list[int | None]
    ratings: list[int | None]
    flags: list[list[str]]
    labeler: str | None
    external_id: str | None
    ranking_id: str | None
    """As Podium's own export gives it: a ranking that this project has is a duplicate."""
    simulated: bool
    comment: str
    active_ms: int | None
    prompt_external_id: str | None = None
    tags: list[str] = field(default_factory=list)
    """Of the prompt."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """Of the prompt."""
    finish_reasons: list[str | None] = field(default_factory=list)
    """One for each completion; empty where none is known."""
    token_counts: list[int | None] = field(default_factory=list)
    """One for each completion; empty where none is known."""
    created_at: datetime | None = None
    """None for the moment of the import."""
    shown: list[int] = field(default_factory=list)
    """The places of the completions in the order they were shown; empty where it is not known."""
    guidelines_version: int | None = None
    """None for the project's present one."""
    is_repeat: bool = False
    """The source says that its labeler had ranked the task before."""
    purpose: str | None = None
    gold: list[int] | None = None
    """The known ranks, one for each completion."""
    origin: dict[str, Any] | None = None

    @property
    def order(self) -> list[int]:
        """The places of the completions in an order that depends on their content alone."""
        content = [(text, model or "") for text, model in self.completions]
        return sorted(range(len(content)), key=lambda place: (content[place], place))

    @property
    def task_hash(self) -> str:
        """What makes it a ranking of the same task as another: prompt and completions."""
        content = [self.completions[place] for place in self.order]
        document = json.dumps([messages_hash(self.messages), content], ensure_ascii=False)
        return hashlib.sha256(document.encode()).hexdigest()


@dataclass
class _ImportedTask:
    """A task of the import round, with what is needed to tell duplicates and repeats."""

    id: str
    completion_ids: list[str]
    """In the order of `ParsedRanking.order`."""
    ranks_by_labeler: dict[str, list[list[int | None]]]


def store_rankings(session: Session, project_id: str, rankings: Sequence[ParsedRanking]) -> int:
    """Store those that are new, with their prompts, tasks and completions; says how many.

    The import round is locked meanwhile, so that two imports at once do not store one twice.
    """
    round_ = _lock_import_round(session, project_id)
    tasks = _store_tasks(session, round_, rankings)
    external_ids = _known_external_ids(session, project_id, rankings)
    own = _known_ids(session, project_id, rankings)
    version = session.scalars(
        select(Project.guidelines_version).where(Project.id == project_id)
    ).one()
    ranking_rows: list[dict[str, Any]] = []
    entry_rows: list[dict[str, Any]] = []
    got: dict[str, int] = defaultdict(int)
    for ranking_id, ranking in zip(new_ids(len(rankings)), rankings, strict=True):
        task = tasks[ranking.task_hash]
        ranks = [ranking.ranks[place] for place in ranking.order]
        if ranking.ranking_id in own:
            continue
        if ranking.external_id is not None:
            if ranking.external_id in external_ids:
                continue
            external_ids.add(ranking.external_id)
        elif _is_known(task, ranking.labeler, ranks):
            continue
        labeler, is_repeat = _place_labeler(task, ranking.labeler)
        task.ranks_by_labeler.setdefault(labeler, []).append(ranks)
        got[task.id] += not is_repeat
        row = _ranking_row(ranking, task.id, labeler, is_repeat)
        ranking_rows.append(
            row | {"id": ranking_id, "project_id": project_id, "guidelines_version": version}
        )
        entry_rows += [
            {
                "ranking_id": ranking_id,
                "completion_id": completion_id,
                "rank": ranking.ranks[place],
                "rating": ranking.ratings[place],
                "flags": ranking.flags[place],
            }
            for completion_id, place in zip(task.completion_ids, ranking.order, strict=True)
        ]
    if ranking_rows:
        session.execute(insert(Ranking), ranking_rows)
        session.execute(insert(RankingEntry), entry_rows)
        _count_rankings(session, got)
    return len(ranking_rows)


def _ranking_row(
    ranking: ParsedRanking, task_id: str, labeler: str, is_repeat: bool
) -> dict[str, Any]:
    return {
        "task_id": task_id,
        "labeler": labeler,
        "source": RankingSource.SIMULATED if ranking.simulated else RankingSource.IMPORT,
        "external_id": ranking.external_id,
        "is_repeat": is_repeat,
        "comment": ranking.comment,
        "active_ms": ranking.active_ms,
    }


def _is_known(task: _ImportedTask, labeler: str | None, ranks: list[int | None]) -> bool:
    if labeler is not None:
        return ranks in task.ranks_by_labeler.get(labeler, [])
    return any(
        ranks in given for name, given in task.ranks_by_labeler.items() if _is_anonymous(name)
    )


def _is_anonymous(labeler: str) -> bool:
    return labeler == ANONYMOUS or labeler.startswith(f"{ANONYMOUS}-")


def _place_labeler(task: _ImportedTask, labeler: str | None) -> tuple[str, bool]:
    """The name to store, and whether this labeler ranked the task before."""
    if labeler is not None:
        return labeler, labeler in task.ranks_by_labeler
    number = 1 + sum(_is_anonymous(name) for name in task.ranks_by_labeler)
    return (ANONYMOUS if number == 1 else f"{ANONYMOUS}-{number}"), False


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


def _store_tasks(
    session: Session, round_: Round, rankings: Sequence[ParsedRanking]
) -> dict[str, _ImportedTask]:
    """The tasks of the rankings by their hash; those that were not there are stored."""
    wanted = {ranking.task_hash: ranking for ranking in reversed(rankings)}
    known = _load_tasks(session, round_, set(wanted))
    fresh = [(key, wanted[key]) for key in wanted if key not in known]
    if not fresh:
        return known
    prompt_ids = _store_batch_prompts(session, round_.project_id, [task for _, task in fresh])
    named = {model for _, task in fresh for _, model in task.completions if model is not None}
    registered = set(session.scalars(select(Model.id).where(Model.id.in_(named))))
    task_rows: list[dict[str, Any]] = []
    completion_rows: list[dict[str, Any]] = []
    for task_id, (key, ranking) in zip(new_ids(len(fresh)), reversed(fresh), strict=True):
        ids = [opaque_id() for _ in ranking.completions]
        task_rows.append(
            {
                "id": task_id,
                "project_id": round_.project_id,
                "round_id": round_.id,
                "prompt_id": prompt_ids[messages_hash(ranking.messages)],
                "state": TaskState.COMPLETE,
                "rankings_wanted": 0,
                "content_hash": key,
            }
        )
        completion_rows += [
            {
                "id": ids[place],
                "task_id": task_id,
                "position": place,
                "text": text,
                "model_id": model if model in registered else None,
                "model_label": None if model in registered else model,
            }
            for place, (text, model) in enumerate(ranking.completions)
        ]
        known[key] = _ImportedTask(task_id, [ids[place] for place in ranking.order], {})
    session.execute(insert(Task), task_rows)
    session.execute(insert(Completion), completion_rows)
    most = max(len(ranking.completions) for _, ranking in fresh)
    round_.completions_per_prompt = max(round_.completions_per_prompt, most)
    session.flush()
    return known


def _load_tasks(session: Session, round_: Round, keys: set[str]) -> dict[str, _ImportedTask]:
    tasks: dict[str, _ImportedTask] = {}
    by_id: dict[str, _ImportedTask] = {}
    for task_id, key in session.execute(
        select(Task.id, Task.content_hash).where(
            Task.round_id == round_.id, Task.content_hash.in_(keys)
        )
    ):
        by_id[task_id] = tasks[key or ""] = _ImportedTask(task_id, [], {})
    model = func.coalesce(Completion.model_id, Completion.model_label, "")
    completions: dict[str, list[tuple[tuple[str, str], int, str]]] = defaultdict(list)
    for row in session.execute(
        select(
            Completion.task_id, Completion.id, Completion.text, model, Completion.position
        ).where(Completion.task_id.in_(by_id))
    ):
        completions[row[0]].append(((row[2], row[3]), row[4], row[1]))
    for task_id, items in completions.items():
        by_id[task_id].completion_ids = [item[2] for item in sorted(items)]
    _load_ranks(session, by_id)
    return tasks


def _load_ranks(session: Session, tasks: dict[str, _ImportedTask]) -> None:
    """What each labeler said of the tasks so far."""
    given: dict[str, tuple[str, str, dict[str, int | None]]] = {}
    for row in session.execute(
        select(
            Ranking.id,
            Ranking.task_id,
            Ranking.labeler,
            RankingEntry.completion_id,
            RankingEntry.rank,
        )
        .join(RankingEntry, RankingEntry.ranking_id == Ranking.id)
        .where(Ranking.task_id.in_(tasks), Ranking.current)
    ):
        given.setdefault(row.id, (row.task_id, row.labeler, {}))[2][row.completion_id] = row.rank
    for task_id, labeler, ranks in given.values():
        task = tasks[task_id]
        task.ranks_by_labeler.setdefault(labeler, []).append(
            [ranks.get(completion_id) for completion_id in task.completion_ids]
        )


def _store_batch_prompts(
    session: Session, project_id: str, rankings: Sequence[ParsedRanking]
) -> dict[str, str]:
    """The ids of the rankings' prompts by their hash, stored now where they were not there."""
    prompts = [
        ParsedPrompt(ranking.messages, ranking.is_chat, None, {}) for ranking in reversed(rankings)
    ]
    store_prompts(session, project_id, prompts)
    hashes = {prompt.content_hash for prompt in prompts}
    found = session.execute(
        select(Prompt.content_hash, Prompt.id).where(
            Prompt.project_id == project_id, Prompt.content_hash.in_(hashes)
        )
    )
    return dict(found.all())


def _known_external_ids(
    session: Session, project_id: str, rankings: Sequence[ParsedRanking]
) -> set[str]:
    named = {ranking.external_id for ranking in rankings if ranking.external_id is not None}
    return set(
        session.scalars(
            select(Ranking.external_id).where(
                Ranking.project_id == project_id, Ranking.current, Ranking.external_id.in_(named)
            )
        )
    )


def _known_ids(
    session: Session, project_id: str, rankings: Sequence[ParsedRanking]
) -> set[str | None]:
    named = {ranking.ranking_id for ranking in rankings if ranking.ranking_id is not None}
    known = select(Ranking.id).where(Ranking.project_id == project_id, Ranking.id.in_(named))
    return set(session.scalars(known)) if named else set()
