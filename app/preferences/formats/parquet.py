"""Rows as Parquet."""

import io
from collections.abc import Iterator
from typing import Any

from app.preferences.formats.schemas import COLUMNS, PairSchema, Row

ROW_GROUP_PAIRS = 2000
ROW_GROUP_BYTES = 8_000_000


def _parquet_schema(schema: PairSchema) -> Any:
    import pyarrow

    messages = pyarrow.list_(
        pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())])
    )
    types = {
        "prompt_messages": messages,
        "round": pyarrow.int32(),
        "simulated": pyarrow.bool_(),
        "is_repeat": pyarrow.bool_(),
        "chosen_rank": pyarrow.int32(),
        "rejected_rank": pyarrow.int32(),
        "weight": pyarrow.float64(),
        "guidelines_version": pyarrow.int32(),
        "created_at": pyarrow.timestamp("us", tz="UTC"),
    }
    if schema == PairSchema.TRL_CONVERSATIONAL:
        types = dict.fromkeys(COLUMNS[schema], messages)
    return pyarrow.schema([(name, types.get(name, pyarrow.string())) for name in COLUMNS[schema]])


class _Drain(io.RawIOBase):
    """A file that is only written to and read out by the way, so that no file is needed."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.position = 0

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        part = bytes(content)
        self.parts.append(part)
        self.position += len(part)
        return len(part)

    def tell(self) -> int:
        return self.position

    def drain(self) -> bytes:
        content = b"".join(self.parts)
        self.parts.clear()
        return content


def parquet_bytes(rows: Iterator[Row], schema: PairSchema) -> Iterator[bytes]:
    """Row groups of at most 2,000 pairs or about 8 MB, compressed with zstd."""
    import pyarrow
    from pyarrow import parquet

    columns = _parquet_schema(schema)
    sink = _Drain()
    with parquet.ParquetWriter(sink, columns, compression="zstd") as writer:
        for group in _row_groups(rows):
            writer.write_table(pyarrow.Table.from_pylist(group, schema=columns))
            yield sink.drain()
    yield sink.drain()


def _row_groups(rows: Iterator[Row]) -> Iterator[list[Row]]:
    group: list[Row] = []
    size = 0
    for row in rows:
        group.append(row)
        size += len(row["chosen"]) + len(row["rejected"])
        if len(group) >= ROW_GROUP_PAIRS or size >= ROW_GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
