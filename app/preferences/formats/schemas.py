"""What a file of pairs can hold: the schemas with their columns, and pairs as rows of each."""

from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from itertools import groupby
from typing import Any

from app.preferences.pair_stream import Pair
from app.projects.messages import Message, prompt_text

FORMAT_VERSION = 2
"""Part of what names a kept export: raise it when the bytes of an export change."""


class PairSchema(StrEnum):
    """The columns of an export of pairs."""

    PLAIN = "plain"
    TRL = "trl"
    TRL_CONVERSATIONAL = "trl-conversational"
    TRL_UNPAIRED = "trl-unpaired"
    HH = "hh"
    ARGILLA = "argilla"
    LABEL_STUDIO = "label-studio"


class PairFormat(StrEnum):
    """The file format of an export of pairs."""

    JSONL = "jsonl"
    JSONL_ZST = "jsonl.zst"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


MEDIA_TYPES: dict[str, str] = {
    PairFormat.JSONL: "application/x-ndjson",
    PairFormat.JSONL_ZST: "application/zstd",
    PairFormat.JSON: "application/json",
    PairFormat.CSV: "text/csv; charset=utf-8",
    PairFormat.PARQUET: "application/vnd.apache.parquet",
}
SCHEMA_MEANINGS: dict[PairSchema, str] = {
    PairSchema.PLAIN: "Everything: texts, ids, ranks, models, labeler, weight, time.",
    PairSchema.TRL: "Prompt, chosen and rejected as text; a conversation is a transcript.",
    PairSchema.TRL_CONVERSATIONAL: "Prompt, chosen and rejected as chat messages.",
    PairSchema.TRL_UNPAIRED: "Prompt, completion and label: each completion of a ranking once, "
    "true where it won more of its pairs than it lost.",
    PairSchema.HH: "Chosen and rejected as Human/Assistant transcripts.",
    PairSchema.ARGILLA: "Records of Argilla's SDK with a ranking question over two responses.",
    PairSchema.LABEL_STUDIO: "Label Studio tasks, each with a Pairwise annotation.",
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
COLUMNS: dict[PairSchema, tuple[str, ...]] = {
    PairSchema.PLAIN: PLAIN_COLUMNS,
    PairSchema.TRL: ("prompt", "chosen", "rejected"),
    PairSchema.TRL_CONVERSATIONAL: ("prompt", "chosen", "rejected"),
    PairSchema.TRL_UNPAIRED: ("prompt", "completion", "label"),
    PairSchema.HH: ("chosen", "rejected"),
    PairSchema.ARGILLA: ("id", "fields", "metadata", "responses"),
    PairSchema.LABEL_STUDIO: ("data", "annotations"),
}
Row = dict[str, Any]


def plain_rows(pairs: Sequence[Pair]) -> Iterator[Row]:
    """Everything Podium knows about each pair."""
    ranking = pairs[0].ranking
    messages = ordered_messages(ranking.prompt.messages)
    text = prompt_text(messages)
    for pair in pairs:
        yield {
            "prompt": text,
            "chosen": pair.chosen.text,
            "rejected": pair.rejected.text,
            "prompt_messages": messages,
            "prompt_id": ranking.prompt.id,
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


def trl_rows(pairs: Sequence[Pair]) -> Iterator[Row]:
    """TRL's standard preference format with an explicit prompt."""
    text = prompt_text(pairs[0].ranking.prompt.messages)
    for pair in pairs:
        yield {"prompt": text, "chosen": pair.chosen.text, "rejected": pair.rejected.text}


def trl_conversational_rows(pairs: Sequence[Pair]) -> Iterator[Row]:
    """TRL's conversational preference format with an explicit prompt."""
    messages = ordered_messages(pairs[0].ranking.prompt.messages)
    for pair in pairs:
        yield {
            "prompt": messages,
            "chosen": [{"role": "assistant", "content": pair.chosen.text}],
            "rejected": [{"role": "assistant", "content": pair.rejected.text}],
        }


def trl_unpaired_rows(pairs: Sequence[Pair]) -> Iterator[Row]:
    """TRL's unpaired preference format (KTO): each completion of the ranking once.

    Two rows for every pair, as `trl.data_utils.unpair_preference_dataset` makes them, would give
    the middle of "a > b > c" once as good and once as bad, and the ends twice. Here a completion
    is good that won more of the ranking's pairs than it lost, bad that lost more; one that won as
    many as it lost says nothing and is left out.
    """
    text = prompt_text(pairs[0].ranking.prompt.messages)
    wins: dict[str, int] = {}
    texts: dict[str, str] = {}
    for pair in pairs:
        for completion, won in ((pair.chosen, 1), (pair.rejected, -1)):
            wins[completion.id] = wins.get(completion.id, 0) + won
            texts[completion.id] = completion.text
    for completion_id, balance in wins.items():
        if balance:
            yield {"prompt": text, "completion": texts[completion_id], "label": balance > 0}


def hh_rows(pairs: Sequence[Pair]) -> Iterator[Row]:
    """Transcripts as in Anthropic's hh-rlhf."""
    start = f"{transcript(pairs[0].ranking.prompt.messages)}\n\nAssistant: "
    for pair in pairs:
        yield {"chosen": start + pair.chosen.text, "rejected": start + pair.rejected.text}


def transcript(messages: Sequence[Message]) -> str:
    """The prompt as in Anthropic's hh-rlhf; a system message stands before the first turn."""
    names = {"user": "\n\nHuman: ", "assistant": "\n\nAssistant: ", "system": ""}
    return "".join(names[message["role"]] + message["content"] for message in messages)


def ordered_messages(messages: Sequence[Message]) -> list[Message]:
    """With the role first: PostgreSQL gives the keys of an object back in an order of its own."""
    return [{"role": message["role"], "content": message["content"]} for message in messages]


def is_empty(text: str) -> bool:
    """Whether there is nothing to read in a text."""
    return not text.strip(" \t\r\n")


def export_rows(pairs: Iterator[Pair], schema: PairSchema) -> Iterator[Row]:
    """The pairs, those of a ranking one after the other, under the schema's columns."""
    rows = _rows_of(schema)
    everything = schema == PairSchema.PLAIN
    for _, of_ranking in groupby(pairs, key=lambda pair: pair.ranking.id):
        taken = [
            pair
            for pair in of_ranking
            if everything or not (is_empty(pair.chosen.text) or is_empty(pair.rejected.text))
        ]
        if taken:
            yield from rows(taken)


def _rows_of(schema: PairSchema) -> Callable[[Sequence[Pair]], Iterator[Row]]:
    from app.preferences.formats.labeling_tools import argilla_rows, label_studio_rows

    rows: dict[PairSchema, Callable[[Sequence[Pair]], Iterator[Row]]] = {
        PairSchema.PLAIN: plain_rows,
        PairSchema.TRL: trl_rows,
        PairSchema.TRL_CONVERSATIONAL: trl_conversational_rows,
        PairSchema.TRL_UNPAIRED: trl_unpaired_rows,
        PairSchema.HH: hh_rows,
        PairSchema.ARGILLA: argilla_rows,
        PairSchema.LABEL_STUDIO: label_studio_rows,
    }
    return rows[schema]
