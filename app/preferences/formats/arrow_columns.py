"""Python values as Arrow columns, buffer by buffer.

`pyarrow.array` does the same, but imports pandas first wherever that is installed, which takes
80 MB of a process that has no other use for it.
"""

from array import array
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate, chain
from typing import Any

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
TYPE_CODES = {"int32": "i", "int64": "q", "double": "d"}
NO_ROW: dict[str, Any] = {}


def arrow_column(values: Sequence[Any], kind: Any) -> Any:
    """The values as an Arrow array of the type; None is null.

    Knows texts, whole numbers, floats, booleans, times in microseconds, lists and structs of them.
    """
    import pyarrow
    from pyarrow import types

    if types.is_string(kind):
        return _texts(values, kind)
    if types.is_boolean(kind):
        return _from_buffers(kind, values, [_bits([bool(value) for value in values])])
    if types.is_timestamp(kind):
        moments = [None if value is None else (value - EPOCH) // MICROSECOND for value in values]
        return arrow_column(moments, pyarrow.int64()).view(kind)
    if types.is_list(kind):
        items = list(chain.from_iterable(value or () for value in values))
        child = arrow_column(items, kind.value_type)
        return _from_buffers(
            kind, values, [_offsets([len(value or ()) for value in values])], child
        )
    if types.is_struct(kind):
        rows = [NO_ROW if value is None else value for value in values]
        children = [
            arrow_column([row.get(field.name) for row in rows], field.type) for field in kind
        ]
        return _from_buffers(kind, values, [], *children)
    numbers = array(TYPE_CODES[str(kind)], [0 if value is None else value for value in values])
    return _from_buffers(kind, values, [pyarrow.py_buffer(numbers)])


def _texts(values: Sequence[str | None], kind: Any) -> Any:
    import pyarrow

    encoded = [b"" if value is None else value.encode() for value in values]
    content = pyarrow.py_buffer(b"".join(encoded))
    return _from_buffers(kind, values, [_offsets([len(text) for text in encoded]), content])


def _from_buffers(kind: Any, values: Sequence[Any], buffers: list[Any], *children: Any) -> Any:
    import pyarrow

    present = [value is not None for value in values]
    validity = None if all(present) else _bits(present)
    return pyarrow.Array.from_buffers(
        kind, len(values), [validity, *buffers], children=list(children)
    )


def _offsets(lengths: Sequence[int]) -> Any:
    import pyarrow

    return pyarrow.py_buffer(array("i", accumulate(lengths, initial=0)))


def _bits(flags: Sequence[bool]) -> Any:
    """One bit a value, the lowest first."""
    import numpy
    import pyarrow

    return pyarrow.py_buffer(numpy.packbits(numpy.array(flags, dtype=bool), bitorder="little"))
