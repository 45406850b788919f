"""Tags and metadata of prompts, as conditions that both databases understand."""

from typing import Any

from sqlalchemy import ColumnElement, String, cast, func, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.types import Boolean

from app.errors import Invalid
from app.models import Prompt


class json_holds(GenericFunction[bool]):  # noqa: N801  # the name it has in SQL
    """Whether a JSON list of texts holds a text."""

    type = Boolean()
    inherit_cache = True


@compiles(json_holds, "sqlite")
def _holds_on_sqlite(element: json_holds, compiler: SQLCompiler, **options: Any) -> str:
    column, value = (compiler.process(clause, **options) for clause in element.clauses)
    return f"EXISTS (SELECT 1 FROM json_each({column}) AS held WHERE held.value = {value})"  # noqa: S608  # both are compiled: values are bound


@compiles(json_holds, "postgresql")
def _holds_on_postgresql(element: json_holds, compiler: SQLCompiler, **options: Any) -> str:
    column, value = (compiler.process(clause, **options) for clause in element.clauses)
    return f"({column} @> jsonb_build_array(CAST({value} AS TEXT)))"


class json_text(GenericFunction[str]):  # noqa: N801  # the name it has in SQL
    """The value under a key of a JSON object, as text; lists and objects as their JSON."""

    type = String()
    inherit_cache = True


@compiles(json_text, "sqlite")
def _text_on_sqlite(element: json_text, compiler: SQLCompiler, **options: Any) -> str:
    column, key = (compiler.process(clause, **options) for clause in element.clauses)
    boolean = "CASE entry.type WHEN 'true' THEN 'true' WHEN 'false' THEN 'false'"
    value = f"{boolean} ELSE CAST(entry.value AS TEXT) END"
    return f"(SELECT {value} FROM json_each({column}) AS entry WHERE entry.key = {key})"  # noqa: S608  # both are compiled: values are bound


@compiles(json_text, "postgresql")
def _text_on_postgresql(element: json_text, compiler: SQLCompiler, **options: Any) -> str:
    column, key = (compiler.process(clause, **options) for clause in element.clauses)
    return f"({column} ->> CAST({key} AS TEXT))"


def holds_text(column: InstrumentedAttribute[list[str]], text: str) -> ColumnElement[bool]:
    """Whether a JSON list in a column holds a text."""
    return json_holds(column, text)


def has_tag(tag: str) -> ColumnElement[bool]:
    """Whether the prompt carries the tag."""
    return holds_text(Prompt.tags, tag)


def has_metadata(key: str, value: str) -> ColumnElement[bool]:
    """Whether the prompt's metadata has the value under the key; numbers as they are written."""
    found: ColumnElement[bool] = json_text(Prompt.details, key) == value
    return found


def parse_metadata_filter(condition: str) -> tuple[str, str]:
    """`key=value` as the two; Invalid names what is missing."""
    key, sign, value = condition.partition("=")
    if not sign or not key.strip():
        raise Invalid(
            f"“{condition}” is not a condition on metadata.",
            fields={"metadata": "key=value, such as category=writing"},
        )
    return key.strip(), value.strip()


def list_tags(session: Session, project_id: str, *, limit: int = 200) -> list[tuple[str, int]]:
    """The tags of the project's prompts with how many carry each, the most used first."""
    each: Any
    if session.get_bind().dialect.name == "sqlite":
        each = func.json_each(Prompt.tags).table_valued("value", name="tag")
    else:
        each = func.jsonb_array_elements_text(cast(Prompt.tags, JSONB)).table_valued(
            "value", name="tag"
        )
    name = each.c.value
    counted = (
        select(name, func.count())
        .select_from(Prompt)
        .join(each, each.c.value.is_not(None))
        .where(Prompt.project_id == project_id)
        .group_by(name)
        .order_by(func.count().desc(), name)
        .limit(limit)
    )
    return [(row[0], row[1]) for row in session.execute(counted)]
