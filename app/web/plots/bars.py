"""Bars: counts per day, the last days in a cell of a table, and histograms."""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from statistics import median

from app.web.filters import plural
from app.web.plots.scales import (
    Format,
    Scale,
    Table,
    Tick,
    as_count,
    as_seconds,
    nice_steps,
    spell_day,
    upright_ticks,
)

MIN_DAYS = 14
MAX_DAYS = 90
HISTOGRAM_BARS = 14


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar, in percent of the plotting area."""

    x: float
    y: float
    width: float
    height: float
    label: str


@dataclass(frozen=True, kw_only=True)
class BarPlot:
    """Counts per day, or a histogram."""

    key: str
    title: str
    finding: str
    bars: list[Bar]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    table: Table
    reference: Tick | None = None
    """An upright line across the bars, such as a median."""


@dataclass(frozen=True, kw_only=True)
class Sparkline:
    """Bars without axes, for a cell of a table; `text` says what they come to."""

    bars: list[Bar]
    text: str


def plot_days(
    key: str, title: str, days: Mapping[date, int], last: date, *, noun: str = "ranking"
) -> BarPlot:
    """A bar for each day up to `last`: from the first with a count, but 14 to 90 of them."""
    first = min(days, default=last)
    length = min(max((last - first).days + 1, MIN_DAYS), MAX_DAYS)
    shown = [last - timedelta(days=back) for back in reversed(range(length))]
    counts = [days.get(day, 0) for day in shown]
    total, busy = sum(counts), sum(count > 0 for count in counts)
    finding = f"Nothing in the last {length} days."
    if total:
        best = shown[counts.index(max(counts))]
        finding = (
            f"{plural(total, noun)} on {busy} of the last {length} days; "
            f"the most on {spell_day(best)} ({max(counts):,})."
        )
    steps = [step for step in nice_steps(0, max(counts) or 1, 4) if step == int(step)]
    every = math.ceil(length / 6)
    ticks = [
        Tick(
            at=round(100 * (place + 0.5) / length, 2),
            label=spell_day(day),
            wide=(length - 1 - place) // every % 2 == 1,
            anchor="end" if place == length - 1 else "middle",
        )
        for place, day in enumerate(shown)
        if (length - 1 - place) % every == 0
    ]
    return BarPlot(
        key=key,
        title=title,
        finding=finding,
        bars=_bars(counts, steps[-1], [spell_day(day) for day in shown], noun, gap=0.2),
        x_ticks=ticks,
        y_ticks=upright_ticks(Scale(low=0, high=steps[-1]), steps, as_count),
        table=Table(
            columns=["Day", f"{noun.capitalize()}s"],
            rows=[
                [day.isoformat(), f"{count:,}"]
                for day, count in zip(reversed(shown), reversed(counts), strict=True)
                if count
            ],
        ),
    )


def _bars(
    counts: Sequence[int], top: float, labels: Sequence[str], noun: str, *, gap: float
) -> list[Bar]:
    """A bar for each count but 0; `gap` is the share of its place that stays free."""
    width = 100 / len(counts)
    return [
        Bar(
            x=round(width * (place + gap / 2), 2),
            y=round(100 - 100 * count / top, 2),
            width=round(width * (1 - gap), 2),
            height=round(100 * count / top, 2),
            label=f"{label}: {plural(count, noun)}",
        )
        for place, (count, label) in enumerate(zip(counts, labels, strict=True))
        if count
    ]


def spark_days(days: Mapping[date, int], last: date, *, length: int = MIN_DAYS) -> Sparkline:
    """The last days as bars of a table's cell."""
    shown = [last - timedelta(days=back) for back in reversed(range(length))]
    counts = [days.get(day, 0) for day in shown]
    return Sparkline(
        bars=_bars(counts, max(*counts, 1), [spell_day(day) for day in shown], "ranking", gap=0.25),
        text=f"{sum(counts):,} in {length} days",
    )


def plot_histogram(
    key: str, title: str, values: Sequence[float], *, noun: str, format_: Format = as_seconds
) -> BarPlot:
    """How often values come, with their median; the slowest twentieth shares the last bar."""
    ordered = sorted(values)
    if not ordered:
        finding = "Nothing was measured yet."
        empty = Table(columns=[], rows=[])
        return BarPlot(
            key=key, title=title, finding=finding, bars=[], x_ticks=[], y_ticks=[], table=empty
        )
    common = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    edges = nice_steps(0, max(common, 1), HISTOGRAM_BARS - 1)
    scale = Scale(low=0, high=edges[-1] + edges[1])
    counts = [0] * len(edges)
    for value in ordered:
        counts[bisect_right(edges, value) - 1] += 1
    spans = [f"{format_(low)} to {format_(high)}" for low, high in pairwise(edges)] + [
        f"{format_(edges[-1])} or more"
    ]
    steps = [step for step in nice_steps(0, max(counts), 4) if step == int(step)]
    middle = median(ordered)
    return BarPlot(
        key=key,
        title=title,
        finding=f"Half of {plural(len(ordered), noun)} took less than {format_(middle)}; "
        f"nine in ten less than {format_(ordered[int(0.9 * (len(ordered) - 1))])}.",
        bars=_bars(counts, steps[-1], spans, noun, gap=0.06),
        x_ticks=[
            Tick(at=scale.at(edge), label=format_(edge), wide=place % 4 != 0)
            for place, edge in enumerate(edges)
            if place % 2 == 0
        ],
        y_ticks=upright_ticks(Scale(low=0, high=steps[-1]), steps, as_count),
        table=Table(
            columns=["From and to", f"{noun.capitalize()}s"],
            rows=[[span, f"{count:,}"] for span, count in zip(spans, counts, strict=True)],
        ),
        reference=Tick(at=scale.at(middle), label=f"median {format_(middle)}"),
    )
