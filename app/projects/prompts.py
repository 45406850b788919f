"""Prompts: stored once by content, imported from what people have, and found again."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.db import Database
from app.errors import Invalid, NotFound
from app.models import Project, Prompt, User, new_ids, utc_now
from app.projects.messages import Message
from app.projects.prompt_mapping import (
    ParsedPrompt as ParsedPrompt,
)
from app.projects.prompt_mapping import (
    PromptMapping,
    column_check,
    guess_mapping,
    parse_prompt,
)
from app.projects.reading import (
    ImportFormat,
    ImportReport,
    RejectedLine,
    RowError,
    SourceRow,
    content_type_format,
)
from app.projects.rows import iter_rows
from app.projects.service import get_project
from app.projects.tags import has_metadata, has_tag, parse_metadata_filter

BATCH_ROWS = 1000
BATCH_BYTES = 8_000_000
PREVIEW_ROWS = 100
PREVIEW_BYTES = 4_000_000


def add_prompt(
    session: Session,
    project: Project,
    messages: list[Message],
    is_chat: bool = False,
    external_id: str | None = None,
    metadata: dict[str, Any] | None = None,
    tags: list[str] | None = None,
) -> Prompt | None:
    """Store a checked prompt; None when the project has one of the same content."""
    parsed = ParsedPrompt(messages, is_chat, external_id, metadata or {}, tags or [])
    ids = store_prompts(session, project.id, [parsed])
    return session.get(Prompt, ids[0]) if ids else None


def get_prompt(session: Session, prompt_id: str, user: User) -> Prompt:
    """The prompt, or NotFound when there is none or its project is not open to this person."""
    prompt = session.get(Prompt, prompt_id)
    if prompt is None:
        raise NotFound("There is no such prompt.")
    get_project(session, prompt.project_id, user)
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
            "tags": prompt.tags,
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
    mapping: PromptMapping | None = None,
    max_line_bytes: int = 10_000_000,
    on_batch: Callable[[ImportReport], None] | None = None,
) -> ImportReport:
    """Store every good prompt of the source once, in transactions of a thousand rows.

    Without a mapping each row is recognised by its own columns. `on_batch` is called after every
    committed batch, and after every thousand bad lines, with the report so far; what it raises
    ends the import there. Killed in the
    middle and run again it completes the import: what is there already counts as duplicate.
    Invalid where the file as a whole cannot be prompts; single bad lines are in the report with
    their reason.
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
        check_columns=column_check(mapping),
        list_key="prompts",
    )
    report = ImportReport()
    for batch in _batches(rows, mapping, report):
        if batch:
            with database.write() as session:
                created = len(store_prompts(session, project_id, batch))
            report.created += created
            report.duplicates += len(batch) - created
        if on_batch is not None:
            on_batch(report)
    return report


def _batches(
    rows: Iterator[SourceRow | RejectedLine], mapping: PromptMapping | None, report: ImportReport
) -> Iterator[list[ParsedPrompt]]:
    """Good rows together, at most so many; fewer or none after a thousand bad lines."""
    batch: list[ParsedPrompt] = []
    size, bad = 0, 0
    for row in rows:
        try:
            if isinstance(row, RejectedLine):
                raise RowError(row.reason)
            batch.append(parse_prompt(row.values, mapping))
            size += row.size_bytes
        except RowError as error:
            report.reject(RejectedLine(row.line, str(error)))
            bad += 1
        if max(len(batch), bad) >= BATCH_ROWS or size >= BATCH_BYTES:
            yield batch
            batch, size, bad = [], 0, 0
    if batch:
        yield batch


@dataclass(frozen=True, kw_only=True)
class PreviewedPrompt:
    """One of the first rows, as it would be stored."""

    line: int
    prompt: ParsedPrompt
    same_as: int | None
    """The line that has the same content, where one came before."""


@dataclass(frozen=True, kw_only=True)
class PromptsPreview:
    """What the first rows of a source hold, before anything is stored."""

    columns: list[str]
    """In the order in which they appear."""
    rows: list[SourceRow]
    mapping: PromptMapping | None
    """As given, or as the columns tell; None where no column is a known one."""
    prompts: list[PreviewedPrompt]
    rejected: list[RejectedLine]
    is_all: bool
    """Whether the source has no more rows than these."""


def preview_prompts(
    source: BinaryIO,
    layout: ImportFormat,
    mapping: PromptMapping | None = None,
    limit: int = PREVIEW_ROWS,
    *,
    max_line_bytes: int = 10_000_000,
) -> PromptsPreview:
    """Read the first rows of a file at its beginning, whatever their columns.

    Invalid where the file as a whole cannot be read.
    """
    rows, rejected, is_all = _first_rows(source, layout, limit, max_line_bytes)
    merged: dict[str, Any] = {}
    for row in rows:
        for name, value in row.values.items():
            if merged.get(name) is None:
                merged[name] = value
    chosen = mapping or guess_mapping(merged)
    prompts: list[PreviewedPrompt] = []
    seen: dict[str, int] = {}
    for row in rows if chosen else []:
        try:
            prompt = parse_prompt(row.values, mapping)
        except RowError as error:
            rejected.append(RejectedLine(row.line, str(error)))
            continue
        same_as = seen.setdefault(prompt.content_hash, row.line)
        prompts.append(
            PreviewedPrompt(
                line=row.line, prompt=prompt, same_as=None if same_as == row.line else same_as
            )
        )
    return PromptsPreview(
        columns=list(merged),
        rows=rows,
        mapping=chosen,
        prompts=prompts,
        rejected=sorted(rejected),
        is_all=is_all,
    )


def _first_rows(
    source: BinaryIO, layout: ImportFormat, limit: int, max_line_bytes: int
) -> tuple[list[SourceRow], list[RejectedLine], bool]:
    """Rows up to a number and a size, those that are none, and whether that was all."""
    for accepts in (_has_known_column, _has_columns, _has_column):
        source.seek(0)
        rows: list[SourceRow] = []
        rejected: list[RejectedLine] = []
        size = 0
        try:
            for row in iter_rows(
                source,
                layout,
                max_line_bytes=max_line_bytes,
                check_columns=accepts,
                list_key="prompts",
            ):
                if len(rows) + len(rejected) >= limit or size > PREVIEW_BYTES:
                    return rows, rejected, False
                if isinstance(row, RejectedLine):
                    rejected.append(row)
                else:
                    rows.append(row)
                    size += row.size_bytes
        except Invalid as error:
            if error.code == "unknown_columns" and accepts is not _has_column:
                continue
            raise
        break
    return rows, rejected, True


def _has_known_column(columns: list[str]) -> None:
    column_check(None)(columns)


def _has_columns(columns: list[str]) -> None:
    """Read with the right delimiter a header falls into several columns."""
    if len(columns) == 1:
        raise Invalid("The file has no columns.", code="unknown_columns")


def _has_column(columns: list[str]) -> None:
    if not any(columns):
        raise Invalid("The file is empty.", code="empty_file", fields={"file": "rows"})


def find_stored(session: Session, project_id: str, prompts: Iterable[ParsedPrompt]) -> set[str]:
    """The content hashes of those prompts that the project has already."""
    hashes = {prompt.content_hash for prompt in prompts}
    stored = select(Prompt.content_hash).where(
        Prompt.project_id == project_id, Prompt.content_hash.in_(hashes)
    )
    return set(session.scalars(stored)) if hashes else set()


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


@dataclass(frozen=True, kw_only=True)
class PromptFilters:
    """Which prompts of a project; what is left empty lets every one pass."""

    query: str = ""
    """Words that a message holds."""
    tag: str = ""
    metadata: str = ""
    """A value under a key, as `key=value`."""

    def conditions(self, session: Session) -> list[ColumnElement[bool]]:
        """The filters as conditions; Invalid names one that cannot be meant."""
        found: list[ColumnElement[bool]] = []
        if self.query:
            found.append(_matches(session, self.query))
        if self.tag:
            found.append(has_tag(self.tag))
        if self.metadata:
            found.append(has_metadata(*parse_metadata_filter(self.metadata)))
        return found


def list_prompts(
    session: Session,
    project_id: str,
    *,
    query: str = "",
    tag: str = "",
    metadata: str = "",
    after_id: str | None = None,
    offset: int = 0,
    limit: int = 50,
) -> list[Prompt]:
    """The project's prompts in the order they came: those whose text holds `query`, that carry the
    tag, and whose metadata has `key=value`."""
    filters = PromptFilters(query=query, tag=tag, metadata=metadata)
    prompts = (
        select(Prompt)
        .where(Prompt.project_id == project_id, *filters.conditions(session))
        .order_by(Prompt.id)
    )
    if after_id is not None:
        prompts = prompts.where(Prompt.id > after_id)
    return list(session.scalars(prompts.offset(offset).limit(limit)))


def count_prompts(
    session: Session, project_id: str, *, query: str = "", tag: str = "", metadata: str = ""
) -> int:
    """How many prompts `list_prompts` would give without a limit."""
    filters = PromptFilters(query=query, tag=tag, metadata=metadata)
    counted = select(func.count(Prompt.id)).where(
        Prompt.project_id == project_id, *filters.conditions(session)
    )
    return session.scalar(counted) or 0
