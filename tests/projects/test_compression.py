import gzip
import io
import random
import tracemalloc
from collections.abc import Callable, Iterator

import pytest
import zstandard

from app.db import Database
from app.errors import Invalid
from app.models import Project, Prompt
from app.projects.compression import FREE_BYTES, MAX_RATIO, SourceDamaged, expand
from app.projects.prompts import import_prompts
from app.projects.reading import ImportFormat, content_type_format, file_name_format, iter_lines

TEXT = b"".join(b'{"prompt": "Question %d?"}\n' % number for number in range(40_000))
LINES = TEXT.splitlines()
COMPRESSED = {
    "gzip": gzip.compress(TEXT),
    "zstd": zstandard.ZstdCompressor().compress(TEXT),
    "several gzip members": gzip.compress(TEXT[:999]) + gzip.compress(TEXT[999:]) + bytes(512),
    "several zstd frames": b"".join(
        zstandard.ZstdCompressor().compress(part) for part in (TEXT[:999], TEXT[999:])
    ),
}


def in_chunks(content: bytes, size: int) -> Iterator[bytes]:
    return (content[start : start + size] for start in range(0, len(content), size))


@pytest.mark.parametrize("name", COMPRESSED)
@pytest.mark.parametrize("size", [1 << 16, 777, 3])
def test_compressed_files_expand_to_what_they_were(name: str, size: int) -> None:
    assert b"".join(expand(in_chunks(COMPRESSED[name], size))) == TEXT


def test_what_is_not_compressed_passes_as_it_is() -> None:
    for content in (b"", b"x", b"\x1f", TEXT):
        assert b"".join(expand(in_chunks(content, 1000))) == content


@pytest.mark.parametrize("name", COMPRESSED)
@pytest.mark.parametrize("share", [0.5, 0.9, 0.9999])
def test_lines_before_a_cut_are_kept_and_the_cut_is_named(name: str, share: float) -> None:
    content = COMPRESSED[name].rstrip(b"\x00")
    cut = content[: int(len(content) * share) or 1]
    *lines, last = iter_lines(in_chunks(cut, 5000), 1000)
    assert [line[1] for line in lines] == LINES[: len(lines)]
    assert len(lines) > 0.2 * len(LINES) * share
    assert last[0] == len(lines) + 1
    assert "ends too early" in str(last[1])
    assert "not imported" in str(last[1])


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_damage_in_the_middle_is_named(name: str) -> None:
    content = bytearray(COMPRESSED[name])
    middle = len(content) // 2
    content[middle : middle + 400] = random.Random(3).randbytes(400)
    *lines, last = iter_lines([bytes(content)], 1000)
    assert last[0] == len(lines) + 1
    assert "damaged" in str(last[1]) or "too early" in str(last[1])


def test_rubbish_behind_a_gzip_file_is_named() -> None:
    *lines, last = iter_lines([COMPRESSED["gzip"] + b"rubbish, and more of it"], 1000)
    assert len(lines) == len(LINES)
    assert "damaged" in str(last[1])


def gzip_bomb() -> bytes:
    """A quarter of a gigabyte in a quarter of a megabyte."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb") as target:
        for _ in range(250):
            target.write(b"x" * 1_000_000)
    return buffer.getvalue()


def zstd_bomb() -> bytes:
    """Thirty gigabytes in a megabyte."""
    return zstandard.ZstdCompressor().compress(bytes(1_000_000_000)) * 30


@pytest.mark.parametrize("bomb", [gzip_bomb, zstd_bomb])
def test_a_bomb_is_given_up_with_flat_memory(bomb: Callable[[], bytes]) -> None:
    content = bomb()
    given: list[int] = []
    tracemalloc.start()
    try:
        with pytest.raises(SourceDamaged, match=f"more than {MAX_RATIO} times"):
            given.extend(len(piece) for piece in expand(in_chunks(content, 1 << 16)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sum(given) <= FREE_BYTES + 10_000_000
    assert peak < 30_000_000


def test_lines_before_a_bomb_are_imported_and_the_bomb_is_in_the_report(
    sqlite_database: Database,
) -> None:
    with sqlite_database.write() as session:
        project = Project(name="P")
        session.add(project)
        session.flush()
    content = gzip.compress(b'{"prompt": "Why?"}\n{"prompt": "How?"}\n') + gzip_bomb()
    report = import_prompts(sqlite_database, project.id, [content], ImportFormat.JSONL)
    assert (report.created, report.rejected_total) == (2, 1)
    assert report.rejected[0].line == 3
    assert "expands to more than" in report.rejected[0].reason


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress])
@pytest.mark.parametrize("layout", ["jsonl", "json", "csv", "txt", "parquet"])
def test_prompts_come_from_every_format_compressed(
    sqlite_database: Database, layout: str, pack: Callable[[bytes], bytes]
) -> None:
    import pyarrow
    from pyarrow import parquet

    with sqlite_database.write() as session:
        project = Project(name="P")
        session.add(project)
        session.flush()
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.table({"prompt": ["Why?", "How?"]}), buffer)
    content = {
        "jsonl": b'{"prompt": "Why?"}\n{"prompt": "How?"}\n',
        "json": b'[{"prompt": "Why?"}, {"prompt": "How?"}]',
        "csv": b"prompt\nWhy?\nHow?\n",
        "txt": b"Why?\nHow?\n",
        "parquet": buffer.getvalue(),
    }[layout]
    packed = pack(content)
    format_ = file_name_format(f"Prompts.{layout}.{'gz' if packed[0] == 0x1F else 'zst'}")
    for source in ([packed], io.BytesIO(packed)):
        report = import_prompts(sqlite_database, project.id, source, format_)
        assert report.created + report.duplicates == 2, report
        assert report.rejected == []
    with sqlite_database.read() as session:
        assert session.query(Prompt).count() == 2


def test_compressed_twice_is_refused() -> None:
    with pytest.raises(Invalid, match="compressed twice"):
        list(iter_lines([gzip.compress(COMPRESSED["gzip"])], 1000))


def test_a_cut_json_body_is_refused_as_a_whole(sqlite_database: Database) -> None:
    cut = gzip.compress(b'[{"prompt": "Why?"}]')[:-9]
    with pytest.raises(Invalid, match="not complete"):
        import_prompts(sqlite_database, "none", [cut], ImportFormat.JSON)


def test_endings_of_compressed_files_tell_their_format() -> None:
    assert file_name_format("a.b.CSV.GZ") == ImportFormat.CSV
    assert file_name_format("a.jsonl.zst") == ImportFormat.JSONL
    assert content_type_format("application/gzip") == ImportFormat.JSONL
    for name in ("a.gz", "a.tar.gz", "a.zip", "gz"):
        with pytest.raises(Invalid, match=r"\.jsonl.*compressed"):
            file_name_format(name)
