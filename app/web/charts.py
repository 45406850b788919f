"""How the series of a job are laid out in charts."""

import re
from dataclasses import dataclass
from enum import StrEnum

from app.jobs.feed import Series, thin
from app.jobs.kind import JobKind
from app.jobs.schema import label_of
from app.web.exploitation import WATCHED

TABLE_ROWS = 60
TIMINGS = "Seconds by stage"


class Place(StrEnum):
    """Where on the page of a job a chart stands."""

    MAIN = "main"
    """Named by the kind."""
    WATCHED = "watched"
    """A look at held-out prompts: they tell by their sight together."""
    MORE = "more"
    """Folded away."""


@dataclass(frozen=True, kw_only=True)
class ChartLine:
    """One series of a chart."""

    name: str
    label: str
    latest: float


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Series that share a vertical axis, and the table behind them."""

    key: str
    title: str
    place: Place
    lines: list[ChartLine]
    rows: list[tuple[int, list[float | None]]]
    """Steps with a value for each line; thinned, the last step always among them."""


def build_charts(kind: JobKind | None, series: list[Series]) -> list[Chart]:
    """The kind's own groups first, in its order; then a chart for each other series; timings last.

    A group shows once one of its series has a point. A kind without groups has only main charts.
    What is watched on held-out prompts has a chart each, the reward's first.
    """
    left = {one.name: one for one in series}
    watched = [(label_of(name), [left.pop(name)]) for name in WATCHED if name in left]
    groups = (kind.metric_groups if kind else None) or {}
    grouped = [
        (title, [left.pop(name) for name in names if name in left])
        for title, names in groups.items()
    ]
    timings = [left.pop(name) for name in list(left) if name.endswith("_seconds")]
    grouped += [(label_of(name), [one]) for name, one in left.items()]
    grouped.append((TIMINGS, timings))
    return [
        *(_chart(title, members, Place.WATCHED) for title, members in watched),
        *(
            _chart(title, members, Place.MAIN if title in groups or not groups else Place.MORE)
            for title, members in grouped
            if members
        ),
    ]


def _chart(title: str, members: list[Series], place: Place) -> Chart:
    lines = [
        ChartLine(
            name=one.name,
            label=label_of(one.name.removesuffix("_seconds"))
            if title == TIMINGS
            else label_of(one.name),
            latest=one.values[-1],
        )
        for one in members
    ]
    by_step: dict[int, list[float | None]] = {}
    for index, one in enumerate(members):
        shown = thin(one, TABLE_ROWS)
        for step, value in zip(shown.steps, shown.values, strict=True):
            by_step.setdefault(step, [None] * len(members))[index] = value
    key = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    return Chart(key=key, title=title, place=place, lines=lines, rows=sorted(by_step.items()))
