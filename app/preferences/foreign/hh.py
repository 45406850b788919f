"""hh-rlhf: two transcripts that part at their last answer."""

from collections.abc import Iterator

from app.preferences.foreign.shape import ForeignFormat, Row
from app.preferences.foreign.taking import read_transcript, split_conversations, take_text
from app.preferences.foreign.trl import pair_row
from app.projects.reading import RowError

MARKS = ("\n\nHuman:", "\n\nAssistant:")


def _rankings(row: Row) -> Iterator[Row]:
    sides = []
    for name in ("chosen", "rejected"):
        messages = read_transcript(take_text(row, name), name)
        if messages[-1]["role"] != "assistant":
            raise RowError(f"{name} does not end with an answer of the assistant")
        sides.append(messages)
    prompt, texts = split_conversations(sides, ("chosen", "rejected"))
    yield pair_row("hh", row, prompt, texts, [1, 2])


def _matches(row: Row) -> bool:
    sides = (row.get("chosen"), row.get("rejected"))
    return "prompt" not in row and all(
        isinstance(side, str) and all(mark in side for mark in MARKS) for side in sides
    )


HH = ForeignFormat(
    name="hh",
    title="hh-rlhf transcripts",
    direction="chosen is better than rejected; there are no ties.",
    columns=(("chosen", "rejected"),),
    matches=_matches,
    rankings=_rankings,
)
