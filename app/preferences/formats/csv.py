"""Rows as CSV."""

import csv
import io
from collections.abc import Iterator
from itertools import islice
from typing import Any

import orjson

from app.preferences.formats.schemas import Row

CHUNK_ROWS = 200


def csv_bytes(rows: Iterator[Row], columns: tuple[str, ...]) -> Iterator[bytes]:
    """A header and a record a row (RFC 4180), in UTF-8 without a byte order mark."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(columns)
    while chunk := list(islice(rows, CHUNK_ROWS)):
        writer.writerows([_csv_cell(value) for value in row.values()] for row in chunk)
        yield buffer.getvalue().encode()
        buffer.seek(0)
        buffer.truncate()
    if buffer.tell():
        yield buffer.getvalue().encode()


def _csv_cell(value: Any) -> Any:
    if isinstance(value, (list, dict)):
        return orjson.dumps(value).decode()
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat().replace("+00:00", "Z") if hasattr(value, "isoformat") else value
