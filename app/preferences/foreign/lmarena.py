"""LMArena: two models answer the same conversation, and somebody says who won."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from app.preferences.foreign.shape import ForeignFormat, Row
from app.preferences.foreign.taking import (
    check_conversation,
    details,
    split_conversations,
    stable_id,
)
from app.projects.messages import Message, check_text
from app.projects.reading import RowError

RANKS = {
    "model_a": [1, 2],
    "model_b": [2, 1],
    "tie": [1, 1],
    "tie (bothbad)": [1, 1],
    "tie(bothbad)": [1, 1],
    "both_bad": [1, 1],
    "bothbad": [1, 1],
}
IDS = ("question_id", "id")
TAKEN = (
    "conversation_a",
    "conversation_b",
    "model_a",
    "model_b",
    "judge",
    "tstamp",
    "full_conversation",
    "prompt",
    "response_a",
    "response_b",
    "winner_model_a",
    "winner_model_b",
    "winner_tie",
)


def _rankings(row: Row) -> Iterator[Row]:
    winner = _winner(row)
    prompt, texts = split_conversations(
        [_conversation(row, side) for side in "ab"], ("conversation_a", "conversation_b")
    )
    about_prompt, rest = details(row, TAKEN)
    external_id = next((found for name in IDS if (found := stable_id(row.get(name)))), None)
    yield {
        "prompt": prompt,
        "completions": [
            {"text": text, "model": row.get(name)}
            for text, name in zip(texts, ("model_a", "model_b"), strict=True)
        ],
        "ranks": RANKS[winner],
        "labeler": row.get("judge"),
        "external_id": external_id,
        "created_at": _time(row.get("tstamp")),
        "metadata": about_prompt,
        "origin": {"format": "lmarena", **rest, "winner": winner},
    }


def _winner(row: Row) -> str:
    winner = row.get("winner")
    if winner is None and "winner_model_a" in row:
        for name in ("model_a", "model_b", "tie"):
            if row.get(f"winner_{name}") in (1, True, "1"):
                return name
        raise RowError("none of winner_model_a, winner_model_b and winner_tie is 1")
    if not isinstance(winner, str) or winner.strip().lower() not in RANKS:
        accepted = "model_a, model_b, tie, tie (bothbad)"
        raise RowError(f"winner is {str(winner)[:40]!r}; accepted: {accepted}")
    return winner.strip().lower()


def _conversation(row: Row, side: str) -> list[Message]:
    name = f"conversation_{side}"
    if row.get(name) is not None:
        return check_conversation(row[name], name)
    name = f"response_{side}"
    said, answered = _turns(row.get("prompt"), "prompt"), _turns(row.get(name), name)
    if len(said) != len(answered):
        raise RowError(f"{name} has {len(answered)} turns where prompt has {len(said)}")
    messages: list[Message] = []
    for question, answer in zip(said, answered, strict=True):
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": answer})
    return messages


def _turns(value: Any, name: str) -> list[str]:
    """A text, or the list of the texts of all turns."""
    if value is None:
        raise RowError(f"{name} is missing")
    turns = value if isinstance(value, list) else [value]
    return [check_text(turn, name) for turn in turns]


def _time(value: Any) -> str | None:
    """The moment of a time stamp in seconds."""
    if value is None:
        return None
    try:
        return datetime.fromtimestamp(float(value), UTC).isoformat()
    except (TypeError, OverflowError, ValueError, OSError) as error:
        raise RowError(f"tstamp is {str(value)[:40]!r}; accepted: seconds since 1970") from error


LMARENA = ForeignFormat(
    name="lmarena",
    title="LMArena battles",
    direction="winner is the better model; tie and both bad are ties.",
    columns=(
        ("conversation_a", "conversation_b", "winner"),
        ("prompt", "response_a", "response_b", "winner_model_a"),
    ),
    matches=lambda row: (
        {"conversation_a", "conversation_b", "winner"} <= row.keys()
        or {"prompt", "response_a", "response_b", "winner_model_a"} <= row.keys()
    ),
    rankings=_rankings,
)
