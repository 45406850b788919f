"""What a file of pairs can hold: the schemas with their columns, and a pair as a row of each."""

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any

from app.preferences.queries import Pair
from app.projects.messages import prompt_text

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
        "prompt_messages": ordered_messages(prompt.messages),
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
        "prompt": ordered_messages(pair.ranking.prompt.messages),
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


def ordered_messages(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """The messages with the role first: PostgreSQL gives an object's keys back in an order of its own."""
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
