"""Pairs and rankings as files, streamed; the same rows give the same bytes.

| schema | columns |
|---|---|
| plain | everything: texts, ids, ranks, models, labeler, weight, times |
| trl | `prompt`, `chosen`, `rejected`: texts; a conversation is a transcript, a turn a paragraph |
| trl-conversational | `prompt`, `chosen`, `rejected`: lists of messages |
| trl-unpaired | `prompt`, `completion`, `label`: each completion of a ranking once |
| hh | `chosen`, `rejected`: whole transcripts, "\\n\\nHuman: …\\n\\nAssistant: …" |
| argilla | records of Argilla 2 with a ranking question |
| label-studio | tasks with a Pairwise annotation |

In CSV a list or an object is its JSON text. All but `plain` leave out pairs with an empty side:
trainers cannot read them.
"""

from collections.abc import Iterator, Mapping

from app.preferences.formats.csv import csv_bytes
from app.preferences.formats.jsonl import json_bytes, jsonl_bytes, zstd_bytes
from app.preferences.formats.labeling_tools import LABEL_STUDIO_CONFIG
from app.preferences.formats.lines import LINES, pair_line_bytes
from app.preferences.formats.parquet import (
    flat_ranking,
    pair_columns,
    parquet_bytes,
    ranking_columns,
)
from app.preferences.formats.rankings import (
    RANKING_SCHEMA_MEANINGS,
    RankingFormat,
    RankingSchema,
    nectar_row,
    ranking_row,
    ranking_rows,
)
from app.preferences.formats.schemas import (
    COLUMNS,
    FORMAT_VERSION,
    MEDIA_TYPES,
    SCHEMA_MEANINGS,
    PairFormat,
    PairSchema,
    Row,
    export_rows,
    is_empty,
)
from app.preferences.pair_stream import Pair
from app.preferences.stored_rankings import StoredRanking

__all__ = [
    "COLUMNS",
    "FORMAT_VERSION",
    "LABEL_STUDIO_CONFIG",
    "MEDIA_TYPES",
    "RANKING_SCHEMA_MEANINGS",
    "SCHEMA_MEANINGS",
    "PairFormat",
    "PairSchema",
    "RankingFormat",
    "RankingSchema",
    "Row",
    "export_pairs",
    "export_rankings",
    "export_rows",
    "is_empty",
    "jsonl_bytes",
    "nectar_row",
    "ranking_row",
]


def export_pairs(pairs: Iterator[Pair], schema: PairSchema, layout: PairFormat) -> Iterator[bytes]:
    """The bytes of the file, chunk by chunk; the same pairs give the same bytes."""
    match layout:
        case PairFormat.JSONL:
            return _pair_lines(pairs, schema)
        case PairFormat.JSONL_ZST:
            return zstd_bytes(_pair_lines(pairs, schema))
        case PairFormat.JSON:
            return json_bytes(export_rows(pairs, schema))
        case PairFormat.CSV:
            return csv_bytes(export_rows(pairs, schema), COLUMNS[schema])
        case PairFormat.PARQUET:
            return parquet_bytes(export_rows(pairs, schema), pair_columns(schema))


def _pair_lines(pairs: Iterator[Pair], schema: PairSchema) -> Iterator[bytes]:
    if schema in LINES:
        return pair_line_bytes(pairs, schema)
    return jsonl_bytes(export_rows(pairs, schema))


def export_rankings(
    rankings: Iterator[StoredRanking],
    schema: RankingSchema,
    layout: RankingFormat,
    flag_labels: Mapping[str, str] | None = None,
) -> Iterator[bytes]:
    """The bytes of the file, chunk by chunk; `flag_labels` are the project's words for flags."""
    rows = ranking_rows(rankings, schema, flag_labels)
    match layout:
        case RankingFormat.JSONL:
            return jsonl_bytes(rows)
        case RankingFormat.JSONL_ZST:
            return zstd_bytes(jsonl_bytes(rows))
        case RankingFormat.PARQUET:
            flat = map(flat_ranking, rows) if schema == RankingSchema.PLAIN else rows
            return parquet_bytes(flat, ranking_columns(schema))
