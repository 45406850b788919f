"""Prompts: stored once by content, and imported from what people have.

A row is recognised by its columns, in this order: `messages` (chat), `text`, `prompt` (text or
messages), `instruction` (with `input`, or the `input` of the first of `instances`), `turns` (the
first turn). `external_id` or else `id` becomes the external id; every other column is kept as
metadata.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import orjson
from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.db import Database
from app.errors import Invalid
from app.models import Project, Prompt, new_ids, utc_now
from app.projects.messages import (
    Message,
    check_messages,
    check_prompt,
    check_text,
    messages_hash,
    plain_messages,
)
from app.projects.reading import (
    ImportFormat,
    ImportReport,
    RejectedLine,
    RowError,
    SourceRow,
    contains_nul,
    content_type_format,
)
from app.projects.rows import iter_rows

PROMPT_COLUMNS = ("messages", "text", "prompt", "instruction", "turns")
MAX_EXTERNAL_ID_LENGTH = 300
BATCH_ROWS = 1000
BATCH_BYTES = 8_000_000


@dataclass(frozen=True)
class ParsedPrompt:
    """A row understood: what will be stored."""

    messages: list[Message]
    is_chat: bool
    external_id: str | None
    details: dict[str, Any]

    @property
    def content_hash(self) -> str:
        """What makes it the same prompt as another."""
        return messages_hash(self.messages)


def parse_prompt(values: dict[str, Any]) -> ParsedPrompt:
    """Understand one row; RowError says why it cannot be taken."""
    rest = {key: value for key, value in values.items() if value is not None}
    empty = [name for name in PROMPT_COLUMNS if name in values]
    if empty and not any(name in rest for name in PROMPT_COLUMNS):
        raise RowError(f"{empty[0]} is empty")
    messages, is_chat = _take_messages(rest)
    if contains_nul(rest):
        raise RowError("a NUL character")
    external_id = _take_external_id(rest)
    metadata = _json_value(rest.pop("metadata", {}))
    if not isinstance(metadata, dict):
        raise RowError("metadata must be an object")
    return ParsedPrompt(messages, is_chat, external_id, {**rest, **metadata})


def _take_messages(rest: dict[str, Any]) -> tuple[list[Message], bool]:
    column = next((name for name in PROMPT_COLUMNS if name in rest), None)
    if column is None:
        raise RowError(
            f"no prompt: found {', '.join(sorted(rest)) or 'nothing'}; "
            f"accepted: {', '.join(PROMPT_COLUMNS)}"
        )
    value = rest.pop(column)
    if column == "messages":
        return check_messages(_json_value(value)), True
    if column == "turns":
        turns = _json_value(value)
        if not isinstance(turns, list) or not turns:
            raise RowError("turns must be a list of texts")
        if len(turns) > 1:
            rest["turns"] = turns
        return plain_messages(check_text(turns[0], "the first of turns")), False
    if column == "instruction":
        instruction = check_text(value, "instruction")
        given = _instruction_input(rest)
        return plain_messages(f"{instruction}\n\n{given}" if given else instruction), False
    if column == "prompt":
        return check_prompt(value)
    return plain_messages(check_text(value, column)), False


def _instruction_input(rest: dict[str, Any]) -> str:
    """What the instruction speaks about: without it the prompt would ask about nothing."""
    given = rest.get("input")
    instances = rest.get("instances")
    if isinstance(given, str):
        del rest["input"]
    elif isinstance(instances, list) and instances and isinstance(instances[0], dict):
        given = instances[0].get("input")
    text = given.strip() if isinstance(given, str) else ""
    return "" if "\x00" in text else text


def _take_external_id(rest: dict[str, Any]) -> str | None:
    for name in ("external_id", "id"):
        value = rest.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool):
            text = str(value)
            if len(text) > MAX_EXTERNAL_ID_LENGTH:
                raise RowError(f"{name} is longer than {MAX_EXTERNAL_ID_LENGTH} characters")
            del rest[name]
            return text or None
    return None


def _json_value(value: object) -> object:
    """A cell of a CSV file that holds JSON, as what it holds."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            decoded: object = orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
        return decoded
    return value


def check_prompt_columns(columns: list[str]) -> None:
    """Refuse a table without any column that could be the prompt."""
    if not set(columns) & set(PROMPT_COLUMNS):
        raise Invalid(
            f"No column holds the prompt. Found: {', '.join(columns) or 'none'}. "
            f"Accepted: {', '.join(PROMPT_COLUMNS)}.",
            code="unknown_columns",
            fields={"columns": f"one of {', '.join(PROMPT_COLUMNS)}"},
        )


def add_prompt(
    session: Session,
    project: Project,
    messages: list[Message],
    is_chat: bool = False,
    external_id: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> Prompt | None:
    """Store a checked prompt; None when the project has one of the same content."""
    parsed = ParsedPrompt(messages, is_chat, external_id, metadata or {})
    ids = store_prompts(session, project.id, [parsed])
    return session.get(Prompt, ids[0]) if ids else None


def find_prompt(session: Session, project_id: str, messages: list[Message]) -> Prompt | None:
    """The project's prompt of this content."""
    return session.scalar(
        select(Prompt).where(
            Prompt.project_id == project_id, Prompt.content_hash == messages_hash(messages)
        )
    )


def get_or_add_prompt(
    session: Session, project_id: str, messages: list[Message], is_chat: bool
) -> Prompt:
    """The project's prompt of this content, stored now if it was not there."""
    store_prompts(session, project_id, [ParsedPrompt(messages, is_chat, None, {})])
    prompt = find_prompt(session, project_id, messages)
    assert prompt is not None, "a prompt just stored is there"
    return prompt


def store_prompts(session: Session, project_id: str, prompts: list[ParsedPrompt]) -> list[str]:
    """Insert those whose content is new to the project, in order; gives the new ids.

    The unique constraint decides, so that two imports at once store a prompt once.
    """
    moment = utc_now()
    rows = {
        prompt.content_hash: {
            "id": prompt_id,
            "project_id": project_id,
            "messages": prompt.messages,
            "is_chat": prompt.is_chat,
            "content_hash": prompt.content_hash,
            "external_id": prompt.external_id,
            "details": prompt.details,
            "created_at": moment,
        }
        for prompt_id, prompt in reversed(list(zip(new_ids(len(prompts)), prompts, strict=True)))
    }
    on_sqlite = session.get_bind().dialect.name == "sqlite"
    insert = sqlite.insert(Prompt) if on_sqlite else postgresql.insert(Prompt)
    statement = insert.on_conflict_do_nothing(
        index_elements=["project_id", "content_hash"]
    ).returning(Prompt.id)
    # One order for everyone: two imports of the same prompts never wait for each other in a circle.
    ordered = [rows[content_hash] for content_hash in sorted(rows)]
    return sorted(session.scalars(statement, ordered)) if ordered else []


def import_prompts(
    database: Database,
    project_id: str,
    chunks: BinaryIO | Iterable[bytes],
    content_type: str | ImportFormat,
    *,
    max_line_bytes: int = 10_000_000,
) -> ImportReport:
    """Store every good prompt of the source once, in transactions of a thousand rows.

    Killed in the middle and run again it completes the import: what is there already counts as
    duplicate. Invalid where the file as a whole cannot be prompts; single bad lines are in the
    report with their reason.
    """
    layout = (
        content_type
        if isinstance(content_type, ImportFormat)
        else content_type_format(content_type)
    )
    rows = iter_rows(
        chunks,
        layout,
        max_line_bytes=max_line_bytes,
        check_columns=check_prompt_columns,
        list_key="prompts",
    )
    report = ImportReport()
    for batch in _batches(rows, report):
        with database.write() as session:
            created = len(store_prompts(session, project_id, batch))
        report.created += created
        report.duplicates += len(batch) - created
    return report


def _batches(
    rows: Iterator[SourceRow | RejectedLine], report: ImportReport
) -> Iterator[list[ParsedPrompt]]:
    batch: list[ParsedPrompt] = []
    size = 0
    for row in rows:
        if isinstance(row, RejectedLine):
            report.reject(row)
            continue
        try:
            batch.append(parse_prompt(row.values))
        except RowError as error:
            report.reject(RejectedLine(row.line, str(error)))
            continue
        size += row.size_bytes
        if len(batch) >= BATCH_ROWS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _matches(session: Session, query: str) -> ColumnElement[bool]:
    """Whether any message of the prompt holds the words, letter case aside."""
    if session.get_bind().dialect.name == "sqlite":
        message = func.json_each(Prompt.messages).table_valued("value", name="message")
        content = func.json_extract(message.c.value, "$.content")
    else:
        message = func.jsonb_array_elements(Prompt.messages).table_valued("value", name="message")
        content = func.jsonb_extract_path_text(message.c.value, "content")
    found: ColumnElement[bool] = exists(
        select(1).select_from(message).where(content.icontains(query, autoescape=True))
    )
    return found


def list_prompts(
    session: Session,
    project_id: str,
    *,
    query: str = "",
    after_id: str | None = None,
    offset: int = 0,
    limit: int = 50,
) -> list[Prompt]:
    """The project's prompts in the order they came, those whose text holds `query`."""
    prompts = select(Prompt).where(Prompt.project_id == project_id).order_by(Prompt.id)
    if query:
        prompts = prompts.where(_matches(session, query))
    if after_id is not None:
        prompts = prompts.where(Prompt.id > after_id)
    return list(session.scalars(prompts.offset(offset).limit(limit)))


def count_prompts(session: Session, project_id: str, *, query: str = "") -> int:
    """How many prompts `list_prompts` would give without a limit."""
    counted = select(func.count(Prompt.id)).where(Prompt.project_id == project_id)
    if query:
        counted = counted.where(_matches(session, query))
    return session.scalar(counted) or 0
