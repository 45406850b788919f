"""Podium's own rankings, as `GET /projects/{id}/rankings` writes them."""

from collections.abc import Iterator
from typing import Any

import orjson

from app.preferences.foreign.shape import ForeignFormat, Row
from app.projects.reading import RowError

KEPT_IN_ORIGIN = (
    "ranking_id",
    "task_id",
    "round",
    "purpose",
    "source",
    "guidelines_version",
    "gold",
    "flag_labels",
)
OBJECTS = ("metadata", "origin", "flag_labels")
"""JSON text in a Parquet file, where every row must have the same keys."""


def _rankings(row: Row) -> Iterator[Row]:
    """The row itself. What was said of an earlier source stays as it is; of a ranking made in
    Podium, what another project has no place for becomes its origin."""
    row = _unflatten(row)
    if not isinstance(row.get("origin"), dict):
        origin: dict[str, Any] = {"format": "podium"}
        for name in KEPT_IN_ORIGIN:
            if row.get(name) not in (None, {}):
                origin[name] = row[name]
        row["origin"] = origin
    yield row


def _unflatten(row: Row) -> Row:
    row = dict(row)
    for name in OBJECTS:
        if isinstance(row.get(name), str):
            try:
                row[name] = orjson.loads(row[name])
            except orjson.JSONDecodeError as error:
                raise RowError(f"{name} must be an object, or its JSON text") from error
    prompt = row.get("prompt")
    if row.get("prompt_is_chat") is False and isinstance(prompt, list) and len(prompt) == 1:
        row["prompt"] = prompt[0].get("content") if isinstance(prompt[0], dict) else prompt
    return row


PODIUM = ForeignFormat(
    name="podium",
    title="Podium rankings",
    direction="Rank 1 is best; equal ranks are ties, null is unranked.",
    columns=(("prompt", "completions", "ranks"),),
    matches=lambda row: {"prompt", "completions", "ranks"} <= row.keys(),
    rankings=_rankings,
)
