"""Rows of CSV and Parquet files, under the names of their columns."""

import csv
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from enum import Enum, auto
from io import SEEK_END
from typing import Any, BinaryIO

import orjson

from app.errors import Invalid
from app.projects.compression import MAX_RATIO, SourceDamaged, compression, expand, is_bomb
from app.projects.reading import (
    Line,
    RejectedLine,
    SourceCheck,
    SourceRow,
    decode,
    iter_chunks,
    iter_lines,
)

PARQUET_BATCH_ROWS = 8
"""Few, because each may be as long as the longest text of the file: it is stored once."""
MAX_RECORD_LINES = 100_000
"""Physical lines of one CSV record."""


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
            if header is None:
                raise Invalid(
                    f"The header cannot be read: line {record.line}: {record.reason}.",
                    code="broken_header",
                    fields={"file": "names of columns in the first line"},
                )
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


class _End(Enum):
    """Where the end of a line is, as a CSV reader sees it."""

    CLOSED = auto()
    OPEN = auto()
    """Within quotes: the record goes on in the next line."""
    BROKEN = auto()


class _CsvLines:
    """Joins physical lines into records: a quoted cell may hold line ends.

    A quote that never closes would swallow the rest of the file. Then its first line alone is
    rejected and reading goes on at the next one. The lines read ahead are kept, and known not to
    close a quote, so that a file of nothing but such lines is still read in one go.
    """

    def __init__(self, lines: Iterator[Line | RejectedLine], max_record_bytes: int) -> None:
        self.lines = lines
        self.max_record_bytes = max_record_bytes
        self.delimiter = ","
        self.ahead: deque[tuple[int, str] | RejectedLine] = deque()
        self.ahead_size = 0
        self.is_blocked = False
        """The last line ahead, or the end of the file, is one that no record reaches across."""

    def next_line(self) -> tuple[int, str] | RejectedLine | None:
        """The next line of the file as text, or why it is none."""
        line = next(self.lines, None)
        if line is None or isinstance(line, RejectedLine):
            return line
        text = decode(line.number, line.content)
        return text if isinstance(text, RejectedLine) else (line.number, text)

    def take(self) -> tuple[int, str] | RejectedLine | None:
        """The first line ahead, or else the next of the file."""
        if not self.ahead:
            return self.next_line()
        line = self.ahead.popleft()
        if not isinstance(line, RejectedLine):
            self.ahead_size -= len(line[1])
        if not self.ahead:
            self.is_blocked = False
        return line

    def records(self) -> Iterator[tuple[int, str] | RejectedLine]:
        """Every record with the number of its first line, blank ones passed over."""
        while (line := self.take()) is not None:
            if isinstance(line, RejectedLine):
                yield line
            elif line[1].strip():
                yield self.complete(*line) if self.end_of(line[1]) is _End.OPEN else line

    def end_of(self, text: str) -> "_End":
        """How a text ends that begins outside of quotes."""
        if '"' not in text:
            return _End.CLOSED
        try:
            next(csv.reader([text], delimiter=self.delimiter, strict=True), None)
        except csv.Error as error:
            return _End.OPEN if "unexpected end of data" in str(error) else _End.BROKEN
        return _End.CLOSED

    def complete(self, number: int, first: str) -> tuple[int, str] | RejectedLine:
        """Read on until the quote closes that opens in the first line."""
        while (
            not self.is_blocked
            and len(first) + self.ahead_size <= self.max_record_bytes
            and len(self.ahead) < MAX_RECORD_LINES
        ):
            line = self.next_line()
            if line is None:
                break
            self.ahead.append(line)
            if isinstance(line, RejectedLine):
                self.is_blocked = True
                break
            self.ahead_size += len(line[1])
            # Within quotes as after one, whatever stood before: no line is looked at twice.
            end = self.end_of(f'"{line[1]}') if '"' in line[1] else _End.OPEN
            if end is _End.CLOSED:
                texts = [line[1] for line in self.ahead if not isinstance(line, RejectedLine)]
                self.ahead.clear()
                self.ahead_size = 0
                return number, "\n".join([first, *texts])
            self.is_blocked = end is _End.BROKEN
        return RejectedLine(number, "a quote opens here and never closes")


def parquet_rows(
    source: BinaryIO | Iterable[bytes], max_line_bytes: int, check_columns: SourceCheck
) -> Iterator[SourceRow | RejectedLine]:
    """Rows of a Parquet file, numbered from 1; nested columns become lists and objects."""
    import pyarrow
    from pyarrow import parquet

    with tempfile.TemporaryFile() as spool:
        number, given = 0, 0
        try:
            file = _seekable(source, spool)
            file_bytes = file.seek(0, SEEK_END)
            table = parquet.ParquetFile(file)
            check_columns(list(table.schema_arrow.names))
            for batch in table.iter_batches(batch_size=PARQUET_BATCH_ROWS):
                given += batch.nbytes
                if is_bomb(given, file_bytes):
                    reason = f"the file expands to more than {MAX_RATIO} times its size"
                    yield RejectedLine(number + 1, f"{reason}: it was not read on")
                    return
                size = batch.nbytes // max(1, batch.num_rows)
                for row in batch.to_pylist():
                    number += 1
                    yield _parquet_row(number, row, size, max_line_bytes)
        except SourceDamaged as error:
            raise Invalid(f"The file is not complete: {error}.", code="broken_parquet") from error
        except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError, OSError) as error:
            reason = str(error).splitlines()[0] if str(error) else "unreadable"
            if not number:
                raise Invalid(
                    f"The file is not readable Parquet: {reason}.", code="broken_parquet"
                ) from error
            yield RejectedLine(number + 1, f"the file is damaged from this row on: {reason}")


def _seekable(source: Any, spool: Any) -> Any:
    """The source itself where it is a file of Parquet, else its expanded content on disk."""
    if hasattr(source, "seek"):
        source.seek(0)
        is_plain = compression(source.read(4)) is None
        source.seek(0)
        if is_plain:
            return source
    for chunk in expand(iter_chunks(source)):
        spool.write(chunk)
    return spool


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
