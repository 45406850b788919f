"""Pairs and rankings as files: four schemas in three formats, streamed.

| schema | columns |
|---|---|
| plain | everything: texts, ids, ranks, models, labeler, weight, times |
| trl | `prompt`, `chosen`, `rejected`: texts; a conversation is a transcript, a turn a paragraph |
| trl-conversational | `prompt`, `chosen`, `rejected`: lists of messages |
| hh | `chosen`, `rejected`: whole transcripts, "\\n\\nHuman: …\\n\\nAssistant: …" |

In CSV a list of messages is its JSON text. All but `plain` leave out pairs with an empty side:
trainers cannot read them.
"""

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from itertools import islice
from typing import Any

import orjson

from app.preferences.queries import Pair, StoredRanking
from app.projects.messages import prompt_text, prompt_value

CHUNK_PAIRS = 200
ROW_GROUP_PAIRS = 2000
ROW_GROUP_BYTES = 8_000_000
FORMAT_VERSION = 1
"""Part of a snapshot's ETag: raise it when the bytes of an export change."""


class PairSchema(StrEnum):
    """The columns of an export."""

    PLAIN = "plain"
    TRL = "trl"
    TRL_CONVERSATIONAL = "trl-conversational"
    HH = "hh"


class PairFormat(StrEnum):
    """The file format of an export."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


MEDIA_TYPES = {
    PairFormat.JSONL: "application/x-ndjson",
    PairFormat.CSV: "text/csv; charset=utf-8",
    PairFormat.PARQUET: "application/vnd.apache.parquet",
}
PLAIN_COLUMNS = (
    "prompt",
    "chosen",
    "rejected",
    "prompt_messages",
    "prompt_id",
    "task_id",
    "ranking_id",
    "round",
    "labeler",
    "simulated",
    "is_repeat",
    "chosen_id",
    "rejected_id",
    "chosen_rank",
    "rejected_rank",
    "chosen_model",
    "rejected_model",
    "weight",
    "guidelines_version",
    "created_at",
)
COLUMNS = {
    PairSchema.PLAIN: PLAIN_COLUMNS,
    PairSchema.TRL: ("prompt", "chosen", "rejected"),
    PairSchema.TRL_CONVERSATIONAL: ("prompt", "chosen", "rejected"),
    PairSchema.HH: ("chosen", "rejected"),
}
Row = dict[str, Any]


def plain_row(pair: Pair) -> Row:
    """Everything Podium knows about the pair."""
    ranking, prompt = pair.ranking, pair.ranking.prompt
    return {
        "prompt": prompt_text(prompt.messages),
        "chosen": pair.chosen.text,
        "rejected": pair.rejected.text,
        "prompt_messages": _ordered(prompt.messages),
        "prompt_id": prompt.id,
        "task_id": ranking.task_id,
        "ranking_id": ranking.id,
        "round": ranking.round_number,
        "labeler": ranking.labeler,
        "simulated": ranking.simulated,
        "is_repeat": ranking.is_repeat,
        "chosen_id": pair.chosen.id,
        "rejected_id": pair.rejected.id,
        "chosen_rank": pair.chosen_rank,
        "rejected_rank": pair.rejected_rank,
        "chosen_model": pair.chosen.model,
        "rejected_model": pair.rejected.model,
        "weight": pair.weight,
        "guidelines_version": ranking.guidelines_version,
        "created_at": ranking.created_at,
    }


def trl_row(pair: Pair) -> Row:
    """TRL's standard preference format with an explicit prompt."""
    return {
        "prompt": prompt_text(pair.ranking.prompt.messages),
        "chosen": pair.chosen.text,
        "rejected": pair.rejected.text,
    }


def trl_conversational_row(pair: Pair) -> Row:
    """TRL's conversational preference format with an explicit prompt."""
    return {
        "prompt": _ordered(pair.ranking.prompt.messages),
        "chosen": [{"role": "assistant", "content": pair.chosen.text}],
        "rejected": [{"role": "assistant", "content": pair.rejected.text}],
    }


def hh_row(pair: Pair) -> Row:
    """Transcripts as in Anthropic's hh-rlhf; a system message stands before the first turn."""
    names = {"user": "\n\nHuman: ", "assistant": "\n\nAssistant: ", "system": ""}
    transcript = "".join(
        names[message["role"]] + message["content"] for message in pair.ranking.prompt.messages
    )
    return {
        "chosen": f"{transcript}\n\nAssistant: {pair.chosen.text}",
        "rejected": f"{transcript}\n\nAssistant: {pair.rejected.text}",
    }


ROWS: dict[PairSchema, Callable[[Pair], Row]] = {
    PairSchema.PLAIN: plain_row,
    PairSchema.TRL: trl_row,
    PairSchema.TRL_CONVERSATIONAL: trl_conversational_row,
    PairSchema.HH: hh_row,
}


def _ordered(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """The role first: PostgreSQL gives an object's keys back in an order of its own."""
    return [{"role": message["role"], "content": message["content"]} for message in messages]


def is_empty(text: str) -> bool:
    """Whether there is nothing to read in a text."""
    return not text.strip(" \t\r\n")


def export_rows(pairs: Iterator[Pair], schema: PairSchema) -> Iterator[Row]:
    """The pairs under the schema's columns."""
    row = ROWS[schema]
    for pair in pairs:
        if schema == PairSchema.PLAIN or not (
            is_empty(pair.chosen.text) or is_empty(pair.rejected.text)
        ):
            yield row(pair)


def export_pairs(pairs: Iterator[Pair], schema: PairSchema, layout: PairFormat) -> Iterator[bytes]:
    """The bytes of the file, chunk by chunk; the same pairs give the same bytes."""
    rows = export_rows(pairs, schema)
    match layout:
        case PairFormat.JSONL:
            return jsonl_bytes(rows)
        case PairFormat.CSV:
            return csv_bytes(rows, COLUMNS[schema])
        case PairFormat.PARQUET:
            return parquet_bytes(rows, schema)


def jsonl_bytes(rows: Iterator[Row]) -> Iterator[bytes]:
    """One JSON object a line."""
    option = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z
    while chunk := [orjson.dumps(row, option=option) for row in islice(rows, CHUNK_PAIRS)]:
        yield b"".join(chunk)


def csv_bytes(rows: Iterator[Row], columns: tuple[str, ...]) -> Iterator[bytes]:
    """A header and a record a row (RFC 4180), in UTF-8 without a byte order mark."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(columns)
    while chunk := list(islice(rows, CHUNK_PAIRS)):
        writer.writerows([_csv_cell(value) for value in row.values()] for row in chunk)
        yield buffer.getvalue().encode()
        buffer.seek(0)
        buffer.truncate()
    if buffer.tell():
        yield buffer.getvalue().encode()


def _csv_cell(value: Any) -> Any:
    if isinstance(value, list):
        return orjson.dumps(value).decode()
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat().replace("+00:00", "Z") if hasattr(value, "isoformat") else value


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


def ranking_row(ranking: StoredRanking, flag_labels: Mapping[str, str] | None = None) -> Row:
    """A ranking in the shape that the import takes, with what only Podium knows beside it.

    `flag_labels` are the project's words for its flags; those of the flags carried are written.
    """
    labels = flag_labels or {}
    return {
        "ranking_id": ranking.id,
        "task_id": ranking.task_id,
        "purpose": ranking.purpose,
        "round": ranking.round_number,
        "prompt": prompt_value(_ordered(ranking.prompt.messages), ranking.prompt.is_chat),
        "prompt_external_id": ranking.prompt.external_id,
        "tags": ranking.prompt.tags,
        "metadata": ranking.prompt.metadata,
        "completions": [
            {
                "id": item.id,
                "text": item.text,
                "model": item.model,
                "finish_reason": item.finish_reason,
                "token_count": item.token_count,
            }
            for item in ranking.completions
        ],
        "ranks": ranking.ranks,
        "labeler": ranking.labeler,
        "simulated": ranking.simulated,
        "source": ranking.source,
        "external_id": ranking.external_id,
        "is_repeat": ranking.is_repeat,
        "shown_order": ranking.shown_order,
        "ratings": ranking.ratings,
        "flags": ranking.flags,
        "flag_labels": {
            name: labels[name] for names in ranking.flags for name in names if name in labels
        },
        "comment": ranking.comment,
        "active_ms": ranking.active_ms,
        "guidelines_version": ranking.guidelines_version,
        "gold": [ranking.gold[item.id] for item in ranking.completions] if ranking.gold else None,
        "origin": ranking.origin,
        "created_at": ranking.created_at,
    }
