"""Which column means what: guessed as the rows tell, and overruled by a mapping."""

import io
from typing import Any

import pytest

from app.projects.prompt_mapping import (
    PromptMapping,
    PromptReading,
    guess_mapping,
    parse_prompt,
)
from app.projects.prompts import preview_prompts
from app.projects.reading import ImportFormat, RowError


@pytest.mark.parametrize(
    ("row", "mapping"),
    [
        (
            {"text": "a", "messages": [], "id": 3, "external_id": None},
            PromptMapping(column="messages", reading=PromptReading.MESSAGES, external_id="id"),
        ),
        (
            {"instruction": "a", "input": "b", "instances": [], "tags": ["x"]},
            PromptMapping(
                column="instruction",
                reading=PromptReading.INSTRUCTION,
                input="input",
                tags="tags",
            ),
        ),
        (
            {"instruction": "a", "instances": [{"input": "b"}], "tags": {"x": 1}},
            PromptMapping(
                column="instruction", reading=PromptReading.INSTRUCTION, input="instances"
            ),
        ),
        (
            {"turns": ["a"], "input": "b", "id": 1.5},
            PromptMapping(column="turns", reading=PromptReading.TURNS),
        ),
        ({"question": "a"}, None),
        ({"text": None}, None),
    ],
)
def test_mapping_is_told_by_the_columns_in_their_order(
    row: dict[str, Any], mapping: PromptMapping | None
) -> None:
    assert guess_mapping(row) == mapping


def test_mapping_says_what_every_column_is() -> None:
    mapping = PromptMapping(
        column="frage",
        reading=PromptReading.INSTRUCTION,
        input="beispiele",
        external_id="nr",
        tags="art",
        dropped=("notiz", "beispiele"),
    )
    row = {
        "frage": "Was?",
        "beispiele": '[{"input": " das "}]',
        "nr": 7,
        "art": " a, b,,a ",
        "notiz": "x",
        "text": "kept",
        "metadata": '{"level": 2}',
    }
    prompt = parse_prompt(row, mapping)
    assert prompt.messages == [{"role": "user", "content": "Was?\n\ndas"}]
    assert (prompt.external_id, prompt.tags) == ("7", ["a", "b"])
    assert prompt.details == {"text": "kept", "level": 2}


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        (["x", " y ", "x", ""], ["x", "y"]),
        ("x, y", ["x", "y"]),
        ('["x, y", 3]', ["x, y", "3"]),
        ("[x", ["[x"]),
        ("", []),
        (None, []),
    ],
)
def test_tags_are_a_list_or_a_text_with_commas(value: Any, tags: list[str]) -> None:
    assert parse_prompt({"text": "a", "tags": value}).tags == tags


@pytest.mark.parametrize(
    ("row", "mapping", "reason"),
    [
        ({"b": "x"}, PromptMapping(column="a"), "a is missing"),
        ({"a": None}, PromptMapping(column="a"), "a is empty"),
        ({"a": "x", "t": [["y"]]}, PromptMapping(column="a", tags="t"), "t must be a list"),
        ({"a": "x", "t": ["y" * 101]}, PromptMapping(column="a", tags="t"), "100 characters"),
        ({"a": "x", "t": list(map(str, range(51)))}, PromptMapping(column="a", tags="t"), "51"),
        ({"a": "x", "t": ["\x00"]}, PromptMapping(column="a", tags="t"), "NUL"),
        ({"a": "x", "i": 1.5}, PromptMapping(column="a", external_id="i"), "i must be"),
        ({"a": "x", "i": "\x00"}, PromptMapping(column="a", external_id="i"), "NUL"),
        (
            {"a": "x", "i": "\x00"},
            PromptMapping(column="a", reading=PromptReading.INSTRUCTION, input="i"),
            "i holds a NUL",
        ),
        (
            {"a": "x"},
            PromptMapping(column="a", reading=PromptReading.MESSAGES),
            "a must be a list of messages",
        ),
    ],
)
def test_row_that_does_not_fit_the_mapping_is_named(
    row: dict[str, Any], mapping: PromptMapping, reason: str
) -> None:
    with pytest.raises(RowError, match=reason):
        parse_prompt(row, mapping)


def test_left_out_column_may_hold_what_could_not_be_stored() -> None:
    mapping = PromptMapping(column="a", dropped=("b",))
    assert parse_prompt({"a": "x", "b": "\x00"}, mapping).details == {}


def test_preview_reads_no_more_than_the_first_rows() -> None:
    def line(number: int) -> bytes:
        return b'{"text": "prompt %d", "n": %d}\n' % (number % 90, number)

    source = io.BytesIO(b"".join(map(line, range(5000))))
    preview = preview_prompts(source, ImportFormat.JSONL)
    assert (len(preview.rows), preview.is_all) == (100, False)
    assert preview.columns == ["text", "n"]
    assert [row.same_as for row in preview.prompts[89:92]] == [None, 1, 2]
    assert source.tell() < 200_000


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_preview_shows_the_columns_of_a_table_of_unknown_ones(delimiter: str) -> None:
    content = f"frage{delimiter}art\nWas?{delimiter}kurz\n".encode()
    preview = preview_prompts(io.BytesIO(content), ImportFormat.CSV)
    assert (preview.columns, preview.mapping, preview.prompts) == (["frage", "art"], None, [])
    chosen = preview_prompts(io.BytesIO(content), ImportFormat.CSV, PromptMapping(column="frage"))
    assert chosen.prompts[0].prompt.details == {"art": "kurz"}
    alone = preview_prompts(io.BytesIO(b"frage\nWas?\n"), ImportFormat.CSV)
    assert alone.columns == ["frage"]
