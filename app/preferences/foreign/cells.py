"""Cells of a CSV file: what is written as JSON there becomes what it means."""

from typing import Any

import orjson

from app.preferences.foreign.shape import Row

TEXTS = frozenset({"prompt", "chosen", "rejected", "completion", "comment"})
"""Columns that hold what people and models wrote, which may be JSON itself: only a list of
messages is read as one there."""


def decode_cells(row: Row) -> Row:
    """The row with its JSON cells read; numbers stay as written, they may be a text's."""
    return {name: _decode(name, cell) for name, cell in row.items()}


def _decode(name: str, cell: Any) -> Any:
    if not isinstance(cell, str) or not cell.lstrip().startswith(("[", "{")):
        return cell
    try:
        value = orjson.loads(cell)
    except orjson.JSONDecodeError:
        return cell
    return cell if name in TEXTS and not _is_messages(value) else value


def _is_messages(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) > 0
        and all(isinstance(item, dict) and {"role", "content"} <= item.keys() for item in value)
    )
