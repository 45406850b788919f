import io
import json
import os
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet
from sqlalchemy import select

from app.db import Database
from app.errors import Invalid, TooLarge
from app.models import Project, Prompt
from app.projects.messages import messages_hash
from app.projects.prompts import add_prompt, count_prompts, import_prompts, list_prompts
from app.projects.reading import ImportFormat, ImportReport, RejectedLine
from tests.conftest import SHARED

PROMPTS = SHARED / "data" / "prompts"


@pytest.fixture
def project_id(database: Database) -> str:
    return make_project(database)


@pytest.fixture
def sqlite_project_id(sqlite_database: Database) -> str:
    return make_project(sqlite_database)


def make_project(database: Database) -> str:
    with database.write() as session:
        project = Project(name="P")
        session.add(project)
        session.flush()
        return project.id


def load(
    database: Database, project_id: str, content: bytes | str, layout: str = "jsonl", **options: int
) -> ImportReport:
    body = content.encode() if isinstance(content, str) else content
    return import_prompts(database, project_id, io.BytesIO(body), ImportFormat(layout), **options)


def stored(database: Database, project_id: str) -> list[Prompt]:
    with database.read() as session:
        return list_prompts(session, project_id, limit=1000)


def texts(database: Database, project_id: str) -> list[str]:
    return [prompt.messages[-1]["content"] for prompt in stored(database, project_id)]


def test_good_lines_are_kept_in_order_and_bad_ones_named(
    database: Database, project_id: str
) -> None:
    lines = [
        b'\xef\xbb\xbf{"text": "one", "tag": "a", "metadata": {"level": 2}, "external_id": 7}',
        b'{"text": "tw',
        b"",
        b'{"text": "  "}',
        '{"text": "caf\xe9"}'.encode("latin-1"),
        b'{"text": "nul\\u0000"}',
        b'{"colour": "red", "size": 3}',
        b'["text"]',
        b'{"messages": [{"role": "robot", "content": "x"}]}',
        b'{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}',
        b'{"text": "one"}',
        b'{"messages": [{"role": "system", "content": "Be brief."}, '
        b'{"role": "user", "content": "two"}]}\r',
        b'{"text": "\\ud800"}',
        b'{"text": 5}',
        b'{"text": "three"}',
    ]
    report = load(database, project_id, b"\n".join(lines))
    assert (report.created, report.duplicates, report.rejected_total) == (3, 1, 10)
    reasons = dict(report.rejected)
    assert sorted(reasons) == [2, 4, 5, 6, 7, 8, 9, 10, 13, 14]
    assert "broken JSON" in reasons[2]
    assert reasons[4] == "text is empty"
    assert reasons[5] == "not UTF-8: byte 0xe9 at position 14"
    assert "NUL" in reasons[6]
    assert "found colour, size" in reasons[7]
    assert "instruction" in reasons[7]
    assert reasons[8] == "not a JSON object but a list"
    assert "'robot'; accepted: system, user, assistant" in reasons[9]
    assert "last message must be the user's" in reasons[10]
    assert "broken JSON" in reasons[13]
    assert reasons[14] == "text must be text"
    first, second, third = stored(database, project_id)
    assert first.messages == [{"role": "user", "content": "one"}]
    assert (first.external_id, first.details, first.is_chat) == (
        "7",
        {"tag": "a", "level": 2},
        False,
    )
    assert second.is_chat
    assert third.messages[0]["content"] == "three"


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("self_instruct_seed_tasks", 175),
        ("user_oriented_instructions", 252),
        ("vicuna_bench", 80),
    ],
)
def test_published_prompt_files_import_unedited(
    sqlite_database: Database, sqlite_project_id: str, name: str, count: int
) -> None:
    path = PROMPTS / f"{name}.jsonl"
    if not path.exists():
        pytest.skip(f"{path} is not on this machine")
    with path.open("rb") as file:
        report = import_prompts(sqlite_database, sqlite_project_id, file, ImportFormat.JSONL)
    assert report.rejected_total == 0
    assert (report.created, report.duplicates) == (count, 0)
    first = json.loads(path.read_text().splitlines()[0])
    asked = first["turns"][0] if "turns" in first else first["instruction"]
    assert texts(sqlite_database, sqlite_project_id)[0].startswith(asked)


def test_csv_keeps_quoted_line_ends_and_goes_on_after_an_unclosed_quote(
    database: Database, project_id: str
) -> None:
    content = (
        "id,text,topic\n"
        'a,"two\nlines, ""quoted""",x\n'
        "b,plain,\n"
        "c,too,many,cells\n"
        'd,"never closed,x\n'
        "e,after it,z\n"
        'f,"",z\n'
    )
    report = load(database, project_id, content, "csv")
    assert (report.created, report.duplicates) == (3, 0)
    assert [line for line, _ in report.rejected] == [5, 6, 8]
    assert dict(report.rejected)[5] == "4 columns where the header has 3"
    assert dict(report.rejected)[6] == "a quote opens here and never closes"
    first, second, third = stored(database, project_id)
    assert first.messages[0]["content"] == 'two\nlines, "quoted"'
    assert (first.external_id, first.details) == ("a", {"topic": "x"})
    assert second.details == {}
    assert third.messages[0]["content"] == "after it"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_delimiter_is_told_by_the_header(
    sqlite_database: Database, sqlite_project_id: str, delimiter: str
) -> None:
    chat = json.dumps([{"role": "user", "content": "hello"}]).replace('"', '""')
    content = f'n{delimiter}messages\r\n1{delimiter}"{chat}"\r\n'
    report = load(sqlite_database, sqlite_project_id, content, "csv")
    assert report.created == 1, report
    (prompt,) = stored(sqlite_database, sqlite_project_id)
    assert prompt.is_chat
    assert prompt.details == {"n": "1"}


def test_table_without_a_prompt_column_is_refused_with_what_was_found(
    sqlite_database: Database, sqlite_project_id: str
) -> None:
    table = io.BytesIO()
    parquet.write_table(pyarrow.table({"question": ["a"], "who": ["b"]}), table)
    for layout, content in (("csv", b"question,who\na,b\n"), ("parquet", table.getvalue())):
        with pytest.raises(
            Invalid, match=r"Found: question, who\. Accepted: messages, text"
        ) as bad:
            load(sqlite_database, sqlite_project_id, content, layout)
        assert bad.value.code == "unknown_columns"


def test_parquet_rows_import_with_nested_messages(database: Database, project_id: str) -> None:
    table = io.BytesIO()
    chat = [{"role": "user", "content": "deep"}]
    parquet.write_table(
        pyarrow.table({"messages": [chat, None, chat], "score": [0.5, 1.0, None]}), table
    )
    report = load(database, project_id, table.getvalue(), "parquet")
    assert (report.created, report.duplicates) == (1, 1)
    assert report.rejected[0].line == 2
    assert stored(database, project_id)[0].details == {"score": 0.5}


def test_truncated_parquet_is_refused(sqlite_database: Database, sqlite_project_id: str) -> None:
    table = io.BytesIO()
    parquet.write_table(pyarrow.table({"text": ["a"] * 100}), table)
    with pytest.raises(Invalid, match="not readable Parquet"):
        load(sqlite_database, sqlite_project_id, table.getvalue()[:-10], "parquet")


def test_pasted_text_is_a_prompt_a_line_or_a_paragraph(
    sqlite_database: Database, sqlite_project_id: str
) -> None:
    text = "one\r\ntwo\n\n\nthree \n"
    assert load(sqlite_database, sqlite_project_id, text, "lines").created == 3
    assert texts(sqlite_database, sqlite_project_id) == ["one", "two", "three"]
    report = load(sqlite_database, sqlite_project_id, text, "paragraphs")
    assert (report.created, report.duplicates) == (1, 1)
    assert texts(sqlite_database, sqlite_project_id)[-1] == "one\ntwo"


def test_json_list_imports_bare_or_under_prompts(
    sqlite_database: Database, sqlite_project_id: str
) -> None:
    rows = [{"text": "a"}, "b", {"text": ""}]
    report = load(sqlite_database, sqlite_project_id, json.dumps(rows), "json")
    assert (report.created, [line for line, _ in report.rejected]) == (1, [2, 3])
    again = load(sqlite_database, sqlite_project_id, json.dumps({"prompts": rows}), "json")
    assert (again.created, again.duplicates) == (0, 1)
    for broken in ('{"prompts": ', '{"prompts": 3}', '"x"'):
        with pytest.raises(Invalid):
            load(sqlite_database, sqlite_project_id, broken, "json")
    with pytest.raises(TooLarge):
        load(sqlite_database, sqlite_project_id, b" " * 33_000_000, "json")


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"PK\x03\x04", "ZIP"), ("text".encode("utf-16"), "UTF-16"), (b"PAR1abc", "Parquet")],
)
def test_files_that_are_not_text_are_refused_whole(
    sqlite_database: Database, sqlite_project_id: str, content: bytes, said: str
) -> None:
    with pytest.raises(Invalid, match=said):
        load(sqlite_database, sqlite_project_id, content)


def test_one_line_of_50_mb_is_named_and_never_held(
    sqlite_database: Database, sqlite_project_id: str
) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"text": "before"}\n{"text": "'
        for _ in range(800):
            yield b"x" * 65536
        yield b'"}\n{"text": "after"}'

    tracemalloc.start()
    report = import_prompts(sqlite_database, sqlite_project_id, chunks(), ImportFormat.JSONL)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.rejected == [RejectedLine(2, "the line is longer than 10,000,000 bytes")]
    assert texts(sqlite_database, sqlite_project_id) == ["before", "after"]
    assert peak < 25_000_000


@pytest.mark.slow
def test_100_000_rows_import_with_flat_memory(
    sqlite_database: Database, sqlite_project_id: str
) -> None:
    program = f"""
import resource
from app.db import Database
from app.projects.prompts import import_prompts
def chunks(count):
    for number in range(count):
        yield b'{{"text": "prompt number %d, %s"}}\\n' % (number, b"a" * 200)
def run(count):
    report = import_prompts(database, {sqlite_project_id!r}, chunks(count), "application/jsonl")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return report.created, report.duplicates, peak
database = Database({sqlite_database.url!r})
print(*run(2000), *run(100_000))
"""
    child = run_program(program)
    *counts, before, created, duplicates, after = map(int, child.stdout.split())
    assert counts == [2000, 0]
    assert (created, duplicates) == (98_000, 2000)
    assert after - before < 15_000, "kilobytes"


def run_program(program: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )


def test_killed_import_is_completed_by_running_it_again(
    sqlite_database: Database, sqlite_project_id: str, tmp_path: Path
) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"text": f"prompt {n}"}) + "\n" for n in range(5000)))
    # The child imports two thirds of the file and is then killed without a word.
    program = f"""
import os, signal
from app.db import Database
from app.projects.prompts import import_prompts
def chunks():
    for number, line in enumerate(open({str(path)!r}, "rb")):
        if number == 3500:
            os.kill(os.getpid(), signal.SIGKILL)
        yield line
database = Database({sqlite_database.url!r})
import_prompts(database, {sqlite_project_id!r}, chunks(), "application/jsonl")
"""
    child = run_program(program)
    assert child.returncode == -signal.SIGKILL
    with sqlite_database.read() as session:
        assert 0 < count_prompts(session, sqlite_project_id) < 5000
    with path.open("rb") as file:
        report = import_prompts(sqlite_database, sqlite_project_id, file, ImportFormat.JSONL)
    assert report.created + report.duplicates == 5000
    assert report.duplicates > 0
    with sqlite_database.read() as session:
        assert count_prompts(session, sqlite_project_id) == 5000


def test_only_the_first_thousand_bad_lines_are_listed_and_all_counted(
    sqlite_database: Database, sqlite_project_id: str
) -> None:
    report = load(sqlite_database, sqlite_project_id, "{}\n" * 1500)
    assert (len(report.rejected), report.rejected_total) == (1000, 1500)


def test_same_content_is_one_prompt_whatever_its_form(database: Database, project_id: str) -> None:
    with database.write() as session:
        project = session.get_one(Project, project_id)
        messages = [{"role": "user", "content": "hi"}]
        first = add_prompt(session, project, messages, external_id="x", metadata={"a": 1})
        assert first is not None
        assert first.content_hash == messages_hash([{"content": "hi", "role": "user"}])
        assert add_prompt(session, project, messages, is_chat=True) is None
        other = [{"role": "user", "content": "hi "}]
        assert add_prompt(session, project, other) is not None
        assert len(session.scalars(select(Prompt)).all()) == 2


def test_prompts_are_found_by_their_words_whatever_the_letter_case(
    database: Database, project_id: str
) -> None:
    load(
        database,
        project_id,
        "Why is the sky blue?\n100% sure?\nWas hei\xdft das?\nrole user",
        "lines",
    )
    with database.read() as session:
        for query, count in (("SKY", 1), ("%", 1), ("heißt", 1), ("role", 1), ("nothing", 0)):
            assert count_prompts(session, project_id, query=query) == count, query
        everything = list_prompts(session, project_id, limit=2)
        rest = list_prompts(session, project_id, after_id=everything[-1].id)
        assert [len(everything), len(rest)] == [2, 2]


def test_an_empty_cell_is_called_empty(sqlite_database: Database, sqlite_project_id: str) -> None:
    report = load(sqlite_database, sqlite_project_id, b"text,lang\nWhy?,en\n,de\n", "csv")
    assert (report.created, report.rejected) == (1, [RejectedLine(3, "text is empty")])


def test_prompts_are_filtered_by_words_tag_and_metadata_together(
    database: Database, project_id: str
) -> None:
    rows = [
        {"text": "Why is the sky blue?", "tags": ["short", "it's"], "topic": "sky", "n": 2},
        {"text": "Why is the sea blue?", "tags": "short", "topic": "sea", "hard": True},
        {"text": "Why?", "topic": "sky"},
    ]
    load(database, project_id, "\n".join(map(json.dumps, rows)))
    with database.read() as session:
        for filters, found in (
            ({"tag": "short"}, 2),
            ({"tag": "it's"}, 1),
            ({"tag": "shor"}, 0),
            ({"metadata": "topic=sky"}, 2),
            ({"metadata": "n=2"}, 1),
            ({"metadata": "hard=true"}, 1),
            ({"metadata": "nothing=x"}, 0),
            ({"tag": "short", "metadata": "topic=sky"}, 1),
            ({"query": "sea", "tag": "short", "metadata": "topic=sky"}, 0),
            ({"query": "blue", "tag": "short"}, 2),
        ):
            assert count_prompts(session, project_id, **filters) == found, filters
            assert len(list_prompts(session, project_id, **filters)) == found, filters
        with pytest.raises(Invalid):
            count_prompts(session, project_id, metadata="topic")


def test_import_tells_of_every_batch_and_ends_where_that_raises(
    sqlite_database: Database, sqlite_project_id: str
) -> None:
    class StopHere(Exception):
        pass

    seen: list[int] = []

    def after(report: ImportReport) -> None:
        seen.append(report.created)
        if report.created == 2000:
            raise StopHere

    content = "".join(f"prompt {n}\n" for n in range(5000)).encode()
    with pytest.raises(StopHere):
        import_prompts(
            sqlite_database,
            sqlite_project_id,
            io.BytesIO(content),
            ImportFormat.LINES,
            on_batch=after,
        )
    assert seen == [1000, 2000]
    with sqlite_database.read() as session:
        assert count_prompts(session, sqlite_project_id) == 2000


def test_file_of_bad_lines_tells_of_itself_too(
    sqlite_database: Database, sqlite_project_id: str
) -> None:
    seen: list[tuple[int, int]] = []
    import_prompts(
        sqlite_database,
        sqlite_project_id,
        io.BytesIO(b'{"text": "good"}\n' + b"{}\n" * 2500),
        ImportFormat.JSONL,
        on_batch=lambda report: seen.append((report.created, report.rejected_total)),
    )
    assert seen == [(1, 1000), (1, 2000)]
