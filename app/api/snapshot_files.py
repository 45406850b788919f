"""What leaves a snapshot over REST: pairs, rankings, the dataset card, the whole as a ZIP.

Every file is the same bytes every time, has an ETag and takes `Range`.
"""

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, Response
from sqlalchemy.orm import Session

from app.dependencies import AppDatabase, AppSettings, ReadSession, Researcher
from app.models import Snapshot
from app.preferences.formats import (
    MEDIA_TYPES,
    PairFormat,
    PairSchema,
    RankingFormat,
    RankingSchema,
)
from app.preferences.snapshot_files import (
    KeptFile,
    keep_card,
    keep_dataset,
    keep_pairs,
    keep_rankings,
)
from app.preferences.snapshots import get_snapshot
from app.preferences.splits import get_splits
from app.projects.service import get_project
from app.settings import Settings

router = APIRouter(tags=["pairs"])

Responses = dict[int | str, dict[str, Any]]
BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
LINES: dict[str, Any] = {"schema": {"type": "string"}}
PAIR_CONTENT: dict[str, Any] = {
    MEDIA_TYPES[PairFormat.JSONL]: LINES
    | {"example": '{"prompt": "Why?", "chosen": "Because.", "rejected": "No."}\n'},
    MEDIA_TYPES[PairFormat.JSONL_ZST]: BINARY,
    MEDIA_TYPES[PairFormat.JSON]: {"schema": {"type": "array", "items": {"type": "object"}}},
    "text/csv": LINES,
    MEDIA_TYPES[PairFormat.PARQUET]: BINARY,
}
RANKING_CONTENT: dict[str, Any] = {
    MEDIA_TYPES[RankingFormat.JSONL]: LINES
    | {"example": '{"prompt": "Why?", "completions": [{"text": "a"}], "ranks": [1]}\n'},
    MEDIA_TYPES[RankingFormat.JSONL_ZST]: BINARY,
    MEDIA_TYPES[RankingFormat.PARQUET]: BINARY,
}
RANGES: Responses = {
    206: {"description": "The range of bytes that was asked for."},
    304: {"description": "`If-None-Match` names the bytes as they are."},
    416: {"description": "The file has no such range of bytes."},
}
NO_SPLIT: Responses = {
    422: {
        "description": "`no_splits`: the snapshot was not split when it was made; `invalid`: it "
        "has no part of this name."
    }
}
PairSchemaQuery = Annotated[
    PairSchema,
    Query(
        alias="schema",
        description="`plain` (everything), `trl` (prompt, chosen, rejected as text), "
        "`trl-conversational` (the same as messages), `trl-unpaired` (prompt, completion, label), "
        "`hh` (transcripts), `argilla` (records) or `label-studio` (tasks).",
        examples=["trl"],
    ),
]
PairFormatQuery = Annotated[
    PairFormat,
    Query(
        alias="format",
        description="`jsonl`, `jsonl.zst` (Zstandard), `json` (one list), `csv` or `parquet`.",
        examples=["parquet"],
    ),
]
RankingSchemaQuery = Annotated[
    RankingSchema,
    Query(
        alias="schema",
        description="`plain` (everything, in the shape that imports take) or `nectar` (a prompt "
        "with its answers and their ranks).",
        examples=["nectar"],
    ),
]
RankingFormatQuery = Annotated[
    RankingFormat,
    Query(
        alias="format",
        description="`jsonl`, `jsonl.zst` (Zstandard) or `parquet` (in which `metadata`, `origin` "
        "and `flag_labels` are JSON text, and every prompt is a list of messages).",
        examples=["jsonl"],
    ),
]
SplitQuery = Annotated[
    str | None,
    Query(
        max_length=40,
        description="One part of the snapshot by its name; left out: all of it.",
        examples=["train"],
    ),
]


@router.head("/snapshots/{snapshot_id}/pairs", include_in_schema=False)
@router.get(
    "/snapshots/{snapshot_id}/pairs",
    summary="Download the pairs of a snapshot",
    responses={
        200: {"description": "The pairs of the snapshot, or of a part.", "content": PAIR_CONTENT},
        **RANGES,
        **NO_SPLIT,
    },
    response_class=FileResponse,
)
def download_pairs(
    snapshot_id: str,
    request: Request,
    session: ReadSession,
    user: Researcher,
    database: AppDatabase,
    settings: AppSettings,
    layout: PairFormatQuery = PairFormat.JSONL,
    schema: PairSchemaQuery = PairSchema.PLAIN,
    split: SplitQuery = None,
) -> Response:
    """The frozen pairs: the same bytes every time, with an ETag; takes `Range`."""
    snapshot = get_visible_snapshot(session, snapshot_id, user)
    kept = keep_pairs(database, snapshot, schema, layout, exports_dir(settings), split=split)
    name = f"{_file_name(snapshot, split)}-{schema}.{layout}"
    return _send(request, snapshot, kept, MEDIA_TYPES[layout], name, split)


@router.head("/snapshots/{snapshot_id}/rankings", include_in_schema=False)
@router.get(
    "/snapshots/{snapshot_id}/rankings",
    summary="Download the rankings of a snapshot",
    responses={
        200: {
            "description": "The rankings of the snapshot, or of a part.",
            "content": RANKING_CONTENT,
        },
        **RANGES,
        **NO_SPLIT,
    },
    response_class=FileResponse,
)
def download_rankings(
    snapshot_id: str,
    request: Request,
    session: ReadSession,
    user: Researcher,
    database: AppDatabase,
    settings: AppSettings,
    layout: RankingFormatQuery = RankingFormat.JSONL,
    schema: RankingSchemaQuery = RankingSchema.PLAIN,
    split: SplitQuery = None,
) -> Response:
    """The frozen rankings, each with all its completions; has an ETag and takes `Range`.

    A snapshot whose filters choose among the pairs of a ranking still holds whole rankings.
    """
    snapshot = get_visible_snapshot(session, snapshot_id, user)
    kept = keep_rankings(database, snapshot, schema, layout, exports_dir(settings), split=split)
    name = f"{_file_name(snapshot, split)}-rankings-{schema}.{layout}"
    return _send(request, snapshot, kept, MEDIA_TYPES[layout], name, split)


@router.head("/snapshots/{snapshot_id}/card", include_in_schema=False)
@router.get(
    "/snapshots/{snapshot_id}/card",
    summary="Read the dataset card of a snapshot",
    responses={
        200: {
            "description": "README.md, with front matter that hubs read.",
            "content": {"text/markdown": {"schema": {"type": "string"}, "example": "---\n…"}},
        },
        **RANGES,
    },
    response_class=FileResponse,
)
def download_card(
    snapshot_id: str,
    request: Request,
    session: ReadSession,
    user: Researcher,
    database: AppDatabase,
    settings: AppSettings,
    schema: PairSchemaQuery = PairSchema.PLAIN,
) -> Response:
    """Counts, agreement, guidelines, filters, parts, hash and licence of the snapshot, in words.

    `schema` decides which columns it explains.
    """
    snapshot = get_visible_snapshot(session, snapshot_id, user)
    kept = keep_card(database, snapshot, schema, exports_dir(settings))
    return _send(request, snapshot, kept, "text/markdown; charset=utf-8", "README.md")


@router.head("/snapshots/{snapshot_id}/dataset", include_in_schema=False)
@router.get(
    "/snapshots/{snapshot_id}/dataset",
    summary="Download a snapshot as a dataset",
    responses={
        200: {
            "description": "A ZIP of README.md and data/<part>-00000-of-00001.parquet.",
            "content": {"application/zip": BINARY},
        },
        **RANGES,
    },
    response_class=FileResponse,
)
def download_dataset(
    snapshot_id: str,
    request: Request,
    session: ReadSession,
    user: Researcher,
    database: AppDatabase,
    settings: AppSettings,
    schema: PairSchemaQuery = PairSchema.PLAIN,
) -> Response:
    """The dataset card and a Parquet file for each part (`train` where there are none).

    Unpacked, it is a folder that `datasets.load_dataset` reads and that can be pushed to a hub as
    it is.
    """
    snapshot = get_visible_snapshot(session, snapshot_id, user)
    kept = keep_dataset(database, snapshot, schema, exports_dir(settings))
    name = f"{_file_name(snapshot, None)}-{schema}.zip"
    return _send(request, snapshot, kept, "application/zip", name)


def get_visible_snapshot(session: Session, snapshot_id: str, user: Researcher) -> Snapshot:
    """The snapshot, where this person may see its project; NotFound otherwise."""
    snapshot = get_snapshot(session, snapshot_id)
    get_project(session, snapshot.project_id, user)
    return snapshot


def exports_dir(settings: Settings) -> Path:
    """Where files of snapshots are kept."""
    return settings.data_dir.absolute() / "exports"


def _file_name(snapshot: Snapshot, split: str | None) -> str:
    name = f"snapshot-{snapshot.sha256[:12]}"
    return name if split is None else f"{name}-{split}"


def _send(
    request: Request,
    snapshot: Snapshot,
    kept: KeptFile,
    media_type: str,
    name: str,
    split: str | None = None,
) -> Response:
    pairs = snapshot.pairs if split is None else get_splits(snapshot).get_part(split).pairs
    headers = {
        "ETag": kept.etag,
        "Cache-Control": "private, no-cache",
        "X-Podium-Pairs": str(pairs),
        "X-Podium-Identical-Pairs": str(snapshot.identical_pairs),
        "X-Podium-Simulated-Rankings": str(snapshot.simulated_rankings),
    }
    known = [tag.strip() for tag in request.headers.get("If-None-Match", "").split(",")]
    if kept.etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return FileResponse(kept.path, headers=headers, media_type=media_type, filename=name)
