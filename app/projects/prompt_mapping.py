"""Which column of an upload means what, and the prompt that a row of it holds.

Without a mapping every row is recognised by its own columns, in this order: `messages` (chat),
`text`, `prompt` (text or messages), `instruction` (with `input`, or the `input` of the first of
`instances`), `turns` (the first turn). `external_id` or else `id` becomes the external id and
`tags` the tags; every other column is kept as metadata.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any

import orjson

from app.errors import Invalid
from app.projects.messages import (
    Message,
    check_messages,
    check_prompt,
    check_text,
    messages_hash,
    plain_messages,
)
from app.projects.reading import RowError, SourceCheck, contains_nul

MAX_EXTERNAL_ID_LENGTH = 300
MAX_TAG_LENGTH = 100
MAX_TAGS = 50


class PromptReading(StrEnum):
    """How the column with the prompt is read."""

    TEXT = "text"
    MESSAGES = "messages"
    PROMPT = "prompt"
    """A text, or messages."""
    INSTRUCTION = "instruction"
    """A text, followed by what another column says to it."""
    TURNS = "turns"
    """A list of texts, of which the first is the prompt."""


PROMPT_COLUMNS = {
    "messages": PromptReading.MESSAGES,
    "text": PromptReading.TEXT,
    "prompt": PromptReading.PROMPT,
    "instruction": PromptReading.INSTRUCTION,
    "turns": PromptReading.TURNS,
}
"""The columns that are recognised, in this order, and how each is read."""
ID_COLUMNS = ("external_id", "id")


@dataclass(frozen=True, kw_only=True)
class PromptMapping:
    """What the columns of an upload are: the columns named nowhere here are kept as metadata."""

    column: str
    """Where the prompt is."""
    reading: PromptReading = PromptReading.PROMPT
    input: str | None = None
    """What an instruction speaks about: a text, or a list whose first object has an `input`."""
    external_id: str | None = None
    tags: str | None = None
    """A list of texts, or a text with commas between them."""
    dropped: tuple[str, ...] = ()
    """Columns that are not kept."""


@dataclass(frozen=True)
class ParsedPrompt:
    """A row understood: what will be stored."""

    messages: list[Message]
    is_chat: bool
    external_id: str | None
    details: dict[str, Any]
    tags: list[str] = field(default_factory=list)

    @property
    def content_hash(self) -> str:
        """What makes it the same prompt as another."""
        return messages_hash(self.messages)


def guess_mapping(values: Mapping[str, Any]) -> PromptMapping | None:
    """The mapping that these columns and what stands in them tell; None without a known one."""
    given = {name: value for name, value in values.items() if value is not None}
    column = next((name for name in PROMPT_COLUMNS if name in given), None)
    if column is None:
        return None
    reading = PROMPT_COLUMNS[column]
    asks = reading == PromptReading.INSTRUCTION
    inputs = [
        name
        for name, kind in (("input", str), ("instances", list))
        if isinstance(given.get(name), kind)
    ]
    return PromptMapping(
        column=column,
        reading=reading,
        input=inputs[0] if asks and inputs else None,
        external_id=next((name for name in ID_COLUMNS if _is_id(given.get(name))), None),
        tags="tags" if _are_tags(given.get("tags")) else None,
    )


def _is_id(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _are_tags(value: object) -> bool:
    value = _json_value(value)
    return isinstance(value, str) or (isinstance(value, list) and all(map(_is_id, value)))


def parse_prompt(values: dict[str, Any], mapping: PromptMapping | None = None) -> ParsedPrompt:
    """Understand one row; RowError says why it cannot be taken."""
    rest = {key: value for key, value in values.items() if value is not None}
    chosen = mapping or guess_mapping(rest)
    if chosen is None:
        empty = [name for name in PROMPT_COLUMNS if name in values]
        raise RowError(
            f"{empty[0]} is empty"
            if empty
            else f"no prompt: found {', '.join(sorted(rest)) or 'nothing'}; "
            f"accepted: {', '.join(PROMPT_COLUMNS)}"
        )
    if chosen.column not in rest:
        raise RowError(f"{chosen.column} is {'empty' if chosen.column in values else 'missing'}")
    messages, is_chat = _take_messages(rest, chosen)
    external_id = _take_external_id(rest, chosen.external_id)
    tags = _take_tags(rest, chosen.tags)
    for name in chosen.dropped:
        rest.pop(name, None)
    if contains_nul(rest):
        raise RowError("a NUL character")
    metadata = _json_value(rest.pop("metadata", {}))
    if not isinstance(metadata, dict):
        raise RowError("metadata must be an object")
    return ParsedPrompt(messages, is_chat, external_id, {**rest, **metadata}, tags)


def _take_messages(rest: dict[str, Any], mapping: PromptMapping) -> tuple[list[Message], bool]:
    name = mapping.column
    value = rest.pop(name)
    match mapping.reading:
        case PromptReading.MESSAGES:
            return check_messages(_json_value(value), name), True
        case PromptReading.TURNS:
            turns = _json_value(value)
            if not isinstance(turns, list) or not turns:
                raise RowError(f"{name} must be a list of texts")
            if len(turns) > 1:
                rest[name] = turns
            return plain_messages(check_text(turns[0], f"the first of {name}")), False
        case PromptReading.INSTRUCTION:
            instruction = check_text(value, name)
            given = _take_input(rest, mapping.input)
            return plain_messages(f"{instruction}\n\n{given}" if given else instruction), False
        case PromptReading.PROMPT:
            return check_prompt(value, name)
        case PromptReading.TEXT:
            return plain_messages(check_text(value, name)), False


def _take_input(rest: dict[str, Any], name: str | None) -> str:
    """What the instruction speaks about: without it the prompt would ask about nothing.

    A list of examples stays in the metadata: it holds their outputs too.
    """
    given = rest.get(name or "")
    if isinstance(given, str) and name:
        del rest[name]
    decoded = _json_value(given)
    if isinstance(decoded, list) and decoded and isinstance(decoded[0], dict):
        given = decoded[0].get("input")
    text = given.strip() if isinstance(given, str) else ""
    if contains_nul(text):
        raise RowError(f"{name} holds a NUL character")
    return text


def _take_external_id(rest: dict[str, Any], name: str | None) -> str | None:
    if name is None or name not in rest:
        return None
    value = rest.pop(name)
    if not _is_id(value):
        raise RowError(f"{name} must be a text or a whole number")
    text = str(value)
    if len(text) > MAX_EXTERNAL_ID_LENGTH:
        raise RowError(f"{name} is longer than {MAX_EXTERNAL_ID_LENGTH} characters")
    if contains_nul(text):
        raise RowError(f"{name} holds a NUL character")
    return text or None


def _take_tags(rest: dict[str, Any], name: str | None) -> list[str]:
    """Each tag once, in the order given."""
    if name is None or name not in rest:
        return []
    value = _json_value(rest.pop(name))
    listed = value.split(",") if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(map(_is_id, listed)):
        raise RowError(f"{name} must be a list of texts, or texts with commas between them")
    tags = list(dict.fromkeys(tag for item in listed if (tag := str(item).strip())))
    if contains_nul(tags):
        raise RowError(f"{name} holds a NUL character")
    if len(tags) > MAX_TAGS:
        raise RowError(f"{name} has {len(tags)} tags; the most is {MAX_TAGS}")
    if any(len(tag) > MAX_TAG_LENGTH for tag in tags):
        raise RowError(f"{name} has a tag of more than {MAX_TAG_LENGTH} characters")
    return tags


def _json_value(value: object) -> object:
    """A cell of a CSV file that holds JSON, as what it holds."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            decoded: object = orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
        return decoded
    return value


def column_check(mapping: PromptMapping | None) -> SourceCheck:
    """What refuses a table without the column of the mapping, or without any known one."""
    return partial(_check_columns, mapping)


def _check_columns(mapping: PromptMapping | None, columns: list[str]) -> None:
    accepted = [mapping.column] if mapping else list(PROMPT_COLUMNS)
    if not set(columns) & set(accepted):
        raise Invalid(
            f"No column holds the prompt. Found: {', '.join(columns) or 'none'}. "
            f"Accepted: {', '.join(accepted)}.",
            code="unknown_columns",
            fields={"columns": f"one of {', '.join(accepted)}"},
        )
