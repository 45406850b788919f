"""Rows as JSON lines."""

from collections.abc import Iterator
from itertools import islice

import orjson

from app.preferences.formats.schemas import Row

CHUNK_ROWS = 200


def jsonl_bytes(rows: Iterator[Row]) -> Iterator[bytes]:
    """One JSON object a line."""
    option = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z
    while chunk := [orjson.dumps(row, option=option) for row in islice(rows, CHUNK_ROWS)]:
        yield b"".join(chunk)
