"""Imports of prompts, large and broken off, and how prompts are found again."""

import io
import json
import os
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from app.db import Database
from app.errors import Invalid
from app.models import Project, Prompt
from app.projects.messages import messages_hash
from app.projects.prompts import add_prompt, count_prompts, import_prompts, list_prompts
from app.projects.reading import ImportFormat, ImportReport, RejectedLine
from tests.projects.prompt_files import load, texts


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
