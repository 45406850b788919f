"""Nectar: many answers to the prompt of a transcript, each with its rank."""

from collections.abc import Iterator
from typing import Any

from app.preferences.foreign.shape import ForeignFormat, Row
from app.preferences.foreign.taking import (
    check_any_prompt,
    check_rank,
    details,
    read_transcript,
    stable_id,
    take_objects,
    take_text,
)
from app.projects.messages import Message

TAKEN = ("prompt", "answers", "num_responses", "labeler", "external_id", "id")


def _rankings(row: Row) -> Iterator[Row]:
    answers = take_objects(row, "answers", "objects with answer, model and rank")
    about_prompt, rest = details(row, TAKEN)
    yield {
        "prompt": _prompt(row),
        "completions": [
            {"text": take_text(answer, "answer"), "model": answer.get("model")}
            for answer in answers
        ],
        "ranks": [
            check_rank(answer.get("rank"), f"answers[{place}].rank", first=1)
            for place, answer in enumerate(answers)
        ],
        "labeler": row.get("labeler"),
        "external_id": row.get("external_id") or stable_id(row.get("id")),
        "metadata": about_prompt,
        "origin": {"format": "nectar", **rest},
    }


def _prompt(row: Row) -> Any:
    value = row.get("prompt")
    if not isinstance(value, str):
        return check_any_prompt(value, "prompt")
    text = take_text(row, "prompt")
    if "\n\nHuman:" not in text:
        return text
    messages: list[Message] = [
        {"role": message["role"], "content": message["content"].strip()}
        for message in read_transcript(text, "prompt")
    ]
    if messages[-1] == {"role": "assistant", "content": ""}:
        messages.pop()
    return messages


NECTAR = ForeignFormat(
    name="nectar",
    title="Nectar",
    direction="Rank 1 is best; equal ranks are ties.",
    columns=(("prompt", "answers"),),
    matches=lambda row: "prompt" in row and isinstance(row.get("answers"), list),
    rankings=_rankings,
)
