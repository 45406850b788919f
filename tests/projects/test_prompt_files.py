"""How files of each layout are read into prompts."""

import io
import json

import pyarrow
import pytest
from pyarrow import parquet

from app.db import Database
from app.errors import Invalid, TooLarge
from app.projects.prompts import import_prompts
from app.projects.reading import ImportFormat, RejectedLine
from tests.conftest import SHARED
from tests.projects.prompt_files import load, stored, texts

PROMPTS = SHARED / "data" / "prompts"


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


def test_an_empty_cell_is_called_empty(sqlite_database: Database, sqlite_project_id: str) -> None:
    report = load(sqlite_database, sqlite_project_id, b"text,lang\nWhy?,en\n,de\n", "csv")
    assert (report.created, report.rejected) == (1, [RejectedLine(3, "text is empty")])
