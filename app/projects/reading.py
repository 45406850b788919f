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
from app.projects.compression import SUFFIXES as COMPRESSED_SUFFIXES
from app.projects.compression import SourceDamaged, expand

CHUNK_BYTES = 1 << 16
MAX_REJECTED_LISTED = 1000
MAX_REASON_LENGTH = 500
MAX_DEPTH = 64
"""Of lists and objects within one another in a row."""


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
    "application/gzip": ImportFormat.JSONL,
    "application/zstd": ImportFormat.JSONL,
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
            reason = line.reason
            if len(reason) > MAX_REASON_LENGTH:
                # A reason may quote a value of any length.
                line = line._replace(reason=f"{reason[:MAX_REASON_LENGTH]}…")
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
    """The format that a `Content-Type` header names; Invalid lists those accepted.

    Whether the body is compressed shows in itself; one that is only said to be gzip or zstd is
    taken for JSONL.
    """
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
    """The format that a file's name tells, compressed (`.jsonl.gz`, `.csv.zst`) or not.

    Raises:
        Invalid: it has none of the endings accepted, which the error lists.
    """
    name = PurePath(file_name.lower())
    if name.suffix in COMPRESSED_SUFFIXES:
        name = name.with_suffix("")
    if name.suffix not in SUFFIXES:
        accepted = ", ".join(SUFFIXES)
        raise Invalid(
            f"A file ending in “{name.suffix or file_name}” cannot be imported. "
            f"Accepted: {accepted}; each also compressed, with {' or '.join(COMPRESSED_SUFFIXES)} "
            "behind it.",
            code="unsupported_file",
            fields={"file": accepted},
        )
    return SUFFIXES[name.suffix]


def iter_chunks(source: BinaryIO | Iterable[bytes]) -> Iterator[bytes]:
    """The source in chunks, whether it is an open file or chunks already."""
    if hasattr(source, "read"):
        while chunk := source.read(CHUNK_BYTES):
            yield chunk
    else:
        yield from source


def contains_nul(value: object) -> bool:
    """Whether any text inside holds a NUL character, which PostgreSQL cannot store."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            if "\x00" in item:
                return True
        elif isinstance(item, dict):
            waiting += item.keys()
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
    return False


def is_too_deep(value: object) -> bool:
    """Whether lists and objects lie in one another deeper than what can be written again."""
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[object] = []
        for item in level:
            if isinstance(item, dict):
                below += item.values()
            elif isinstance(item, list):
                below += item
        if not below:
            return False
        level = below
    return True


class Line(NamedTuple):
    """A physical line of a file, without its end."""

    number: int
    content: bytes
    is_ended: bool = True
    """False for the last line of a file that stops without a line end."""


MAGIC = {
    b"\x1f\x8b": "is compressed twice: decompress it once",
    b"\x28\xb5\x2f\xfd": "is compressed twice: decompress it once",
    b"PK\x03\x04": "is a ZIP or Excel file: save it as CSV or JSONL",
    b"BZh": "is compressed with bzip2: use gzip or zstd, or decompress it",
    b"\xfd7zX": "is compressed with xz: use gzip or zstd, or decompress it",
    b"PAR1": "is a Parquet file: send it as application/vnd.apache.parquet, or name it .parquet",
    b"\xff\xfe": "is encoded as UTF-16: save it as UTF-8",
    b"\xfe\xff": "is encoded as UTF-16: save it as UTF-8",
}


def iter_lines(
    source: BinaryIO | Iterable[bytes], max_line_bytes: int
) -> Iterator[Line | RejectedLine]:
    """Physical lines of what may be compressed; a too long one is not held but skipped over.

    Where the rest cannot be read, the last one says why.
    """
    number, size, skipping = 0, 0, False
    pending: list[bytes] = []
    try:
        for chunk in without_signature(expand(iter_chunks(source))):
            pieces = chunk.split(b"\n")
            last = len(pieces) - 1
            for position, piece in enumerate(pieces):
                size += len(piece)
                if size > max_line_bytes + 1:
                    skipping = True
                    pending.clear()
                elif piece:
                    pending.append(piece)
                if position < last:
                    number += 1
                    if skipping:
                        yield too_long(number, max_line_bytes)
                    else:
                        yield Line(number, b"".join(pending).removesuffix(b"\r"))
                    pending.clear()
                    size, skipping = 0, False
    except SourceDamaged as error:
        yield RejectedLine(number + 1, f"{error}; this line and what followed it are not imported")
        return
    if skipping:
        yield too_long(number + 1, max_line_bytes)
    elif pending:
        yield Line(number + 1, b"".join(pending).removesuffix(b"\r"), is_ended=False)


def without_signature(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Drop a UTF-8 byte order mark; refuse what is not UTF-8 text at all."""
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= 4:
            break
    meaning = next((MAGIC[magic] for magic in MAGIC if head.startswith(magic)), None)
    if meaning is None and [byte == 0 for byte in head[:4]] in (
        [True, False, True, False],
        [False, True, False, True],
    ):
        meaning = "is encoded as UTF-16: save it as UTF-8"
    if meaning is not None:
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
