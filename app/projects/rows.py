"""Rows of an upload, whatever its format. Nothing here knows what a row means."""

from collections.abc import Iterable, Iterator
from typing import BinaryIO

import orjson

from app.errors import Invalid, TooLarge
from app.projects.compression import SourceDamaged, expand
from app.projects.reading import (
    MAX_DEPTH,
    ImportFormat,
    Line,
    RejectedLine,
    SourceCheck,
    SourceRow,
    decode,
    is_too_deep,
    iter_chunks,
    iter_lines,
    too_long,
    without_signature,
)
from app.projects.tables import csv_rows, parquet_rows

MAX_JSON_BODY_BYTES = 32_000_000
TOO_DEEP = f"lists and objects lie in one another more than {MAX_DEPTH} deep"


def iter_rows(
    source: BinaryIO | Iterable[bytes],
    layout: ImportFormat,
    *,
    max_line_bytes: int,
    check_columns: SourceCheck,
    list_key: str,
) -> Iterator[SourceRow | RejectedLine]:
    """Every row of the source, or why it is none; blank lines are passed over.

    A JSON body is a list of objects, or an object that holds it under `list_key`. Plain text gives
    rows with the one column `text`. A source compressed with gzip or zstd is expanded as it is
    read. Raises Invalid where the whole file cannot be meant: another encoding, columns that
    `check_columns` refuses.
    """
    match layout:
        case ImportFormat.JSON:
            return _json_rows(source, list_key)
        case ImportFormat.JSONL:
            return _jsonl_rows(source, max_line_bytes)
        case ImportFormat.CSV:
            return csv_rows(source, max_line_bytes, check_columns)
        case ImportFormat.PARQUET:
            return parquet_rows(source, max_line_bytes, check_columns)
        case ImportFormat.LINES:
            return _text_rows(source, max_line_bytes, by_paragraph=False)
        case ImportFormat.PARAGRAPHS:
            return _text_rows(source, max_line_bytes, by_paragraph=True)


def _json_rows(
    source: BinaryIO | Iterable[bytes], list_key: str
) -> Iterator[SourceRow | RejectedLine]:
    body = bytearray()
    try:
        for chunk in without_signature(expand(iter_chunks(source))):
            body += chunk
            if len(body) > MAX_JSON_BODY_BYTES:
                raise TooLarge(
                    f"A JSON body may have {MAX_JSON_BODY_BYTES:,} bytes. Send JSONL "
                    "(application/x-ndjson) instead: it is read line by line and may be longer."
                )
    except SourceDamaged as error:
        raise Invalid(f"The body is not complete: {error}.", code="broken_json") from error
    size = len(body)
    try:
        document = orjson.loads(bytes(body))
    except orjson.JSONDecodeError as error:
        raise Invalid(f"The body is not JSON: {error}.", code="broken_json") from error
    body.clear()
    rows = document.get(list_key) if isinstance(document, dict) else document
    if not isinstance(rows, list):
        raise Invalid(
            f"The body must be {{“{list_key}”: [...]}} or a list.",
            fields={list_key: "a list of objects"},
        )
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            yield RejectedLine(number, f"not a JSON object but {_json_type(row)}")
        elif is_too_deep(row):
            yield RejectedLine(number, TOO_DEEP)
        else:
            yield SourceRow(number, row, size // len(rows))


def _jsonl_rows(
    source: BinaryIO | Iterable[bytes], max_line_bytes: int
) -> Iterator[SourceRow | RejectedLine]:
    for line in iter_lines(source, max_line_bytes):
        if isinstance(line, RejectedLine):
            yield line
            continue
        number, content = line.number, line.content
        try:
            row = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            if content.strip():
                yield _broken_json(line, error)
            continue
        if not isinstance(row, dict):
            yield RejectedLine(number, f"not a JSON object but {_json_type(row)}")
        elif content.count(b"[") + content.count(b"{") > MAX_DEPTH and is_too_deep(row):
            yield RejectedLine(number, TOO_DEEP)
        else:
            yield SourceRow(number, row, len(content))


def _broken_json(line: Line, error: orjson.JSONDecodeError) -> RejectedLine:
    text = decode(line.number, line.content)
    if isinstance(text, RejectedLine):
        return text
    if "\x00" in text:
        return RejectedLine(line.number, f"a NUL byte at position {text.index(chr(0)) + 1}")
    reason = f"broken JSON: {error.msg} at character {error.pos + 1}"
    if not line.is_ended:
        reason += "; the file ends in this line, as if it were cut off"
    return RejectedLine(line.number, reason)


def _json_type(value: object) -> str:
    if value is None:
        return "null"
    names: dict[type, str] = {str: "text", bool: "a boolean", list: "a list", dict: "an object"}
    return names.get(type(value), "a number")


def _text_rows(
    source: BinaryIO | Iterable[bytes], max_line_bytes: int, *, by_paragraph: bool
) -> Iterator[SourceRow | RejectedLine]:
    """One row a line, or one a paragraph (paragraphs are parted by blank lines)."""
    paragraph: list[str] = []
    first, size = 0, 0
    for line in iter_lines(source, max_line_bytes):
        text = line if isinstance(line, RejectedLine) else decode(line.number, line.content)
        if isinstance(text, RejectedLine):
            yield text
            continue
        number = line[0]
        if by_paragraph and text.strip():
            first = first if paragraph else number
            paragraph.append(text.rstrip())
            size += len(text)
            if size > max_line_bytes:
                yield too_long(first, max_line_bytes)
                paragraph, size = [], 0
        elif by_paragraph and paragraph:
            yield SourceRow(first, {"text": "\n".join(paragraph)}, size)
            paragraph, size = [], 0
        elif text.strip():
            yield SourceRow(number, {"text": text.strip()}, len(text))
    if paragraph:
        yield SourceRow(first, {"text": "\n".join(paragraph)}, size)
