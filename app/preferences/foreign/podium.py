"""Podium's own rankings, as `GET /projects/{id}/rankings` writes them."""

from collections.abc import Iterator
from typing import Any

from app.preferences.foreign.shape import ForeignFormat, Row

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


def _rankings(row: Row) -> Iterator[Row]:
    """The row itself. What was said of an earlier source stays as it is; of a ranking made in
    Podium, what another project has no place for becomes its origin."""
    row = dict(row)
    if not isinstance(row.get("origin"), dict):
        origin: dict[str, Any] = {"format": "podium"}
        for name in KEPT_IN_ORIGIN:
            if row.get(name) not in (None, {}):
                origin[name] = row[name]
        row["origin"] = origin
    yield row


PODIUM = ForeignFormat(
    name="podium",
    title="Podium rankings",
    direction="Rank 1 is best; equal ranks are ties, null is unranked.",
    columns=(("prompt", "completions", "ranks"),),
    matches=lambda row: {"prompt", "completions", "ranks"} <= row.keys(),
    rankings=_rankings,
)
