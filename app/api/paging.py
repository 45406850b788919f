"""`limit` and `cursor` of every list."""

from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from fastapi import Query

Item = TypeVar("Item")

Limit = Annotated[int, Query(ge=1, le=200, description="How many items at most.")]
Cursor = Annotated[
    str | None,
    Query(max_length=100, description="`next_cursor` of the page before; empty for the first."),
]


def page_of(
    items: Sequence[Item], identify: Callable[[Item], str], limit: int, cursor: str | None
) -> tuple[list[Item], str | None]:
    """The items after the one the cursor names, and the cursor of the next page.

    For lists that are short enough to read whole, such as models or rounds. A cursor that names
    nothing gives an empty page.
    """
    start = 0
    if cursor:
        places = {identify(item): place for place, item in enumerate(items)}
        start = places.get(cursor, len(items)) + 1
    page = list(items[start : start + limit])
    more = start + limit < len(items)
    return page, identify(page[-1]) if more else None
