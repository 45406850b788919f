"""Pairs as lines of JSON, each text and each ranking encoded once for all the pairs they are in.

The bytes are those of `jsonl_bytes` of the schema's rows, which a test holds together. A pair is
put together from pieces: what stands before the chosen text, the text, what stands between, the
rejected text, what stands after.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from itertools import groupby
from typing import Any, NamedTuple

import orjson

from app.preferences.formats.schemas import PairSchema, is_empty, ordered_messages
from app.preferences.pair_stream import Pair, PairStream, Sides
from app.preferences.pairs import pair_weight
from app.preferences.stored_rankings import StoredRanking
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
    """The lines of each ranking in a schema that says nothing but the texts."""
    encoded = _Encoded()
    for ranking, pairs in rankings:
        before, between, after = frame_of(ranking)
        known = encoded.of(ranking)
        lines: list[bytes] = []
        for chosen, rejected, _, _ in pairs:
            lines += before, known[chosen.id][0], between, known[rejected.id][0], after
        yield b"".join(lines)


def hh_lines(rankings: Rankings) -> Iterator[bytes]:
    """`chosen` and `rejected` as whole transcripts."""
    encoded = _Encoded()
    for ranking, pairs in rankings:
        # Two JSON texts, one after the other: without the quotes where they meet.
        opening = encode(transcript(ranking.prompt.messages))[:-1] + ASSISTANT
        before, between = b'{"chosen":' + opening, b',"rejected":' + opening
        known = encoded.of(ranking)
        lines: list[bytes] = []
        for chosen, rejected, _, _ in pairs:
            lines += before, known[chosen.id][0][1:], between, known[rejected.id][0][1:], b"}\n"
        yield b"".join(lines)


def plain_lines(rankings: Rankings) -> Iterator[bytes]:
    """Everything Podium knows of each pair, in the order of `PLAIN_COLUMNS`."""
    encoded = _Encoded(with_model=True)
    for ranking, pairs in rankings:
        before, between, after = _plain_frame(ranking)
        known = encoded.of(ranking)
        lines: list[bytes] = []
        for chosen, rejected, chosen_rank, rejected_rank in pairs:
            text, chosen_id, _, chosen_model, _ = known[chosen.id]
            other_text, _, rejected_id, _, rejected_model = known[rejected.id]
            lines += before, text, b',"rejected":', other_text, between, chosen_id, rejected_id
            lines += _ranks(chosen_rank, rejected_rank), chosen_model, rejected_model, after
        yield b"".join(lines)


@lru_cache(100)
def _ranks(chosen: int, rejected: int) -> bytes:
    return b',"chosen_rank":%d,"rejected_rank":%d' % (chosen, rejected)


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


class _Encoded:
    """Completions as JSON; those met last are remembered, for rankings of one task follow each
    other."""

    def __init__(self, *, with_model: bool = False) -> None:
        self._with_model = with_model
        self._known: dict[str, list[bytes]] = {}
        self._size = 0

    def of(self, ranking: StoredRanking) -> dict[str, list[bytes]]:
        """By id the text and, where asked for, the id and the model, each as that of the chosen and
        of the rejected; those of the ranking and others."""
        known = self._known
        if self._size > REMEMBERED_BYTES:
            known.clear()
            self._size = 0
        for completion in ranking.completions:
            if completion.id not in known:
                # What orjson gives keeps the 4 KB that it was written in; a copy does not.
                pieces = [bytes(memoryview(encode(completion.text)))]
                if self._with_model:
                    own_id, model = encode(completion.id), encode(completion.model)
                    pieces += b',"chosen_id":' + own_id, b',"rejected_id":' + own_id
                    pieces += b',"chosen_model":' + model, b',"rejected_model":' + model
                known[completion.id] = pieces
                self._size += ENTRY_BYTES + len(pieces[0])
        return known


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
        rankings = ((ranking, _with_text(ranking, found)) for ranking, found in rankings)
    chunk: list[bytes] = []
    size = 0
    for lines in LINES[schema](_in_parts(rankings)):
        chunk.append(lines)
        size += len(lines)
        if size >= CHUNK_BYTES:
            yield b"".join(chunk)
            chunk, size = [], 0
    if chunk:
        yield b"".join(chunk)


def _with_text(ranking: StoredRanking, pairs: list[Sides]) -> list[Sides]:
    if not any(is_empty(completion.text) for completion in ranking.completions):
        return pairs
    return [sides for sides in pairs if not (is_empty(sides[0].text) or is_empty(sides[1].text))]


def _in_parts(rankings: Rankings) -> Rankings:
    """The pairs of rankings of long texts one by one: the lines of a part are put together at
    once, and each says its prompt and two of the texts."""
    for ranking, pairs in rankings:
        size = sum(len(message["content"]) for message in ranking.prompt.messages)
        size += sum(len(completion.text) for completion in ranking.completions)
        if size * len(pairs) < CHUNK_BYTES:
            yield ranking, pairs
        else:
            yield from ((ranking, [sides]) for sides in pairs)


def _by_ranking(pairs: Iterator[Pair]) -> Rankings:
    """Pairs that somebody looked at one by one, as rankings again."""
    for _, of_ranking in groupby(pairs, key=lambda pair: pair.ranking.id):
        found = list(of_ranking)
        yield found[0].ranking, [pair[1:5] for pair in found]
