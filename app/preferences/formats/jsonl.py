"""Rows as JSON lines, plain or compressed, and as one JSON list."""

from collections.abc import Iterator
from itertools import islice

import orjson

from app.preferences.formats.schemas import Row

CHUNK_ROWS = 200
ZSTD_LEVEL = 3


def jsonl_bytes(rows: Iterator[Row]) -> Iterator[bytes]:
    """One JSON object a line."""
    option = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z
    while chunk := [orjson.dumps(row, option=option) for row in islice(rows, CHUNK_ROWS)]:
        yield b"".join(chunk)


def json_bytes(rows: Iterator[Row]) -> Iterator[bytes]:
    """One JSON list, an object a line."""
    start = b"[\n"
    while chunk := [orjson.dumps(row, option=orjson.OPT_UTC_Z) for row in islice(rows, CHUNK_ROWS)]:
        yield start + b",\n".join(chunk)
        start = b",\n"
    yield b"\n]\n" if start == b",\n" else b"[]\n"


def zstd_bytes(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes as one Zstandard frame with a checksum, compressed as they come.

    One thread and one level, so that the same rows give the same bytes with the same library.
    """
    import zstandard

    compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True).compressobj()
    for chunk in chunks:
        if compressed := compressor.compress(chunk):
            yield compressed
    yield compressor.flush()
