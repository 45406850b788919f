"""Reading what people upload, line by line, and the report of what became of each line.

Memory stays flat whatever the file's size: a line is held only up to the longest length allowed,
and what is longer is skipped and named.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePath
from typing import Any, BinaryIO, NamedTuple, Protocol

from app.errors import Invalid

CHUNK_BYTES = 1 << 16
MAX_REJECTED_LISTED = 1000


class ImportFormat(StrEnum):
    """How an upload is laid out."""

    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"
    LINES = "lines"
    PARAGRAPHS = "paragraphs"


CONTENT_TYPES = {
    "application/json": ImportFormat.JSON,
    "application/x-ndjson": ImportFormat.JSONL,
    "application/ndjson": ImportFormat.JSONL,
    "application/jsonl": ImportFormat.JSONL,
    "application/x-jsonlines": ImportFormat.JSONL,
    "text/csv": ImportFormat.CSV,
    "application/vnd.apache.parquet": ImportFormat.PARQUET,
    "application/x-parquet": ImportFormat.PARQUET,
    "text/plain": ImportFormat.LINES,
}
SUFFIXES = {
    ".json": ImportFormat.JSON,
    ".jsonl": ImportFormat.JSONL,
    ".ndjson": ImportFormat.JSONL,
    ".csv": ImportFormat.CSV,
    ".tsv": ImportFormat.CSV,
    ".parquet": ImportFormat.PARQUET,
    ".txt": ImportFormat.LINES,
}


class RejectedLine(NamedTuple):
    """A line that was not imported; for Parquet and JSON lists, the number of the row."""

    line: int
    reason: str


@dataclass
class ImportReport:
    """What became of every line: `rejected` lists the first thousand, `rejected_total` counts."""

    created: int = 0
    duplicates: int = 0
    rejected: list[RejectedLine] = field(default_factory=list)
    rejected_total: int = 0
    format: str | None = None
    """Of rankings: the name of the format they were read as."""

    def reject(self, line: RejectedLine) -> None:
        """Count a bad line, and list it while there is room."""
        self.rejected_total += 1
        if len(self.rejected) < MAX_REJECTED_LISTED:
            self.rejected.append(line)


@dataclass(frozen=True)
class SourceRow:
    """One row of an upload; `size_bytes` is about what it takes in memory."""

    line: int
    values: dict[str, Any]
    size_bytes: int


class RowError(Exception):
    """This row cannot be taken; the message is the reason the report gives."""


class SourceCheck(Protocol):
    """Refuses a table whose columns cannot be what the import needs, by raising Invalid."""

    def __call__(self, columns: list[str]) -> None:
        """Look at the header."""


def content_type_format(content_type: str | None) -> ImportFormat:
    """The format that a `Content-Type` header names; Invalid lists those accepted."""
    name = (content_type or "").split(";")[0].strip().lower()
    if name not in CONTENT_TYPES:
        accepted = ", ".join(CONTENT_TYPES)
        raise Invalid(
            f"The content type {name or '(none)'} cannot be imported. Accepted: {accepted}.",
            code="unsupported_content_type",
            fields={"Content-Type": accepted},
        )
    return CONTENT_TYPES[name]


def file_name_format(file_name: str) -> ImportFormat:
    """The format that a file's name tells; Invalid lists the endings accepted."""
    suffix = PurePath(file_name).suffix.lower()
    if suffix not in SUFFIXES:
        accepted = ", ".join(SUFFIXES)
        raise Invalid(
            f"A file ending in “{suffix or file_name}” cannot be imported. Accepted: {accepted}.",
            code="unsupported_file",
            fields={"file": accepted},
        )
    return SUFFIXES[suffix]


def iter_chunks(source: BinaryIO | Iterable[bytes]) -> Iterator[bytes]:
    """The source in chunks, whether it is an open file or chunks already."""
    if hasattr(source, "read"):
        while chunk := source.read(CHUNK_BYTES):
            yield chunk
    else:
        yield from source


def contains_nul(value: object) -> bool:
    """Whether any text inside holds a NUL character, which PostgreSQL cannot store."""
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, dict):
        return any(contains_nul(key) or contains_nul(item) for key, item in value.items())
    if isinstance(value, list):
        return any(contains_nul(item) for item in value)
    return False


class Line(NamedTuple):
    """A physical line of a file."""

    number: int
    content: bytes | None
    """None when the line was longer than allowed."""


MAGIC = {
    b"\x1f\x8b": "is compressed with gzip: decompress it first",
    b"\x28\xb5\x2f\xfd": "is compressed with zstd: decompress it first",
    b"PK\x03\x04": "is a ZIP or Excel file: save it as CSV or JSONL",
    b"PAR1": "is a Parquet file: send it as application/vnd.apache.parquet, or name it .parquet",
    b"\xff\xfe": "is encoded as UTF-16: save it as UTF-8",
    b"\xfe\xff": "is encoded as UTF-16: save it as UTF-8",
}


def iter_lines(source: BinaryIO | Iterable[bytes], max_line_bytes: int) -> Iterator[Line]:
    """Physical lines without their ends; a too long one is not held but skipped over."""
    number, size, skipping = 0, 0, False
    pending: list[bytes] = []
    for chunk in without_signature(iter_chunks(source)):
        pieces = chunk.split(b"\n")
        for position, piece in enumerate(pieces):
            size += len(piece)
            if size > max_line_bytes + 1:
                skipping = True
                pending.clear()
            elif piece:
                pending.append(piece)
            if position < len(pieces) - 1:
                number += 1
                content = None if skipping else b"".join(pending).removesuffix(b"\r")
                yield Line(number, content)
                pending.clear()
                size, skipping = 0, False
    if pending or skipping:
        yield Line(number + 1, None if skipping else b"".join(pending).removesuffix(b"\r"))


def without_signature(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Drop a UTF-8 byte order mark; refuse what is not UTF-8 text at all."""
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= 4:
            break
    for magic, meaning in MAGIC.items():
        if head.startswith(magic):
            raise Invalid(f"The file {meaning}.", code="wrong_encoding", fields={"file": "UTF-8"})
    yield head.removeprefix(b"\xef\xbb\xbf")
    yield from chunks


def too_long(number: int, max_line_bytes: int) -> RejectedLine:
    """The reason given for a line that was skipped over."""
    return RejectedLine(number, f"the line is longer than {max_line_bytes:,} bytes")


def decode(number: int, content: bytes) -> str | RejectedLine:
    """The line as text, or which byte of it is not UTF-8."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        return RejectedLine(
            number, f"not UTF-8: byte 0x{content[error.start]:02x} at position {error.start + 1}"
        )
