"""Podium's own pairs, schema `plain`: each becomes a ranking of two."""

from collections.abc import Iterator
from typing import Any

from app.preferences.foreign.shape import ForeignFormat, Row
from app.preferences.foreign.taking import check_any_prompt, check_rank, take_text
from app.projects.reading import RowError

KEPT_IN_ORIGIN = (
    "ranking_id",
    "task_id",
    "prompt_id",
    "round",
    "chosen_id",
    "rejected_id",
    "chosen_rank",
    "rejected_rank",
    "weight",
    "guidelines_version",
)
NUMBERS = ("round", "chosen_rank", "rejected_rank", "weight", "guidelines_version")


def _rankings(row: Row) -> Iterator[Row]:
    row = _with_numbers(row)
    ranks = [check_rank(row.get(name), name, first=1) for name in ("chosen_rank", "rejected_rank")]
    if ranks[0] is None or ranks[1] is None or ranks[0] >= ranks[1]:
        raise RowError("chosen_rank must be better, a lower number, than rejected_rank")
    ids = [row.get(name) for name in ("ranking_id", "chosen_id", "rejected_id")]
    yield {
        "prompt": _prompt(row),
        "completions": [
            {"text": take_text(row, side), "model": row.get(f"{side}_model")}
            for side in ("chosen", "rejected")
        ],
        "ranks": [1, 2],
        "labeler": row.get("labeler"),
        "simulated": row.get("simulated"),
        "is_repeat": row.get("is_repeat"),
        "created_at": row.get("created_at"),
        "ranking_id": row.get("ranking_id"),
        "external_id": ":".join(str(item) for item in ids) if all(ids) else None,
        "origin": {
            "format": "podium-pairs",
            **{name: row[name] for name in KEPT_IN_ORIGIN if row.get(name) is not None},
        },
    }


def _prompt(row: Row) -> Any:
    messages = row.get("prompt_messages")
    if not messages:
        return take_text(row, "prompt")
    prompt = check_any_prompt(messages, "prompt_messages")
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1 and prompt[0]["content"] == row.get("prompt"):
        return row["prompt"]
    return prompt


def _with_numbers(row: Row) -> Row:
    """Numbers and truth values of a CSV file are texts."""
    row = dict(row)
    for name in NUMBERS:
        value = row.get(name)
        if isinstance(value, str):
            try:
                row[name] = float(value) if name == "weight" else int(value)
            except ValueError as error:
                raise RowError(f"{name} is {value[:40]!r}; accepted: a number") from error
    for name in ("simulated", "is_repeat"):
        if isinstance(row.get(name), str):
            row[name] = row[name].lower() == "true"
    return row


PODIUM_PAIRS = ForeignFormat(
    name="podium-pairs",
    title="Podium pairs, plain",
    direction="chosen is better than rejected; there are no ties.",
    columns=(("prompt", "chosen", "rejected", "chosen_rank", "rejected_rank"),),
    matches=lambda row: {"chosen", "rejected", "chosen_rank", "rejected_rank"} <= row.keys(),
    rankings=_rankings,
)
