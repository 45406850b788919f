"""Rankings over REST: those of a project as a stream, and those made elsewhere brought in."""

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import Field

from app.api.pair_filters import RankingExportQuery, checked_filters
from app.api.problems import describe_code
from app.api.snapshot_files import LINES, RANKING_CONTENT
from app.api.uploads import IMPORT_ERRORS, ImportOut, UploadedBody, describe_import
from app.db import Database
from app.dependencies import Admin, AppDatabase, AppSettings, ReadSession, Researcher
from app.labeling.flags import known_flags
from app.preferences.filters import PairFilters
from app.preferences.foreign import FORMATS
from app.preferences.formats import MEDIA_TYPES, RankingFormat, RankingSchema, export_rankings
from app.preferences.imports import import_rankings
from app.preferences.queries import iter_rankings
from app.projects.reading import content_type_format
from app.projects.service import get_project, refuse_archived

router = APIRouter(tags=["rankings"])

EXAMPLE_LINE = (
    '{"prompt": "Why is the sky blue?", "completions": [{"text": "It is not.", "model": "a"}, '
    '{"text": "Air scatters blue light most.", "model": "b"}], "ranks": [2, 1], '
    '"labeler": "lena", "external_id": "r1"}\n'
)
EXAMPLE_CSV = (
    "prompt,completions,ranks,labeler\n"
    'Why?,"[{""text"": ""It is not.""}, {""text"": ""Air scatters blue.""}]","[2, 1]",lena\n'
)
RANKINGS_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "One ranking a line: `prompt` (text or messages), `completions` (2 to 9 of "
        "`{text, model?}`), `ranks` in their order (1 is best, equal is a tie, null is unranked), "
        "and optionally `labeler`, `external_id`, `ratings`, `flags`, `comment`, `active_ms` and "
        "whatever else `GET` writes. Or rows of any other `format`.",
        "content": {
            "application/x-ndjson": {"schema": {"type": "string"}, "example": EXAMPLE_LINE},
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "rankings": {
                            "type": "array",
                            "description": "The rankings, each as on a line of JSONL.",
                            "items": {"type": "object"},
                        }
                    },
                    "required": ["rankings"],
                },
                "example": {"rankings": [json.loads(EXAMPLE_LINE)]},
            },
            "text/csv": {
                "schema": {"type": "string"},
                "example": EXAMPLE_CSV,
            },
            "application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
FORMAT_NAMES = ", ".join(f"`{foreign.name}`" for foreign in FORMATS)
FormatQuery = Annotated[
    str | None,
    Query(
        alias="format",
        description=f"What the rows are: {FORMAT_NAMES}. Left out, the first rows tell.",
        examples=["podium"],
    ),
]
RANKINGS_ERRORS: dict[int | str, dict[str, Any]] = {
    **IMPORT_ERRORS,
    422: {"description": f"{IMPORT_ERRORS[422]['description']} {describe_code('unknown_format')}"},
}


class RankingsImportOut(ImportOut):
    """What became of every ranking of the rows, and what the rows were taken to be."""

    format: str | None = Field(
        description="The format that was taken, named or detected; null when no row could be read.",
        examples=["oasst"],
    )


RANKINGS_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "One ranking a line or row. `plain`: in the shape of the import, with "
        "`ranking_id`, `task_id`, `round`, `simulated`, `source`, `is_repeat`, `shown_order`, "
        "`guidelines_version` and `created_at` beside it.",
        "content": RANKING_CONTENT
        | {MEDIA_TYPES[RankingFormat.JSONL]: LINES | {"example": EXAMPLE_LINE}},
    }
}


@router.post(
    "/projects/{project_id}/rankings",
    summary="Import rankings made elsewhere",
    openapi_extra=RANKINGS_BODY,
    responses=RANKINGS_ERRORS,
)
def add_rankings(
    project_id: str,
    request: Request,
    user: Admin,
    body: UploadedBody,
    database: AppDatabase,
    settings: AppSettings,
    format_name: FormatQuery = None,
) -> RankingsImportOut:
    """Keep every good ranking once, name every bad one by line and reason.

    The same prompt with the same completions is one task with several rankings. The same
    `external_id`, or the same ranks by the same labeler without one, is a duplicate; the same
    labeler ranking a task again otherwise is a repeat, kept and marked. Ranks are stored without
    gaps: 1, 1, 3 becomes 1, 1, 2. One row of some formats holds several rankings; `created`,
    `duplicates` and `rejected_total` count rankings.
    """
    layout = content_type_format(request.headers.get("content-type"))
    with database.read() as session:
        refuse_archived(get_project(session, project_id, user))
    report = import_rankings(
        database,
        project_id,
        body,
        layout,
        format_name=format_name,
        max_line_bytes=settings.max_line_bytes,
    )
    return RankingsImportOut(**dict(describe_import(report)), format=report.format)


@router.get(
    "/projects/{project_id}/rankings",
    summary="Stream rankings",
    responses=RANKINGS_STREAM,
    response_class=StreamingResponse,
)
def stream_rankings(
    project_id: str,
    session: ReadSession,
    user: Researcher,
    query: Annotated[RankingExportQuery, Query()],
    database: AppDatabase,
) -> StreamingResponse:
    """The rankings that count, in the order they were made, each with all its completions."""
    project = get_project(session, project_id, user)
    filters = checked_filters(session, project.id, query)
    layout, schema = query.format, query.schema_
    return StreamingResponse(
        _stream(database, project.id, filters, schema, layout, known_flags(project)),
        media_type=MEDIA_TYPES[layout],
        headers={"Content-Disposition": f'attachment; filename="rankings-{schema}.{layout}"'},
    )


def _stream(
    database: Database,
    project_id: str,
    filters: PairFilters,
    schema: RankingSchema,
    layout: RankingFormat,
    flag_labels: Mapping[str, str],
) -> Iterator[bytes]:
    with database.read() as session:
        rankings = iter_rankings(session, project_id, filters)
        yield from export_rankings(rankings, schema, layout, flag_labels)
