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

from collections.abc import Iterator

from app.preferences.formats.csv import csv_bytes
from app.preferences.formats.jsonl import jsonl_bytes
from app.preferences.formats.parquet import parquet_bytes
from app.preferences.formats.rankings import ranking_row
from app.preferences.formats.schemas import (
    COLUMNS,
    FORMAT_VERSION,
    MEDIA_TYPES,
    PairFormat,
    PairSchema,
    Row,
    export_rows,
    is_empty,
)
from app.preferences.queries import Pair

__all__ = [
    "COLUMNS",
    "FORMAT_VERSION",
    "MEDIA_TYPES",
    "PairFormat",
    "PairSchema",
    "Row",
    "export_pairs",
    "export_rows",
    "is_empty",
    "jsonl_bytes",
    "ranking_row",
]


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
