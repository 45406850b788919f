"""Compressed uploads, expanded as they stream, with a bound against those made to fill a disk.

What a file is shows in its first bytes, so that neither its name nor a header needs to say it.
"""

import zlib
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
SUFFIXES = (".gz", ".zst")
"""Of file names, behind the ending that tells the format: `prompts.jsonl.gz`."""

PIECE_BYTES = 256
"""Fed to zstd at a time: it gives back all it can, of a bomb as much as 8 MB for this."""
EXPANDED_BYTES = 1 << 16
FREE_BYTES = 100_000_000
"""Expanded size up to which the ratio is not looked at."""
MAX_RATIO = 200
"""Beyond this a file is taken for a bomb; text shrinks to a third or a tenth, tables of the same
lines over and over to a hundredth."""


class SourceDamaged(Exception):
    """What follows in this upload cannot be read; the message says why, as a report gives it."""


def compression(head: bytes) -> str | None:
    """How a file that begins like this is compressed, None where it is not."""
    if head.startswith(GZIP):
        return "gzip"
    return "zstd" if head.startswith(ZSTD) else None


def is_bomb(given_bytes: int, taken_bytes: int) -> bool:
    """Whether a file that gave so much for so much of it is to be read no further."""
    return given_bytes > FREE_BYTES and given_bytes > MAX_RATIO * taken_bytes


def expand(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The chunks, expanded where they are compressed; a few megabytes are in memory at a time.

    Raises:
        SourceDamaged: the rest is cut off, damaged, or expands to more than `MAX_RATIO` times its
            size; what came before has been given.
    """
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= len(ZSTD):
            break
    chunks = chain([head], chunks)
    kind = compression(head)
    if kind is None:
        yield from chunks
        return
    expand_piece, is_complete = _gzip() if kind == "gzip" else _zstd()
    taken, given = 0, 0
    for chunk in chunks:
        for start in range(0, len(chunk), PIECE_BYTES):
            piece = chunk[start : start + PIECE_BYTES]
            taken += len(piece)
            for expanded in expand_piece(piece):
                given += len(expanded)
                if is_bomb(given, taken):
                    raise SourceDamaged(
                        f"the {kind} file expands to more than {MAX_RATIO} times its size: "
                        "it was not read on"
                    )
                yield expanded
    if not is_complete():
        raise SourceDamaged(f"the {kind} file ends too early: it was cut off")


_Expander = tuple[Callable[[bytes], Iterator[bytes]], Callable[[], bool]]


def _gzip() -> _Expander:
    """For pieces of a gzip file, which may be several one behind the other."""
    decoder: Any = zlib.decompressobj(wbits=31)

    def expand_piece(piece: bytes) -> Iterator[bytes]:
        nonlocal decoder
        while piece:
            if decoder.eof:
                piece = piece.lstrip(b"\x00")  # Tapes and some archives are padded with zeros.
                if not piece:
                    return
                decoder = zlib.decompressobj(wbits=31)
            try:
                expanded = decoder.decompress(piece, EXPANDED_BYTES)
            except zlib.error as error:
                raise SourceDamaged(f"the gzip file is damaged: {error}") from error
            if expanded:
                yield expanded
            piece = decoder.unused_data if decoder.eof else decoder.unconsumed_tail

    return expand_piece, lambda: decoder.eof


def _zstd() -> _Expander:
    """For pieces of a zstd file, which may be several frames one behind the other."""
    import zstandard

    frames = zstandard.ZstdDecompressor()
    decoder: Any = frames.decompressobj()

    def expand_piece(piece: bytes) -> Iterator[bytes]:
        nonlocal decoder
        while piece:
            if decoder.eof:
                decoder = frames.decompressobj()
            try:
                expanded = decoder.decompress(piece)
            except zstandard.ZstdError as error:
                raise SourceDamaged(f"the zstd file is damaged: {error}") from error
            if expanded:
                yield expanded
            piece = decoder.unused_data if decoder.eof else b""

    return expand_piece, lambda: decoder.eof
