"""Rows of CSV and Parquet files, under the names of their columns."""

import csv
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import orjson

from app.errors import Invalid
from app.projects.reading import (
    Line,
    RejectedLine,
    SourceCheck,
    SourceRow,
    decode,
    iter_lines,
    too_long,
)

PARQUET_BATCH_ROWS = 64


def csv_rows(
    source: BinaryIO | Iterable[bytes], max_line_bytes: int, check_columns: SourceCheck
) -> Iterator[SourceRow | RejectedLine]:
    """Rows under the header's names. Comma, semicolon and tab are told apart by the header."""
    # The limit is the csv module's own and global; records are already bounded by our reading.
    csv.field_size_limit(max(csv.field_size_limit(), max_line_bytes + 1))
    lines = _CsvLines(iter_lines(source, max_line_bytes), max_line_bytes)
    header: list[str] | None = None
    delimiter = ","
    for record in lines.records():
        if isinstance(record, RejectedLine):
            yield record
            continue
        number, text = record
        if header is None:
            header, delimiter = _csv_header(text, check_columns)
            lines.delimiter = delimiter
            continue
        try:
            cells = next(csv.reader([text], delimiter=delimiter, strict=True), [])
        except csv.Error as error:
            yield RejectedLine(number, f"broken CSV: {error}")
            continue
        if len(cells) != len(header):
            yield RejectedLine(number, f"{len(cells)} columns where the header has {len(header)}")
            continue
        values = {name: cell or None for name, cell in zip(header, cells, strict=True)}
        yield SourceRow(number, values, len(text))
    if header is None:
        check_columns([])


def _csv_header(text: str, check_columns: SourceCheck) -> tuple[list[str], str]:
    problem: Invalid | None = None
    for delimiter in (",", ";", "\t"):
        names = [name.strip() for name in next(csv.reader([text], delimiter=delimiter), [])]
        try:
            check_columns(names)
        except Invalid as error:
            problem = problem or error
            continue
        repeated = {name for name in names if names.count(name) > 1}
        if repeated:
            raise Invalid(
                f"The header names a column twice: {', '.join(sorted(repeated))}.",
                fields={"file": "every column once"},
            )
        return names, delimiter
    raise problem or Invalid("The file has no header.")


class _CsvLines:
    """Joins physical lines into records: a quoted cell may hold line ends.

    A quote that never closes would swallow the rest of the file. Then its first line alone is
    rejected and reading goes on at the next one.
    """

    def __init__(self, lines: Iterator[Line], max_record_bytes: int) -> None:
        self.lines = lines
        self.max_record_bytes = max_record_bytes
        self.delimiter = ","
        self.ahead: deque[Line] = deque()

    def next_line(self) -> Line | None:
        return self.ahead.popleft() if self.ahead else next(self.lines, None)

    def records(self) -> Iterator[tuple[int, str] | RejectedLine]:
        while (line := self.next_line()) is not None:
            number, content = line
            if content is None:
                yield too_long(number, self.max_record_bytes)
                continue
            if not content.strip():
                continue
            text = decode(number, content)
            if isinstance(text, RejectedLine):
                yield text
                continue
            yield self.complete(number, text) if self.is_open(text) else (number, text)

    def is_open(self, text: str) -> bool:
        if '"' not in text:
            return False
        try:
            next(csv.reader([text], delimiter=self.delimiter, strict=True), None)
        except csv.Error as error:
            return "unexpected end of data" in str(error)
        return False

    def complete(self, number: int, first: str) -> tuple[int, str] | RejectedLine:
        """Read on until the quote closes: a line with an even count of quotes cannot close it."""
        parts, taken, size = [first], list[Line](), len(first)
        while (line := self.next_line()) is not None:
            taken.append(line)
            text = None if line.content is None else decode(line.number, line.content)
            if text is None or isinstance(text, RejectedLine):
                break
            parts.append(text)
            size += len(text)
            if size > self.max_record_bytes:
                break
            if text.count('"') % 2 and not self.is_open(joined := "\n".join(parts)):
                return number, joined
        self.ahead.extendleft(reversed(taken))
        return RejectedLine(number, "a quote opens here and never closes")


def parquet_rows(
    source: BinaryIO | Iterable[bytes], max_line_bytes: int, check_columns: SourceCheck
) -> Iterator[SourceRow | RejectedLine]:
    """Rows of a Parquet file, numbered from 1; nested columns become lists and objects."""
    import pyarrow
    from pyarrow import parquet

    with tempfile.TemporaryFile() as spool:
        file: Any = source
        if not hasattr(source, "seek"):
            for chunk in source:
                spool.write(chunk)
            file = spool
        file.seek(0)
        number = 0
        try:
            table = parquet.ParquetFile(file)
            check_columns(list(table.schema_arrow.names))
            for batch in table.iter_batches(batch_size=PARQUET_BATCH_ROWS):
                size = batch.nbytes // max(1, batch.num_rows)
                for row in batch.to_pylist():
                    number += 1
                    yield _parquet_row(number, row, size, max_line_bytes)
        except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError, OSError) as error:
            reason = str(error).splitlines()[0] if str(error) else "unreadable"
            if not number:
                raise Invalid(
                    f"The file is not readable Parquet: {reason}.", code="broken_parquet"
                ) from error
            yield RejectedLine(number + 1, f"the file is damaged from this row on: {reason}")


def _parquet_row(
    number: int, row: dict[str, Any], size: int, max_line_bytes: int
) -> SourceRow | RejectedLine:
    try:
        # Through JSON and back: times, decimals and bytes of other columns become plain values.
        content = orjson.dumps(
            {name: value for name, value in row.items() if value is not None}, default=str
        )
    except (orjson.JSONEncodeError, UnicodeError) as error:
        return RejectedLine(number, f"cannot be read as text: {error}")
    if len(content) > max_line_bytes:
        return RejectedLine(number, f"the row is longer than {max_line_bytes:,} bytes")
    values: dict[str, Any] = orjson.loads(content)
    return SourceRow(number, values, max(size, len(content)))
