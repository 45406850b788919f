"""Rankings and pairs made elsewhere: read, understood and stored in batches.

What a file is, one of `app.preferences.foreign.FORMATS`, is named or else told by its first rows;
each row then becomes rankings of Podium's own shape, which `app.preferences.parsing` checks.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO

from app.db import Database
from app.errors import Invalid
from app.preferences.foreign import FORMATS, detect_format, get_format
from app.preferences.foreign.cells import decode_cells
from app.preferences.foreign.shape import ForeignFormat, Row, Rows
from app.preferences.parsing import parse_ranking
from app.preferences.storing import ParsedRanking, store_rankings
from app.projects.reading import (
    ImportFormat,
    ImportReport,
    RejectedLine,
    RowError,
    SourceCheck,
    SourceRow,
    content_type_format,
)
from app.projects.rows import iter_rows

BATCH_RANKINGS = 1000
BATCH_BYTES = 8_000_000
DETECTION_ROWS = 20
DETECTION_BYTES = 8_000_000
MAX_LINE_BYTES = 10_000_000
ACCEPTED_FORMATS = (ImportFormat.JSONL, ImportFormat.JSON, ImportFormat.CSV, ImportFormat.PARQUET)


@dataclass(frozen=True, kw_only=True)
class RankingsPreview:
    """What an import of the file would begin with; nothing is stored."""

    format: ForeignFormat
    detected: bool
    """Told by the rows, not named by the person."""
    rankings: list[ParsedRanking]
    """The first few."""
    rejected: list[RejectedLine]
    """Those met on the way to them."""
    rows: int
    """Rows of the file that were read for this."""


def import_rankings(
    database: Database,
    project_id: str,
    chunks: BinaryIO | Iterable[bytes],
    content_type: str | ImportFormat,
    *,
    format_name: str | None = None,
    max_line_bytes: int = MAX_LINE_BYTES,
    on_batch: Callable[[ImportReport], None] | None = None,
) -> ImportReport:
    """Store every good ranking of the source once, in transactions of at most a thousand.

    `format_name` is one of FORMATS; without it the first rows tell. `on_batch` hears of the report
    so far after every batch that is committed.

    The same prompt with the same completions, in whatever order, is one task with several
    rankings; all tasks go into the project's one round for imports, which asks nobody to rank.
    The same `external_id`, or the same ranks by the same labeler without one, is a duplicate. The
    same labeler ranking a task again otherwise is a repeat, kept and marked. Rankings without a
    labeler are taken to be by different people. Running an import again completes it.

    Raises:
        Invalid: the file as a whole cannot be meant, or is of no format that is known.
    """
    layout = (
        content_type
        if isinstance(content_type, ImportFormat)
        else content_type_format(content_type)
    )
    named = get_format(format_name) if format_name else None
    foreign, rows = _open(chunks, layout, named, max_line_bytes)
    report = ImportReport(format=foreign.name if foreign else None)
    for batch in _batches(_parse(rows, foreign), report):
        with database.write() as session:
            created = store_rankings(session, project_id, batch)
        report.created += created
        report.duplicates += len(batch) - created
        if on_batch is not None:
            on_batch(report)
    return report


def preview_rankings(
    source: BinaryIO,
    layout: ImportFormat,
    *,
    format_name: str | None = None,
    limit: int = 5,
    max_line_bytes: int = MAX_LINE_BYTES,
) -> RankingsPreview:
    """The first rankings of a file as an import would read them; the rest is not looked at.

    Raises:
        Invalid: the file as a whole cannot be meant, or is of no format that is known.
    """
    named = get_format(format_name) if format_name else None
    foreign, rows = _open(source, layout, named, max_line_bytes)
    if foreign is None:
        raise Invalid("The file holds no row.", code="unknown_format", fields={"file": "rankings"})
    lines: set[int] = set()
    rankings: list[ParsedRanking] = []
    rejected: list[RejectedLine] = []
    for item in _parse(rows, foreign):
        if isinstance(item, RejectedLine):
            lines.add(item.line)
            rejected.append(item)
        else:
            line, ranking, _ = item
            lines.add(line)
            rankings.append(ranking)
        if len(rankings) >= limit or len(rejected) >= max(limit, DETECTION_ROWS):
            break
    return RankingsPreview(
        format=foreign,
        detected=named is None,
        rankings=rankings,
        rejected=rejected,
        rows=len(lines),
    )


def _open(
    source: BinaryIO | Iterable[bytes],
    layout: ImportFormat,
    named: ForeignFormat | None,
    max_line_bytes: int,
) -> tuple[ForeignFormat | None, Rows]:
    """The rows of the file and what they are; None when it has no row that can be read."""
    if layout not in ACCEPTED_FORMATS:
        raise Invalid(
            "Rankings come as JSONL (application/x-ndjson), JSON, CSV or Parquet.",
            code="unsupported_content_type",
            fields={"Content-Type": "application/x-ndjson"},
        )
    rows: Rows = iter_rows(
        source,
        layout,
        max_line_bytes=max_line_bytes,
        check_columns=_column_check(named),
        list_key="rankings",
    )
    if layout == ImportFormat.CSV:
        rows = _decoded(rows)
    if named is not None:
        return named, rows
    head: list[SourceRow | RejectedLine] = []
    seen: list[Row] = []
    size = 0
    for row in rows:
        head.append(row)
        if isinstance(row, SourceRow):
            seen.append(row.values)
            size += row.size_bytes
        if len(seen) >= DETECTION_ROWS or size >= DETECTION_BYTES or len(head) >= 1000:
            break
    return detect_format(seen) if seen else None, chain(head, rows)


def _decoded(rows: Rows) -> Rows:
    for row in rows:
        if isinstance(row, SourceRow):
            yield SourceRow(row.line, decode_cells(row.values), row.size_bytes)
        else:
            yield row


def _column_check(named: ForeignFormat | None) -> SourceCheck:
    """Refuses a table in whose header no format, or not the one named, has its columns."""
    formats = FORMATS if named is None else (named,)

    def check(columns: list[str]) -> None:
        if any(set(needed) <= set(columns) for item in formats for needed in item.columns):
            return
        if named is None:
            meaning = "The columns are of no format that is known here"
            needed = "for example prompt, chosen and rejected"
        else:
            needed = " or ".join(", ".join(columns) for columns in named.columns)
            meaning = f"The columns are not those of {named.name}, which has {needed}"
        raise Invalid(
            f"{meaning}. Found: {', '.join(columns) or 'none'}.",
            code="unknown_columns",
            fields={"file": needed},
        )

    return check


def _parse(
    rows: Rows, foreign: ForeignFormat | None
) -> Iterator[tuple[int, ParsedRanking, int] | RejectedLine]:
    """Each ranking with its line and size; of a row with several, one that is bad leaves the
    others in."""
    if foreign is None:
        yield from (row for row in rows if isinstance(row, RejectedLine))
        return
    for row in foreign.gather(rows) if foreign.gather else rows:
        if isinstance(row, RejectedLine):
            yield row
            continue
        found = foreign.rankings(row.values)
        number, size = 0, row.size_bytes
        while True:
            try:
                values = next(found, None)
                if values is None:
                    break
                number += 1
                yield row.line, parse_ranking(values), size
                size = 0
            except RowError as error:
                where = f"ranking {number} of this row: " if number > 1 else ""
                yield RejectedLine(row.line, f"{where}{error}")


def _batches(
    items: Iterator[tuple[int, ParsedRanking, int] | RejectedLine], report: ImportReport
) -> Iterator[list[ParsedRanking]]:
    batch: list[ParsedRanking] = []
    size = 0
    for item in items:
        if isinstance(item, RejectedLine):
            report.reject(item)
            continue
        _, ranking, size_bytes = item
        batch.append(ranking)
        size += size_bytes
        if len(batch) >= BATCH_RANKINGS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
