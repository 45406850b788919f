"""Bodies that are streamed to a file on disk, whatever their size, before anything reads them."""

import tempfile
from collections.abc import AsyncIterator
from typing import Annotated, BinaryIO

from fastapi import Depends, Request
from pydantic import BaseModel, Field

from app.api.problems import problems
from app.dependencies import AppSettings
from app.errors import Invalid, TooLarge
from app.projects.reading import ImportReport

MEMORY_BYTES = 1_000_000


async def uploaded_body(request: Request, settings: AppSettings) -> AsyncIterator[BinaryIO]:
    """The request's body as a file at its beginning; small bodies stay in memory.

    Raises TooLarge as soon as more than `max_upload_bytes` are announced or have come.
    """
    limit = settings.max_upload_bytes
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise _too_large(limit)
    size = 0
    with tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES) as file:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise _too_large(limit)
            file.write(chunk)
        if not size:
            raise Invalid("The body is empty.", fields={"body": "what to import"})
        file.seek(0)
        yield file  # type: ignore[misc]  # a spooled file has all of BinaryIO that is used here


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body may have {limit:,} bytes; split it and send the parts.")


UploadedBody = Annotated[BinaryIO, Depends(uploaded_body, scope="function")]


class RejectedOut(BaseModel):
    """A line that was not taken."""

    line: int = Field(
        description="Counts from 1; of Parquet files and JSON lists, the number of the row.",
        examples=[3],
    )
    reason: str = Field(
        description="What is wrong with it.",
        examples=["text is empty"],
    )


class ImportOut(BaseModel):
    """What became of every line: each good one is kept once, no bad one is."""

    created: int = Field(description="Lines that were stored now.", examples=[98])
    duplicates: int = Field(description="Lines that were there already.", examples=[1])
    rejected: list[RejectedOut] = Field(description="The first thousand of the bad lines.")
    rejected_total: int = Field(description="All bad lines.", examples=[1])


def describe_import(report: ImportReport) -> ImportOut:
    """The report as REST gives it."""
    return ImportOut(
        created=report.created,
        duplicates=report.duplicates,
        rejected=[RejectedOut(line=line, reason=reason) for line, reason in report.rejected],
        rejected_total=report.rejected_total,
    )


IMPORT_ERRORS = problems(
    "project_archived",
    "too_large",
    "unsupported_content_type",
    "wrong_encoding",
    "unknown_columns",
    "broken_header",
    "broken_json",
    "broken_parquet",
)
