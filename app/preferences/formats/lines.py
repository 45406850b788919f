"""Pairs as lines of JSON, each text and each ranking encoded once for all the pairs they are in.

The bytes are those of `jsonl_bytes` of the schema's rows, which a test holds together. A pair is
put together from pieces: what stands before the chosen text, the text, what stands between, the
rejected text, what stands after.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import orjson

from app.preferences.formats.schemas import PairSchema, is_empty, ordered_messages
from app.preferences.queries import Pair, StoredRanking
from app.projects.messages import prompt_text

CHUNK_BYTES = 500_000
REMEMBERED_BYTES = 2_000_000
OPTIONS = orjson.OPT_UTC_Z
ASSISTANT = b"\\n\\nAssistant: "


class Frame(NamedTuple):
    """What is the same in all pairs of a ranking, around the two texts."""

    before: bytes
    between: bytes
    after: bytes


SPEAKERS = {"user": "\n\nHuman: ", "assistant": "\n\nAssistant: ", "system": ""}
FrameOf = Callable[[StoredRanking], Frame]


def transcript(messages: list[dict[str, str]]) -> str:
    """A conversation as in Anthropic's hh-rlhf; a system message stands before the first turn."""
    return "".join(SPEAKERS[message["role"]] + message["content"] for message in messages)


def encode(value: Any) -> bytes:
    """The value as JSON; times end in Z."""
    return orjson.dumps(value, option=OPTIONS)


def trl_frame(ranking: StoredRanking) -> Frame:
    """`prompt`, `chosen`, `rejected` as texts."""
    prompt = encode(prompt_text(ranking.prompt.messages))
    return Frame(b'{"prompt":' + prompt + b',"chosen":', b',"rejected":', b"}\n")


def conversational_frame(ranking: StoredRanking) -> Frame:
    """The same three as messages."""
    prompt = encode(ordered_messages(ranking.prompt.messages))
    message = b'[{"role":"assistant","content":'
    return Frame(
        b'{"prompt":' + prompt + b',"chosen":' + message,
        b'}],"rejected":' + message,
        b"}]}\n",
    )


def trl_lines(pairs: Iterator[Pair], frame_of: FrameOf) -> Iterator[bytes]:
    """A line a pair of a schema that says nothing but the texts."""
    texts = _Texts()
    ranking: StoredRanking | None = None
    before = between = after = b""
    for pair in pairs:
        if pair.ranking is not ranking:
            ranking = pair.ranking
            before, between, after = frame_of(ranking)
        chosen, rejected = (
            texts[pair.chosen.id, pair.chosen.text],
            texts[pair.rejected.id, pair.rejected.text],
        )
        yield b"".join((before, chosen, between, rejected, after))


def hh_lines(pairs: Iterator[Pair]) -> Iterator[bytes]:
    """`chosen` and `rejected` as whole transcripts."""
    texts = _Texts()
    ranking: StoredRanking | None = None
    opening = b""
    for pair in pairs:
        if pair.ranking is not ranking:
            ranking = pair.ranking
            # Two JSON texts, one after the other: without the quotes where they meet.
            opening = encode(transcript(ranking.prompt.messages))[:-1] + ASSISTANT
        chosen, rejected = (
            texts[pair.chosen.id, pair.chosen.text],
            texts[pair.rejected.id, pair.rejected.text],
        )
        yield b"".join(
            (b'{"chosen":', opening, chosen[1:], b',"rejected":', opening, rejected[1:], b"}\n")
        )


def plain_lines(pairs: Iterator[Pair]) -> Iterator[bytes]:
    """Everything Podium knows of each pair, in the order of `PLAIN_COLUMNS`."""
    texts = _Texts()
    ranking: StoredRanking | None = None
    before = between = after = b""
    sides: dict[str, tuple[bytes, bytes]] = {}
    for pair in pairs:
        if pair.ranking is not ranking:
            ranking = pair.ranking
            before, between, after = _plain_frame(ranking, pair.weight)
            sides = {item.id: (encode(item.id), encode(item.model)) for item in ranking.completions}
        chosen, rejected = pair.chosen, pair.rejected
        chosen_id, chosen_model = sides[chosen.id]
        rejected_id, rejected_model = sides[rejected.id]
        ranks = b',"chosen_rank":%d,"rejected_rank":%d' % (pair.chosen_rank, pair.rejected_rank)
        yield b"".join(
            (
                before,
                texts[chosen.id, chosen.text],
                b',"rejected":',
                texts[rejected.id, rejected.text],
                between,
                b',"chosen_id":',
                chosen_id,
                b',"rejected_id":',
                rejected_id,
                ranks,
                b',"chosen_model":',
                chosen_model,
                b',"rejected_model":',
                rejected_model,
                after,
            )
        )


def _plain_frame(ranking: StoredRanking, weight: float) -> Frame:
    prompt = ranking.prompt
    shared = {
        "prompt_messages": ordered_messages(prompt.messages),
        "prompt_id": prompt.id,
        "task_id": ranking.task_id,
        "ranking_id": ranking.id,
        "round": ranking.round_number,
        "labeler": ranking.labeler,
        "simulated": ranking.simulated,
        "is_repeat": ranking.is_repeat,
    }
    last = {
        "weight": weight,
        "guidelines_version": ranking.guidelines_version,
        "created_at": ranking.created_at,
    }
    return Frame(
        b'{"prompt":' + encode(prompt_text(prompt.messages)) + b',"chosen":',
        b"," + encode(shared)[1:-1],
        b"," + encode(last)[1:] + b"\n",
    )


class _Texts(dict[tuple[str, str], bytes]):
    """Completions as JSON, those met last: rankings of one task follow each other."""

    size = 0

    def __missing__(self, key: tuple[str, str]) -> bytes:
        encoded = encode(key[1])
        self.size += len(encoded)
        if self.size > REMEMBERED_BYTES:
            self.clear()
            self.size = len(encoded)
        self[key] = encoded
        return encoded


LINES: dict[PairSchema, Callable[[Iterator[Pair]], Iterator[bytes]]] = {
    PairSchema.PLAIN: plain_lines,
    PairSchema.TRL: partial(trl_lines, frame_of=trl_frame),
    PairSchema.TRL_CONVERSATIONAL: partial(trl_lines, frame_of=conversational_frame),
    PairSchema.HH: hh_lines,
}
"""The schemas that are worth it; the others are written row by row."""


def pair_line_bytes(pairs: Iterator[Pair], schema: PairSchema) -> Iterator[bytes]:
    """The file's bytes for a schema of `LINES`, half a megabyte at a time."""
    if schema != PairSchema.PLAIN:
        pairs = (
            pair
            for pair in pairs
            if not (is_empty(pair.chosen.text) or is_empty(pair.rejected.text))
        )
    lines = LINES[schema](pairs)
    chunk: list[bytes] = []
    size = 0
    for line in lines:
        chunk.append(line)
        size += len(line)
        if size >= CHUNK_BYTES:
            yield b"".join(chunk)
            chunk, size = [], 0
    if chunk:
        yield b"".join(chunk)
