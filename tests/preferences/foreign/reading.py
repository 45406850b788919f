"""Rows read as an import reads them."""

import io
from collections.abc import Iterable
from typing import Any

import orjson

from app.preferences.imports import RankingsPreview, preview_rankings
from app.preferences.storing import ParsedRanking
from app.projects.reading import ImportFormat


def preview(rows: Iterable[Any], format_name: str | None = None) -> RankingsPreview:
    content = b"\n".join(orjson.dumps(row) for row in rows)
    return preview_rankings(
        io.BytesIO(content), ImportFormat.JSONL, format_name=format_name, limit=1000
    )


def read(*rows: Any, format_name: str | None = None) -> list[ParsedRanking]:
    found = preview(rows, format_name)
    assert found.rejected == []
    return found.rankings


def read_one(row: Any, format_name: str | None = None) -> ParsedRanking:
    (ranking,) = read(row, format_name=format_name)
    return ranking


def refuse(*rows: Any, format_name: str | None = None) -> str:
    """Why the only bad line was not taken."""
    (rejected,) = preview(rows, format_name).rejected
    return rejected.reason


def said(ranking: ParsedRanking) -> dict[str, int | None]:
    """The rank of each text."""
    return dict(zip([text for text, _ in ranking.completions], ranking.ranks, strict=True))
