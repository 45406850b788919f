"""Pairs as lines of JSON, each text and each ranking encoded once for all the pairs they are in.

The bytes are those of `jsonl_bytes` of the schema's rows, which a test holds together. A pair is
put together from pieces: what stands before the chosen text, the text, what stands between, the
rejected text, what stands after.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import orjson

from app.preferences.formats.schemas import PairSchema, is_empty, ordered_messages
from app.preferences.pair_stream import Pair, PairStream, Sides
from app.preferences.pairs import pair_weight
from app.preferences.stored_rankings import RankedCompletion, StoredRanking
from app.projects.messages import prompt_text

CHUNK_BYTES = 500_000
ENTRY_BYTES = 1000
"""About what remembering a completion takes beside its text."""
REMEMBERED_BYTES = 2_000_000
OPTIONS = orjson.OPT_UTC_Z
ASSISTANT = b"\\n\\nAssistant: "


class Frame(NamedTuple):
    """What is the same in all pairs of a ranking, around the two texts."""

    before: bytes
    between: bytes
    after: bytes


SPEAKERS = {"user": "\n\nHuman: ", "assistant": "\n\nAssistant: ", "system": ""}
Rankings = Iterator[tuple[StoredRanking, list[Sides]]]
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


def trl_lines(rankings: Rankings, frame_of: FrameOf) -> Iterator[bytes]:
    """A line a pair of a schema that says nothing but the texts."""
    encoded = _Encoded()
    for ranking, pairs in rankings:
        before, between, after = frame_of(ranking)
        for chosen, rejected, _, _ in pairs:
            yield b"".join((before, encoded[chosen][0], between, encoded[rejected][0], after))


def hh_lines(rankings: Rankings) -> Iterator[bytes]:
    """`chosen` and `rejected` as whole transcripts."""
    encoded = _Encoded()
    for ranking, pairs in rankings:
        # Two JSON texts, one after the other: without the quotes where they meet.
        opening = encode(transcript(ranking.prompt.messages))[:-1] + ASSISTANT
        before, between = b'{"chosen":' + opening, b',"rejected":' + opening
        for chosen, rejected, _, _ in pairs:
            yield b"".join(
                (before, encoded[chosen][0][1:], between, encoded[rejected][0][1:], b"}\n")
            )


def plain_lines(rankings: Rankings) -> Iterator[bytes]:
    """Everything Podium knows of each pair, in the order of `PLAIN_COLUMNS`."""
    encoded = _Encoded()
    for ranking, pairs in rankings:
        before, between, after = _plain_frame(ranking)
        for chosen, rejected, chosen_rank, rejected_rank in pairs:
            text, own_id, model = encoded[chosen]
            other_text, other_id, other_model = encoded[rejected]
            yield b"".join(
                (
                    before,
                    text,
                    b',"rejected":',
                    other_text,
                    between,
                    b',"chosen_id":',
                    own_id,
                    b',"rejected_id":',
                    other_id,
                    b',"chosen_rank":%d,"rejected_rank":%d' % (chosen_rank, rejected_rank),
                    b',"chosen_model":',
                    model,
                    b',"rejected_model":',
                    other_model,
                    after,
                )
            )


def _plain_frame(ranking: StoredRanking) -> Frame:
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
        "weight": pair_weight(len(ranking.completions)),
        "guidelines_version": ranking.guidelines_version,
        "created_at": ranking.created_at,
    }
    return Frame(
        b'{"prompt":' + encode(prompt_text(prompt.messages)) + b',"chosen":',
        b"," + encode(shared)[1:-1],
        b"," + encode(last)[1:] + b"\n",
    )


class _Encoded(dict[RankedCompletion, tuple[bytes, bytes, bytes]]):
    """Text, id and model of completions as JSON; those met last, for rankings of one task follow
    each other."""

    size = 0

    def __missing__(self, completion: RankedCompletion) -> tuple[bytes, bytes, bytes]:
        pieces = _fitted(completion.text), _fitted(completion.id), _fitted(completion.model)
        size = ENTRY_BYTES + len(pieces[0])
        self.size += size
        if self.size > REMEMBERED_BYTES:
            self.clear()
            self.size = size
        self[completion] = pieces
        return pieces


def _fitted(value: Any) -> bytes:
    """The value as JSON in no more memory than it needs: what orjson gives keeps the 4 KB that it
    was written in."""
    return bytes(memoryview(encode(value)))


LINES: dict[PairSchema, Callable[[Rankings], Iterator[bytes]]] = {
    PairSchema.PLAIN: plain_lines,
    PairSchema.TRL: partial(trl_lines, frame_of=trl_frame),
    PairSchema.TRL_CONVERSATIONAL: partial(trl_lines, frame_of=conversational_frame),
    PairSchema.HH: hh_lines,
}
"""The schemas that are worth it; the others are written row by row."""


def pair_line_bytes(pairs: Iterator[Pair], schema: PairSchema) -> Iterator[bytes]:
    """The file's bytes for a schema of `LINES`, half a megabyte at a time."""
    rankings = pairs.by_ranking() if isinstance(pairs, PairStream) else _by_ranking(pairs)
    if schema != PairSchema.PLAIN:
        rankings = ((ranking, _with_text(found)) for ranking, found in rankings)
    lines = LINES[schema](rankings)
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


def _with_text(pairs: list[Sides]) -> list[Sides]:
    return [sides for sides in pairs if not (is_empty(sides[0].text) or is_empty(sides[1].text))]


def _by_ranking(pairs: Iterator[Pair]) -> Rankings:
    """Pairs that somebody looked at one by one, as rankings again."""
    for _, of_ranking in groupby(pairs, key=lambda pair: pair.ranking.id):
        found = list(of_ranking)
        yield found[0].ranking, [pair[1:5] for pair in found]
