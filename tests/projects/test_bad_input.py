"""What is wrong with a file is a clear line of the report, and the rest is kept."""

import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.db import Database
from app.errors import Invalid
from app.models import Project
from app.projects.prompts import import_prompts, list_prompts
from app.projects.reading import (
    MAX_REASON_LENGTH,
    ImportFormat,
    ImportReport,
    RejectedLine,
    SourceRow,
    contains_nul,
)
from app.projects.rows import iter_rows
from app.projects.tables import MAX_RECORD_LINES, csv_rows

MEGABYTE = 1_000_000


def read(
    content: bytes | Iterator[bytes], layout: ImportFormat, max_line_bytes: int = 10_000_000
) -> tuple[list[dict[str, object]], list[RejectedLine]]:
    rows = list(
        iter_rows(
            [content] if isinstance(content, bytes) else content,
            layout,
            max_line_bytes=max_line_bytes,
            check_columns=lambda columns: None,
            list_key="prompts",
        )
    )
    good = [row.values for row in rows if isinstance(row, SourceRow)]
    return good, [row for row in rows if isinstance(row, RejectedLine)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"prompt": "cut of', "broken JSON: unexpected end of data"),
        (b'{"prompt": "caf\xe9"}', "not UTF-8: byte 0xe9 at position 16"),
        (b'{"prompt": "a\x00b"}', "a NUL byte at position 14"),
        (b'{"prompt": "half \\ud83d of one"}', "broken JSON"),
        (b'{"prompt": NaN}', "broken JSON"),
        (b'["prompt"]', "not a JSON object but a list"),
        (b'{"a": ' + b"[" * 80 + b"]" * 80 + b"}", "more than 64 deep"),
        (b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}", "broken JSON"),
        (b"\xff\xfe{\x00", "not UTF-8: byte 0xff at position 1"),
        (b'{"prompt": "' + b"x" * 3000 + b'"}', "longer than 2,000 bytes"),
    ],
)
def test_a_bad_line_of_jsonl_is_named_and_the_others_read(line: bytes, reason: str) -> None:
    limit = 2000 if b"xxx" in line else 20_000
    good, bad = read(b'{"a": 1}\n' + line + b'\n{"a": 2}\n', ImportFormat.JSONL, limit)
    assert good == [{"a": 1}, {"a": 2}]
    assert [item.line for item in bad] == [2]
    assert reason in bad[0].reason


def test_a_file_that_ends_within_its_last_line_says_so() -> None:
    good, bad = read(b'{"a": 1}\n{"a": "the en', ImportFormat.JSONL)
    assert good == [{"a": 1}]
    assert bad[0].line == 2
    assert "as if it were cut off" in bad[0].reason
    good, bad = read(b'{"a": 1}\n{"a": 2}', ImportFormat.JSONL)
    assert (good, bad) == ([{"a": 1}, {"a": 2}], [])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("layout", [ImportFormat.JSONL, ImportFormat.CSV, ImportFormat.LINES])
def test_files_of_another_encoding_are_refused_with_a_hint(
    encoding: str, layout: ImportFormat
) -> None:
    with pytest.raises(Invalid, match="save it as UTF-8"):
        read('{"prompt": "Why?"}\n'.encode(encoding), layout)


def test_ragged_and_wrongly_encoded_csv_rows_are_named() -> None:
    content = (
        b"prompt,tag\n"
        b"one,1\n"
        b"short\n"
        b"long,2,3\n"
        b'"two\nlines, and ""quotes""",4\n'
        b"caf\xe9,5\n"
        b"six,6\n"
        b"\n"
        b'a "loose" quote,7\n'
        b'"broken" here,8\n'
        b"nine,9"
    )
    good, bad = read(content, ImportFormat.CSV)
    assert [row["prompt"] for row in good] == [
        "one",
        'two\nlines, and "quotes"',
        "six",
        'a "loose" quote',
        "nine",
    ]
    assert [item.line for item in bad] == [3, 4, 7, 11]
    assert "1 columns where the header has 2" in bad[0].reason
    assert "3 columns where the header has 2" in bad[1].reason
    assert "not UTF-8: byte 0xe9" in bad[2].reason
    assert "broken CSV" in bad[3].reason


def test_a_header_that_cannot_be_read_refuses_the_file() -> None:
    """The first row must not be taken for it."""
    with pytest.raises(Invalid, match="header cannot be read: line 1: not UTF-8"):
        read(b"prompt,caf\xe9\nwhy,1\n", ImportFormat.CSV)


@pytest.mark.parametrize(
    "broken",
    [
        b'"never closed,1\n',
        b'"closed and then" more,1\n"x" y,2\n',
        b'a"b,"c\n',
        b'"stops at a line that is not text\ncaf\xe9"\n',
    ],
)
def test_a_quote_that_never_closes_costs_its_own_line(broken: bytes) -> None:
    content = b"prompt,tag\nfirst,1\n" + broken + b"second,2\nthird,3\n" * 2
    good, bad = read(content, ImportFormat.CSV)
    prompts = [row["prompt"] for row in good]
    assert prompts == ["first", *["second", "third"] * 2]
    assert bad


def test_a_line_ahead_of_which_reading_stopped_may_begin_a_record_of_its_own() -> None:
    content = b'prompt,tag\n"open\nx" y,"really\nlong",2\n"fine\ntoo",3\n'
    good, bad = read(content, ImportFormat.CSV)
    assert good == [{"prompt": "fine\ntoo", "tag": "3"}]
    assert [item.line for item in bad] == [2, 3]
    assert "3 columns" in bad[1].reason


@given(
    st.lists(
        st.lists(st.text('ab",;\n é', max_size=6), min_size=2, max_size=2),
        max_size=8,
    )
)
def test_every_table_that_the_csv_module_writes_is_read_as_it_was(rows: list[list[str]]) -> None:
    import csv
    import io

    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows([["prompt", "tag"], *rows])
    good, bad = read(buffer.getvalue().encode(), ImportFormat.CSV)
    assert bad == []
    assert [[row["prompt"] or "", row["tag"] or ""] for row in good] == rows


@pytest.mark.parametrize("line", [b'a"b,"c\n', b'"a\n', b'a,"b\n', b'"\n', b'"a""b\n', b'"a"b\n'])
def test_a_file_of_nothing_but_open_quotes_is_read_in_one_go(line: bytes) -> None:
    """Each of 60,000 lines would otherwise be read to the end of the file."""
    content = b"prompt,tag\n" + line * 60_000
    began = time.process_time()
    rows = list(csv_rows([content], 10_000_000, lambda columns: None))
    assert time.process_time() - began < 5
    assert 0 < len(rows) <= 60_000


def test_a_record_of_endless_lines_is_given_up_with_flat_memory() -> None:
    content = (chunk for chunk in [b'prompt,tag\n"', *[b"\n" * 65536] * 4, b"x,1\n"])
    tracemalloc.start()
    good, bad = read(content, ImportFormat.CSV)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert bad[0] == RejectedLine(2, "a quote opens here and never closes")
    assert good == [{"prompt": "x", "tag": "1"}]
    assert peak < 300 * MAX_RECORD_LINES


def test_nul_characters_are_found_however_deep() -> None:
    deep: object = "\x00"
    for _ in range(5000):
        deep = [deep]
    assert contains_nul(deep)
    assert contains_nul({"a": [{"b\x00": 1}]})
    assert not contains_nul({"a": [{"b": [1, None, "c"]}]})


def test_a_reason_that_quotes_a_huge_value_is_cut() -> None:
    report = ImportReport()
    for number in range(2000):
        report.reject(RejectedLine(number, "x" * MEGABYTE if number < 9 else "short"))
    assert report.rejected_total == 2000
    assert len(report.rejected) == 1000
    assert {len(item.reason) for item in report.rejected} == {MAX_REASON_LENGTH + 1, 5}


def test_prompts_of_five_megabytes_import(sqlite_database: Database) -> None:
    project_id = new_project(sqlite_database)
    lines = [
        orjson.dumps({"prompt": "y" * (5 * MEGABYTE) + str(number)}) + b"\n" for number in range(3)
    ]
    lines.insert(1, orjson.dumps({"prompt": "z" * (11 * MEGABYTE)}) + b"\n")
    report = import_prompts(sqlite_database, project_id, lines, ImportFormat.JSONL)
    assert (report.created, report.rejected_total) == (3, 1)
    assert report.rejected[0] == RejectedLine(2, "the line is longer than 10,000,000 bytes")


@pytest.mark.parametrize(
    ("layout", "content"),
    [
        (ImportFormat.JSONL, b'{"text": "one"}\n{"text": "a\\u0000b"}\n{"text": "two"}\n'),
        (ImportFormat.CSV, b"text\none\na\x00b\ntwo\n"),
        (ImportFormat.LINES, b"one\na\x00b\ntwo\n"),
    ],
)
def test_a_nul_character_is_named_and_the_others_kept(
    database: Database, layout: ImportFormat, content: bytes
) -> None:
    project_id = new_project(database)
    report = import_prompts(database, project_id, [content], layout)
    assert (report.created, report.rejected_total) == (2, 1)
    assert "NUL" in report.rejected[0].reason
    with database.read() as session:
        assert len(list_prompts(session, project_id)) == 2


def new_project(database: Database) -> str:
    with database.write() as session:
        project = Project(name="P")
        session.add(project)
        session.flush()
        return project.id


MEASURE = """
import resource, sys
from pathlib import Path
from app.projects.reading import ImportFormat
from app.projects.rows import iter_rows

def read(path, layout):
    with Path(path).open("rb") as source:
        count = sum(1 for _ in iter_rows(source, ImportFormat(layout), max_line_bytes=10_000_000,
            check_columns=lambda columns: None, list_key="prompts"))
    return count

small, big, layout = sys.argv[1:]
read(small, layout)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
count = read(big, layout)
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jsonl", "jsonl.gz", "jsonl.zst", "csv", "parquet", "txt"])
def test_memory_stays_flat_whatever_the_size_of_the_file(tmp_path: Path, name: str) -> None:
    """In a process of its own: 200 MB of rows take less than 60 MB more than a few do."""
    paths = [tmp_path / f"{size}.{name}" for size in ("small", "big")]
    for path, rows in zip(paths, (100, 200_000), strict=True):
        write_rows(path, rows)
    layout = {"txt": "lines"}.get(name.split(".")[0], name.split(".")[0])
    measured = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, paths), layout],
        check=True,
        capture_output=True,
        text=True,
    )
    count, growth = map(int, measured.stdout.split())
    assert count == 200_000
    assert growth < 60_000, f"{growth} kB"


def test_a_parquet_file_that_repeats_one_huge_text_is_given_up(tmp_path: Path) -> None:
    """It is stored once, in a dictionary: a file of a few kilobytes holds gigabytes of rows."""
    import pyarrow
    from pyarrow import parquet

    places = pyarrow.array([0] * 20_000, pyarrow.int32())
    texts = pyarrow.DictionaryArray.from_arrays(places, pyarrow.array(["x" * (5 * MEGABYTE)]))
    path = tmp_path / "bomb.parquet"
    with parquet.ParquetWriter(
        path, pyarrow.schema([("text", texts.type)]), dictionary_pagesize_limit=10 * MEGABYTE
    ) as writer:
        writer.write_table(pyarrow.table({"text": texts}))
    with path.open("rb") as source:
        rows = iter_rows(
            source,
            ImportFormat.PARQUET,
            max_line_bytes=10_000_000,
            check_columns=lambda columns: None,
            list_key="prompts",
        )
        *good, last = (row if isinstance(row, RejectedLine) else row.line for row in rows)
    assert len(good) < 200
    assert isinstance(last, RejectedLine)
    assert "times its size" in last.reason


def write_rows(path: Path, rows: int) -> None:
    import gzip

    import pyarrow
    import zstandard
    from pyarrow import parquet

    def texts(numbers: range) -> list[str]:
        return [
            f"Question {number}: " + f"{number * 7919 % 1000003} why? " * 66 for number in numbers
        ]

    pack = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}.get(
        path.suffix, bytes
    )
    if path.suffix == ".parquet":
        with parquet.ParquetWriter(path, pyarrow.schema([("text", pyarrow.string())])) as writer:
            for start in range(0, rows, 50_000):
                part = texts(range(start, min(rows, start + 50_000)))
                writer.write_table(pyarrow.table({"text": part}))
        return
    with path.open("wb") as target:
        if path.suffix == ".csv":
            target.write(b"text\n")
        for start in range(0, rows, 1000):
            portion = texts(range(start, min(rows, start + 1000)))
            if ".jsonl" in path.name:
                lines = [orjson.dumps({"text": text}) for text in portion]
            else:
                lines = [text.encode() for text in portion]
            target.write(pack(b"\n".join([*lines, b""])))
