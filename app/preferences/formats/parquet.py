"""Rows as Parquet."""

import io
from collections.abc import Iterator
from typing import Any

import orjson

from app.preferences.formats.arrow_columns import arrow_column
from app.preferences.formats.rankings import RankingSchema
from app.preferences.formats.schemas import COLUMNS, PairSchema, Row

ROW_GROUP_ROWS = 5000
ROW_GROUP_BYTES = 8_000_000
JSON_COLUMNS = ("metadata", "origin", "flag_labels")
"""Of a plain ranking: objects of any keys, written as JSON text."""


def pair_columns(schema: PairSchema) -> Any:
    """The columns of pairs as a pyarrow schema."""
    import pyarrow

    text, integer = pyarrow.string(), pyarrow.int32()
    messages = _messages()
    types: dict[str, Any] = {}
    if schema == PairSchema.PLAIN:
        types = {
            "prompt_messages": messages,
            "round": integer,
            "simulated": pyarrow.bool_(),
            "is_repeat": pyarrow.bool_(),
            "chosen_rank": integer,
            "rejected_rank": integer,
            "weight": pyarrow.float64(),
            "guidelines_version": integer,
            "created_at": pyarrow.timestamp("us", tz="UTC"),
        }
    elif schema == PairSchema.TRL_CONVERSATIONAL:
        types = dict.fromkeys(COLUMNS[schema], messages)
    elif schema == PairSchema.TRL_UNPAIRED:
        types = {"label": pyarrow.bool_()}
    elif schema == PairSchema.ARGILLA:
        response = _struct(value=pyarrow.list_(text), user_id=text, status=text)
        types = {
            "fields": _struct(instruction=text, response1=text, response2=text),
            "metadata": _struct(**_origin(), response1_model=text, response2_model=text),
            "responses": _struct(ranking=pyarrow.list_(response)),
        }
    elif schema == PairSchema.LABEL_STUDIO:
        names = {"id": text, "from_name": text, "to_name": text, "type": text}
        result = _struct(**names, value=_struct(selected=text))
        annotation = _struct(
            ground_truth=pyarrow.bool_(),
            was_cancelled=pyarrow.bool_(),
            result=pyarrow.list_(result),
        )
        texts = {"prompt": text, "answer1": text, "answer2": text}
        types = {
            "data": _struct(**texts, **_origin(), answer1_model=text, answer2_model=text),
            "annotations": pyarrow.list_(annotation),
        }
    return pyarrow.schema([(name, types.get(name, text)) for name in COLUMNS[schema]])


def ranking_columns(schema: RankingSchema) -> Any:
    """The columns of rankings as a pyarrow schema."""
    import pyarrow

    text, integer, flag = pyarrow.string(), pyarrow.int32(), pyarrow.bool_()
    if schema == RankingSchema.NECTAR:
        answer = _struct(answer=text, model=text, rank=integer)
        return pyarrow.schema(
            {
                "prompt": text,
                "answers": pyarrow.list_(answer),
                "turns": integer,
                "num_responses": integer,
                "source": pyarrow.list_(text),
            }
        )
    completion = _struct(id=text, text=text, model=text, finish_reason=text, token_count=integer)
    return pyarrow.schema(
        {
            "ranking_id": text,
            "task_id": text,
            "purpose": text,
            "round": integer,
            "prompt": _messages(),
            "prompt_is_chat": flag,
            "prompt_external_id": text,
            "tags": pyarrow.list_(text),
            "metadata": text,
            "completions": pyarrow.list_(completion),
            "ranks": pyarrow.list_(integer),
            "labeler": text,
            "simulated": flag,
            "source": text,
            "external_id": text,
            "is_repeat": flag,
            "shown_order": pyarrow.list_(text),
            "ratings": pyarrow.list_(integer),
            "flags": pyarrow.list_(pyarrow.list_(text)),
            "flag_labels": text,
            "comment": text,
            "active_ms": pyarrow.int64(),
            "guidelines_version": integer,
            "gold": pyarrow.list_(integer),
            "origin": text,
            "created_at": pyarrow.timestamp("us", tz="UTC"),
        }
    )


def flat_ranking(row: Row) -> Row:
    """A plain ranking whose values have one type each: the prompt as messages (`prompt_is_chat`
    says whether it was a text), objects of any keys as JSON text."""
    prompt = row["prompt"]
    is_chat = isinstance(prompt, list)
    return row | {
        "prompt": prompt if is_chat else [{"role": "user", "content": prompt}],
        "prompt_is_chat": is_chat,
        **{
            name: None if row[name] is None else orjson.dumps(row[name]).decode()
            for name in JSON_COLUMNS
        },
    }


def _struct(**types: Any) -> Any:
    import pyarrow

    return pyarrow.struct(list(types.items()))


def _messages() -> Any:
    import pyarrow

    return pyarrow.list_(_struct(role=pyarrow.string(), content=pyarrow.string()))


def _origin() -> dict[str, Any]:
    import pyarrow

    names = ("labeler", "simulated", "round", "prompt_id", "task_id", "ranking_id")
    return {name: pyarrow.int32() if name == "round" else pyarrow.string() for name in names}


class _Drain(io.RawIOBase):
    """A file that is only written to and read out by the way, so that no file is needed."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.position = 0

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        part = bytes(content)
        self.parts.append(part)
        self.position += len(part)
        return len(part)

    def tell(self) -> int:
        return self.position

    def drain(self) -> bytes:
        content = b"".join(self.parts)
        self.parts.clear()
        return content


def parquet_bytes(rows: Iterator[Row], columns: Any) -> Iterator[bytes]:
    """Row groups of at most 5,000 rows or about 8 MB, compressed with zstd."""
    from pyarrow import parquet

    sink = _Drain()
    with parquet.ParquetWriter(sink, columns, compression="zstd") as writer:
        for group in _row_groups(rows):
            writer.write_batch(_batch(group, columns))
            yield sink.drain()
    yield sink.drain()


def _batch(group: list[Row], columns: Any) -> Any:
    import pyarrow

    arrays = [arrow_column([row[field.name] for row in group], field.type) for field in columns]
    return pyarrow.record_batch(arrays, schema=columns)


def _row_groups(rows: Iterator[Row]) -> Iterator[list[Row]]:
    group: list[Row] = []
    size = 0
    for row in rows:
        group.append(row)
        size += _text_size(list(row.values()))
        if len(group) >= ROW_GROUP_ROWS or size >= ROW_GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _text_size(values: list[Any]) -> int:
    """About how many bytes the texts among the values take, however deep."""
    size = 0
    for value in values:
        if isinstance(value, str):
            size += len(value)
        elif isinstance(value, list):
            size += _text_size(value)
        elif isinstance(value, dict):
            size += _text_size(list(value.values()))
    return size
