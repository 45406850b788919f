"""What a format made elsewhere is: a name, how its ranks read, and how its rows become Podium's.

A row of Podium's own shape is `{prompt, completions: [{text, model?}], ranks, labeler?, …}` under
the names of `app.preferences.formats.ranking_row`, rank 1 being the best, with what the source
says and Podium has no place for under `origin`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from app.projects.reading import RejectedLine, SourceRow

Row = dict[str, Any]
Rows = Iterator[SourceRow | RejectedLine]


@dataclass(frozen=True, kw_only=True)
class ForeignFormat:
    """One family of files with rankings or pairs."""

    name: str
    """As REST, the terminal and `origin.format` say it."""
    title: str
    """As a person says it."""
    direction: str
    """How ranks or scores read, and what a tie is, in a sentence or two."""
    columns: tuple[tuple[str, ...], ...]
    """Any of these sets of keys is in every row; what a table's header is checked against."""
    matches: Callable[[Row], bool]
    """Whether a row looks like one of these."""
    rankings: Callable[[Row], Iterator[Row]]
    """The rankings of a row in Podium's own shape; RowError says why there is none."""
    gather: Callable[[Rows], Rows] | None = None
    """For a format that spreads one ranking over several lines: joins them as they stream."""
