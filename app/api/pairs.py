"""Preferred-first pairs over REST: streamed as they are now, or frozen in a snapshot."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from app.api.paging import Cursor, Limit
from app.api.pair_filters import (
    ExportQuery,
    TrainingFilters,
    TrainingFiltersQuery,
    checked_filters,
)
from app.api.problems import problems
from app.api.snapshot_files import PAIR_CONTENT, get_visible_snapshot
from app.db import Database
from app.dependencies import Admin, AppDatabase, ReadSession, Researcher
from app.models import Snapshot
from app.preferences.filters import PairFilters
from app.preferences.formats import MEDIA_TYPES, PairFormat, PairSchema, export_pairs
from app.preferences.pair_counts import count_pairs
from app.preferences.queries import iter_pairs
from app.preferences.snapshots import freeze, list_snapshots
from app.preferences.splits import SplitBy, SplitPlan, get_splits
from app.projects.service import get_project

router = APIRouter(tags=["pairs"])

PAIRS_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "One pair a line (JSONL), item (JSON), record (CSV) or row (Parquet).",
        "content": PAIR_CONTENT,
    }
}
NOT_FROZEN = problems("rankings_erased", "invalid", "empty_snapshot")


class PairCountsOut(BaseModel):
    """What a set of filters comes to."""

    rankings: int = Field(description="Rankings that fit.", examples=[40])
    simulated_rankings: int = Field(description="Of those, by simulated labelers.", examples=[0])
    prompts: int = Field(description="Prompts they speak of.", examples=[40])
    labelers: int = Field(description="Labelers they are by.", examples=[2])
    pairs: int = Field(description="Pairs of two different texts.", examples=[238])
    identical: int = Field(
        description="Pairs of two identical texts, left out of exports unless asked for.",
        examples=[2],
    )
    empty: int = Field(
        description="Of the pairs, those with an empty side: left out of every schema but `plain`.",
        examples=[0],
    )


class SplitsIn(BaseModel):
    """How to part a snapshot for training and testing."""

    model_config = ConfigDict(extra="forbid")

    by: SplitBy = Field(
        default=SplitBy.PROMPT,
        description="What is never in two parts: `prompt` or `labeler`.",
        examples=["prompt"],
    )
    seed: int = Field(
        default=0, ge=0, le=2**63 - 1, description="Decides who comes into which.", examples=[0]
    )
    shares: dict[str, float] = Field(
        description="The share of the prompts (or labelers) of each part; they add up to 1.",
        examples=[{"train": 0.9, "test": 0.1}],
    )


class SnapshotIn(TrainingFilters):
    """What to freeze: the filters themselves, or under `filters`."""

    name: str = Field(
        default="", max_length=200, description="A name for people.", examples=["First round"]
    )
    splits: SplitsIn | None = Field(
        default=None,
        description="Parts to divide it into; they are stored with it and never change.",
        examples=[{"shares": {"train": 0.9, "test": 0.1}, "seed": 0, "by": "prompt"}],
    )
    licence: str = Field(
        default="",
        max_length=100,
        description="What the dataset card says: an SPDX identifier.",
        examples=["cc-by-4.0"],
    )
    filters: TrainingFilters | None = Field(
        default=None,
        description="The filters in an object of their own.",
        examples=[{"simulated": False}],
    )


class SplitPartOut(BaseModel):
    """One part of a snapshot."""

    name: str = Field(description="What `split` calls it.", examples=["train"])
    share: float = Field(description="The share that was asked for.", examples=[0.9])
    groups: int = Field(description="Prompts in it, or labelers.", examples=[36])
    rankings: int = Field(description="Rankings in it.", examples=[36])
    pairs: int = Field(description="Pairs in it.", examples=[214])


class SplitsOut(BaseModel):
    """How a snapshot is parted."""

    by: SplitBy = Field(description="What is never in two parts.", examples=["prompt"])
    seed: int = Field(description="What decided who comes into which.", examples=[0])
    parts: list[SplitPartOut] = Field(description="The parts.")


class SnapshotOut(BaseModel):
    """A frozen set of rankings, and so of the pairs they give."""

    id: str = Field(description="Its id.", examples=["019a0c1f7d3e4c5f8a9b0c1d2e3f4a5b"])
    project_id: str = Field(description="Its project.")
    name: str = Field(description="Its name for people.", examples=["First round"])
    filters: dict[str, Any] = Field(
        description="The filters it was made with.", examples=[{"simulated": False}]
    )
    sha256: str = Field(
        description="Of the pairs as JSONL in the plain schema, in their frozen order.",
        examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    )
    rankings: int = Field(description="Rankings it holds.", examples=[40])
    simulated_rankings: int = Field(description="Of those, by simulated labelers.", examples=[0])
    pairs: int = Field(description="Pairs of two different texts.", examples=[238])
    identical_pairs: int = Field(description="Pairs left out as identical.", examples=[2])
    prompts: int = Field(description="Prompts the rankings speak of.", examples=[40])
    labelers: int = Field(description="Labelers they are by.", examples=[2])
    guidelines_versions: dict[str, int] = Field(
        description="Rankings made under each version of the guidelines.", examples=[{"1": 40}]
    )
    splits: SplitsOut | None = Field(description="Its parts; null where it has none.")
    licence: str = Field(description="What its card says; empty: unknown.", examples=["cc-by-4.0"])
    erased_rankings: int = Field(
        description="Rankings of it that had to be erased since: the counts and the hash are "
        "those of the day it was made, its files lack them.",
        examples=[0],
    )
    created_at: datetime = Field(description="When it was made, RFC 3339 in UTC.")


class SnapshotList(BaseModel):
    """Snapshots, newest first."""

    items: list[SnapshotOut] = Field(description="The snapshots of this page.")
    next_cursor: str | None = Field(description="The `cursor` of the next page; null at the end.")


@router.get(
    "/projects/{project_id}/pairs",
    summary="Stream pairs",
    responses=PAIRS_STREAM,
    response_class=StreamingResponse,
)
def stream_pairs(
    project_id: str,
    session: ReadSession,
    user: Researcher,
    query: Annotated[ExportQuery, Query()],
    database: AppDatabase,
) -> StreamingResponse:
    """Every preferred-first pair of the rankings that count, in the order they were made.

    `plain` has everything Podium knows of a pair. The other schemas leave out pairs with an empty
    side. `GET /projects/{id}/pairs/counts` says how many there are of each.
    """
    project = get_project(session, project_id, user)
    filters = checked_filters(session, project.id, query)
    layout, schema = query.format, query.schema_
    return StreamingResponse(
        _stream(database, project.id, filters, schema, layout, query.include_identical),
        media_type=MEDIA_TYPES[layout],
        headers={"Content-Disposition": f'attachment; filename="pairs-{schema}.{layout}"'},
    )


def _stream(
    database: Database,
    project_id: str,
    filters: PairFilters,
    schema: PairSchema,
    layout: PairFormat,
    include_identical: bool,
) -> Iterator[bytes]:
    with database.read() as session:
        pairs = iter_pairs(session, project_id, filters, include_identical=include_identical)
        yield from export_pairs(pairs, schema, layout)


@router.get("/projects/{project_id}/pairs/counts", summary="Count pairs")
def counts(
    project_id: str, session: ReadSession, user: Researcher, filters: TrainingFiltersQuery
) -> PairCountsOut:
    """How many rankings and pairs fit the filters, and what exports leave out."""
    project = get_project(session, project_id, user)
    counted = count_pairs(session, project.id, checked_filters(session, project.id, filters))
    return PairCountsOut(
        rankings=counted.rankings,
        simulated_rankings=counted.simulated_rankings,
        prompts=counted.prompts,
        labelers=counted.labelers,
        pairs=counted.pairs,
        identical=counted.identical,
        empty=counted.empty,
    )


@router.post(
    "/projects/{project_id}/snapshots",
    status_code=201,
    summary="Freeze pairs in a snapshot",
    responses=NOT_FROZEN,
)
def create(
    project_id: str, user: Admin, database: AppDatabase, body: SnapshotIn | None = None
) -> SnapshotOut:
    """Freeze the rankings that fit the filters now; nothing changes them afterwards.

    The same filters on the same rankings give the same `sha256`, and the same seed and shares
    the same parts.
    """
    body = body or SnapshotIn()
    with database.read() as session:
        project = get_project(session, project_id, user)
        filters = checked_filters(session, project.id, body.filters or body)
    splits = body.splits
    plan = SplitPlan(by=splits.by, seed=splits.seed, shares=splits.shares) if splits else None
    snapshot = freeze(
        database,
        user,
        project.id,
        name=body.name,
        filters=filters,
        plan=plan,
        licence=body.licence,
    )
    return describe_snapshot(snapshot)


@router.get("/projects/{project_id}/snapshots", summary="List snapshots")
def list_all(
    project_id: str,
    session: ReadSession,
    user: Researcher,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> SnapshotList:
    """The project's snapshots, newest first."""
    project = get_project(session, project_id, user)
    found = list_snapshots(session, project.id, before_id=cursor or None, limit=limit + 1)
    return SnapshotList(
        items=[describe_snapshot(snapshot) for snapshot in found[:limit]],
        next_cursor=found[limit - 1].id if len(found) > limit else None,
    )


@router.get("/snapshots/{snapshot_id}", summary="Look at a snapshot")
def get(snapshot_id: str, session: ReadSession, user: Researcher) -> SnapshotOut:
    """One snapshot with its hash and counts."""
    return describe_snapshot(get_visible_snapshot(session, snapshot_id, user))


def describe_snapshot(snapshot: Snapshot) -> SnapshotOut:
    """The snapshot as REST gives it."""
    return SnapshotOut(
        id=snapshot.id,
        project_id=snapshot.project_id,
        name=snapshot.name,
        filters=snapshot.filters,
        sha256=snapshot.sha256,
        rankings=snapshot.rankings,
        simulated_rankings=snapshot.simulated_rankings,
        pairs=snapshot.pairs,
        identical_pairs=snapshot.identical_pairs,
        prompts=snapshot.prompts,
        labelers=snapshot.labelers,
        guidelines_versions=snapshot.guidelines_versions,
        splits=_describe_splits(snapshot),
        licence=snapshot.licence,
        erased_rankings=snapshot.erased_rankings,
        created_at=snapshot.created_at,
    )


def _describe_splits(snapshot: Snapshot) -> SplitsOut | None:
    if snapshot.splits is None:
        return None
    splits = get_splits(snapshot)
    parts = [
        SplitPartOut(
            name=part.name,
            share=part.share,
            groups=part.groups,
            rankings=part.rankings,
            pairs=part.pairs,
        )
        for part in splits.parts
    ]
    return SplitsOut(by=splits.by, seed=splits.seed, parts=parts)
