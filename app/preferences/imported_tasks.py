"""Rankings made elsewhere as they were understood, and the tasks that they speak of, stored."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.orm import Session

from app.models import (
    Completion,
    Model,
    Prompt,
    Round,
    Task,
    TaskPurpose,
    TaskState,
    new_ids,
    opaque_id,
    utc_now,
)
from app.preferences.bulk_insert import insert_rows
from app.projects.messages import Message, json_bytes, messages_hash
from app.projects.prompts import ParsedPrompt, store_prompts

Ranks = tuple[int | None, ...]


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
    """What the source says beside it. `ranking_id` is that of the project it was exported from,
    `ranking_ids`, kept by the import, those of all that it came through."""

    @cached_property
    def order(self) -> list[int]:
        """The places of the completions in an order that depends on their content alone."""
        content = [(text, model or "") for text, model in self.completions]
        return sorted(range(len(content)), key=lambda place: (content[place], place))

    @cached_property
    def prompt_hash(self) -> str:
        """What makes it a ranking of the same prompt as another."""
        return messages_hash(self.messages)

    @cached_property
    def task_hash(self) -> str:
        """What makes it a ranking of the same task as another: prompt and completions."""
        content = b", ".join(
            b"[%s, %s]" % (json_bytes(text), json_bytes(model))
            for text, model in (self.completions[place] for place in self.order)
        )
        return hashlib.sha256(b'["%s", [%s]]' % (self.prompt_hash.encode(), content)).hexdigest()

    @cached_property
    def twins(self) -> list[slice]:
        """Where in `order` completions of the same text and the same model lie."""
        content = [self.completions[place] for place in self.order]
        starts = [n for n in range(len(content)) if n == 0 or content[n] != content[n - 1]]
        if len(starts) == len(content):
            return []
        ends = [*starts[1:], len(content)]
        return [slice(a, b) for a, b in zip(starts, ends, strict=True) if b - a > 1]

    @cached_property
    def said(self) -> Ranks:
        """The ranks by content: whatever the order of the completions, the same ranking."""
        return self.canonical([self.ranks[place] for place in self.order])

    def canonical(self, ranks: Sequence[int | None]) -> Ranks:
        """Ranks in the order of `order`, those of twins sorted: nothing tells which had which."""
        if not self.twins:
            return tuple(ranks)
        sorted_ranks = list(ranks)
        for twins in self.twins:
            sorted_ranks[twins] = sorted(
                sorted_ranks[twins], key=lambda rank: (rank is None, rank or 0)
            )
        return tuple(sorted_ranks)

    @cached_property
    def ranking_ids(self) -> frozenset[str]:
        """The ids that it has, or had, in projects of Podium."""
        ids = origin_ids(self.origin)
        return ids if self.ranking_id is None else ids | {self.ranking_id}


def origin_ids(origin: dict[str, Any] | None) -> frozenset[str]:
    """The ids that an imported ranking had in the projects it came through."""
    if origin is None:
        return frozenset()
    earlier = origin.get("ranking_ids")
    ids = [origin.get("ranking_id"), *(earlier if isinstance(earlier, list) else ())]
    return frozenset(one for one in ids if isinstance(one, str))


@dataclass
class ImportedTask:
    """A task of the import round, with what is needed to tell duplicates and repeats."""

    id: str
    completion_ids: list[str]
    """In the order of `ParsedRanking.order`."""
    given: dict[str, set[Ranks]] = field(default_factory=dict)
    """What each labeler said."""
    firsts: dict[str, Ranks] = field(default_factory=dict)
    """What each said in the one ranking of it that is not a repeat."""
    ranking_ids: set[str] = field(default_factory=set)
    """Those that its rankings had elsewhere."""

    def add(
        self, labeler: str, said: Ranks, *, is_repeat: bool, ranking_ids: Iterable[str]
    ) -> None:
        """Remember a ranking of it."""
        self.given.setdefault(labeler, set()).add(said)
        self.ranking_ids.update(ranking_ids)
        if not is_repeat:
            self.firsts[labeler] = said


def store_tasks(
    session: Session, round_: Round, rankings: Sequence[ParsedRanking]
) -> dict[str, ImportedTask]:
    """The tasks of the rankings by their hash; those that were not there are stored."""
    wanted: dict[str, ParsedRanking] = {}
    for ranking in rankings:
        wanted.setdefault(ranking.task_hash, ranking)
    known = _load_tasks(session, round_, wanted)
    fresh = [ranking for key, ranking in wanted.items() if key not in known]
    prompt_ids = _store_batch_prompts(session, round_.project_id, fresh, rankings)
    if not fresh:
        return known
    named = {model for ranking in fresh for _, model in ranking.completions if model is not None}
    registered = set(session.scalars(select(Model.id).where(Model.id.in_(named))))
    moment = utc_now()
    task_rows: list[dict[str, Any]] = []
    completion_rows: list[dict[str, Any]] = []
    for task_id, ranking in zip(new_ids(len(fresh)), fresh, strict=True):
        ids = [opaque_id() for _ in ranking.completions]
        prompt_id = prompt_ids[ranking.prompt_hash]
        row = {"id": task_id, "project_id": round_.project_id, "round_id": round_.id}
        task_rows.append(
            row | _task_row(ranking, ids) | {"prompt_id": prompt_id, "created_at": moment}
        )
        completion_rows += [
            {"task_id": task_id, "created_at": moment} | row
            for row in _completion_rows(ranking, ids, registered)
        ]
        in_order = [ids[place] for place in ranking.order]
        known[ranking.task_hash] = ImportedTask(task_id, in_order)
    insert_rows(session, Task, task_rows)
    insert_rows(session, Completion, completion_rows)
    most = max(len(ranking.completions) for ranking in fresh)
    if most > round_.completions_per_prompt:
        round_.completions_per_prompt = most
        session.flush()
    return known


def _task_row(ranking: ParsedRanking, completion_ids: list[str]) -> dict[str, Any]:
    """The import round is closed, so that nobody is given a task of it, gold or not."""
    row: dict[str, Any] = {
        "state": TaskState.COMPLETE,
        "purpose": TaskPurpose.ORDINARY,
        "rankings_wanted": 0,
        "content_hash": ranking.task_hash,
    }
    if ranking.gold is not None:
        row["gold_ranks"] = dict(zip(completion_ids, ranking.gold, strict=True))
    if ranking.purpose == TaskPurpose.CALIBRATION or (
        ranking.purpose == TaskPurpose.GOLD and ranking.gold is not None
    ):
        row["purpose"] = ranking.purpose
    return row


def _completion_rows(
    ranking: ParsedRanking, ids: list[str], registered: set[str]
) -> list[dict[str, Any]]:
    count = len(ids)
    reasons = ranking.finish_reasons or [None] * count
    tokens = ranking.token_counts or [None] * count
    return [
        {
            "id": ids[place],
            "position": place,
            "text": text,
            "model_id": model if model in registered else None,
            "model_label": None if model in registered else model,
            "finish_reason": reasons[place],
            "token_count": tokens[place],
        }
        for place, (text, model) in enumerate(ranking.completions)
    ]


def _load_tasks(
    session: Session, round_: Round, wanted: dict[str, ParsedRanking]
) -> dict[str, ImportedTask]:
    tasks: dict[str, ImportedTask] = {}
    by_id: dict[str, ImportedTask] = {}
    for task_id, key in session.execute(
        select(Task.id, Task.content_hash).where(
            Task.round_id == round_.id, Task.content_hash.in_(wanted)
        )
    ):
        by_id[task_id] = tasks[key or ""] = ImportedTask(task_id, [])
    if not by_id:
        return tasks
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
    return tasks


def _store_batch_prompts(
    session: Session,
    project_id: str,
    fresh: Sequence[ParsedRanking],
    rankings: Sequence[ParsedRanking],
) -> dict[str, str]:
    """The ids of the new tasks' prompts by their hash, stored now where they were not there.

    Every ranking's tags come to its prompt, whether or not that was there.
    """
    tags: dict[str, dict[str, None]] = defaultdict(dict)
    for ranking in rankings:
        if ranking.tags:
            tags[ranking.prompt_hash].update(dict.fromkeys(ranking.tags))
    parsed = [
        ParsedPrompt(
            messages=ranking.messages,
            is_chat=ranking.is_chat,
            external_id=ranking.prompt_external_id,
            details=ranking.metadata,
            tags=list(tags.get(ranking.prompt_hash, ())),
        )
        for ranking in fresh
    ]
    if parsed:
        store_prompts(session, project_id, parsed)
    hashes = {ranking.prompt_hash for ranking in fresh} | tags.keys()
    if not hashes:
        return {}
    found = session.execute(
        select(Prompt.content_hash, Prompt.id, Prompt.tags).where(
            Prompt.project_id == project_id, Prompt.content_hash.in_(hashes)
        )
    ).all()
    tagged = [
        {"prompt": row.id, "united": [*row.tags, *missing]}
        for row in found
        if (missing := [tag for tag in tags.get(row.content_hash, ()) if tag not in row.tags])
    ]
    if tagged:
        session.connection().execute(
            update(Prompt).where(Prompt.id == bindparam("prompt")).values(tags=bindparam("united")),
            tagged,
        )
        session.expire_all()
    return {row.content_hash: row.id for row in found}
