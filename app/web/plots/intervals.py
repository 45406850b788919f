"""Figures with their intervals: under each other (a forest plot), and over weeks (a line)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from app.web.plots.scales import (
    MISSING,
    Format,
    Interval,
    Scale,
    Table,
    Tick,
    as_percent,
    describe_interval,
    fit_scale,
    spell_day,
    upright_ticks,
)


@dataclass(frozen=True, kw_only=True)
class ForestRow:
    """A figure as a dot on its interval; `at` is None where nothing could be computed."""

    label: str
    href: str
    at: float | None
    low: float | None
    high: float | None
    text: str
    interval: str
    count: str
    off: bool
    """Whether it is marked as lying off the reference."""


@dataclass(frozen=True, kw_only=True)
class ForestPlot:
    """Figures under each other on one axis."""

    key: str
    title: str
    finding: str
    row_title: str
    rows: list[ForestRow]
    ticks: list[Tick]
    off_words: str
    """What a marked row is, such as "off the average"."""
    reference: Tick | None = None


@dataclass(frozen=True, kw_only=True)
class Dot:
    """A point of a line with its interval, in percent from the left and upper edges.

    `low` is the place of the interval's lower end; both ends are `y` where there is no interval.
    """

    x: float
    y: float
    low: float
    high: float
    label: str


@dataclass(frozen=True, kw_only=True)
class LinePlot:
    """A figure over weeks with its interval as a band; weeks without a figure are gaps."""

    key: str
    title: str
    finding: str
    line: str
    """A path on a square of 100 by 100 that is stretched over the plotting area."""
    band: str
    dots: list[Dot]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    table: Table
    reference: Tick | None = None


def plot_forest(
    key: str,
    title: str,
    figures: Sequence[tuple[str, str, Interval]],
    *,
    row_title: str,
    noun: str,
    finding: str = "",
    reference: float | None = None,
    reference_label: str = "",
    bad_below: float | None = None,
    floor: float | None = 0.0,
    ceiling: float | None = 1.0,
    format_: Format = as_percent,
) -> ForestPlot:
    """A row for each (label, address, figure); an empty address makes no link.

    Rows that lie off the reference are marked, and the finding, unless given, says how many do.
    With `bad_below` those are marked whose whole interval lies below it: the reference is then a
    line to look at, and to be better than it is no fault.
    """
    name = reference_label or ("" if reference is None else format_(reference))
    values = [
        edge
        for _, _, figure in figures
        for edge in (figure.value, figure.low, figure.high)
        if edge is not None
    ]
    if reference is not None:
        values.append(reference)
    scale, steps = fit_scale(values, floor=floor, ceiling=ceiling)
    rows = [
        _forest_row(
            scale,
            label,
            href,
            figure,
            noun,
            format_,
            off=_is_off(figure, reference, bad_below),
        )
        for label, href, figure in figures
    ]
    if not finding and reference is not None:
        off = [row.label for row in rows if row.off]
        finding = (
            f"Every interval holds {name}."
            if not off
            else f"{len(off)} of {len(rows)} lie off {name}."
        )
    return ForestPlot(
        key=key,
        title=title,
        finding=finding,
        row_title=row_title,
        rows=rows,
        ticks=[
            Tick(at=scale.at(step), label=format_(step), wide=place % 2 == 1)
            for place, step in enumerate(steps)
        ],
        off_words=f"off {name}" if bad_below is None else f"surely below {format_(bad_below)}",
        reference=None if reference is None else Tick(at=scale.at(reference), label=name),
    )


def _is_off(figure: Interval, reference: float | None, bad_below: float | None) -> bool:
    if bad_below is not None:
        return lies_below(figure, bad_below)
    return reference is not None and leaves_out(figure, reference)


def _forest_row(
    scale: Scale,
    label: str,
    href: str,
    figure: Interval,
    noun: str,
    format_: Format,
    *,
    off: bool,
) -> ForestRow:
    return ForestRow(
        label=label,
        href=href,
        at=None if figure.value is None else scale.at(figure.value),
        low=scale.at(figure.low) if figure.low is not None else None,
        high=scale.at(figure.high) if figure.high is not None else None,
        text=MISSING if figure.value is None else format_(figure.value),
        interval=describe_interval(figure, format_),
        count=f"{figure.n:,} {noun}{'' if figure.n == 1 else 's'}",
        off=off,
    )


def leaves_out(figure: Interval, reference: float) -> bool:
    """Whether the figure's interval lies wholly on one side of the reference."""
    if figure.low is None or figure.high is None:
        return False
    return figure.low > reference or figure.high < reference


def lies_below(figure: Interval, reference: float) -> bool:
    """Whether the figure's whole interval is below the reference."""
    return figure.high is not None and figure.high < reference


def plot_weeks(
    key: str,
    title: str,
    weeks: Sequence[tuple[date, Interval]],
    *,
    noun: str,
    least: int = 1,
    reference: float | None = None,
    reference_label: str = "",
    floor: float | None = 0.0,
    ceiling: float | None = 1.0,
    format_: Format = as_percent,
) -> LinePlot:
    """A figure for each week, by its Monday and oldest first; a week apart is a step apart.

    Weeks with fewer than `least` are gaps in the drawing and stand in the table alone.
    """
    known = [
        (week, figure) for week, figure in weeks if figure.value is not None and figure.n >= least
    ]
    edges = [
        edge
        for _, figure in known
        for edge in (figure.value, figure.low, figure.high)
        if edge is not None
    ]
    scale, steps = fit_scale(
        edges if reference is None else [*edges, reference], floor=floor, ceiling=ceiling
    )
    first, last = (known[0][0], known[-1][0]) if known else (date.min, date.min)
    span = max((last - first).days, 7)
    start = first if last > first else None
    dots = [
        _dot(week, figure, scale, 50.0 if start is None else _place(week, first, span), format_)
        for week, figure in known
    ]
    runs = _runs([week for week, _ in known], dots)
    return LinePlot(
        key=key,
        title=title,
        finding=_trend(known, format_),
        line=" ".join(_path([(dot.x, dot.y) for dot in run]) for run in runs if len(run) > 1),
        band=" ".join(_band(run) for run in runs if len(run) > 1),
        dots=dots,
        x_ticks=_week_ticks([week for week, _ in known], dots),
        y_ticks=upright_ticks(scale, steps, format_),
        table=_week_table(weeks, noun, format_),
        reference=None
        if reference is None
        else Tick(at=scale.up(reference), label=reference_label or format_(reference)),
    )


def _place(week: date, first: date, span_days: int) -> float:
    """From 4% to 96%, so that the first and the last dot are whole."""
    return round(4 + 92 * (week - first).days / span_days, 2)


def _dot(week: date, figure: Interval, scale: Scale, x: float, format_: Format) -> Dot:
    value = figure.value if figure.value is not None else 0.0
    return Dot(
        x=x,
        y=scale.up(value),
        low=scale.up(value if figure.low is None else figure.low),
        high=scale.up(value if figure.high is None else figure.high),
        label=f"Week of {spell_day(week)}: {format_(value)}",
    )


def _runs(weeks: Sequence[date], dots: Sequence[Dot]) -> list[list[Dot]]:
    """The dots in stretches of weeks that follow on each other."""
    runs: list[list[Dot]] = []
    for place, dot in enumerate(dots):
        if place and (weeks[place] - weeks[place - 1]).days <= 7:
            runs[-1].append(dot)
        else:
            runs.append([dot])
    return runs


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + " L".join(f"{x:g} {y:g}" for x, y in points)


def _band(run: Sequence[Dot]) -> str:
    upper = [(dot.x, dot.high) for dot in run]
    lower = [(dot.x, dot.low) for dot in reversed(run)]
    return _path([*upper, *lower]) + " Z"


def _week_ticks(weeks: Sequence[date], dots: Sequence[Dot]) -> list[Tick]:
    every = max(1, -(-len(weeks) // 6))
    return [
        Tick(
            at=dot.x,
            label=spell_day(week),
            wide=(len(weeks) - 1 - place) // every % 2 == 1,
        )
        for place, (week, dot) in enumerate(zip(weeks, dots, strict=True))
        if (len(weeks) - 1 - place) % every == 0
    ]


def _trend(known: Sequence[tuple[date, Interval]], format_: Format) -> str:
    """One sentence: from where to where, and whether the intervals still meet."""
    if not known:
        return "No week has enough for a figure yet."
    (first_week, first), (last_week, last) = known[0], known[-1]
    if first.value is None or last.value is None or first_week == last_week:
        return f"{format_(last.value or 0)} in the week of {spell_day(last_week)}."
    moved = f"From {format_(first.value)} to {format_(last.value)} in {len(known)} weeks"
    if first.low is None or first.high is None or last.low is None or last.high is None:
        return f"{moved}."
    if last.low > first.high or last.high < first.low:
        return f"{moved}: the intervals of the first and the last week do not meet."
    return f"{moved}: the intervals of the first and the last week overlap."


def _week_table(weeks: Sequence[tuple[date, Interval]], noun: str, format_: Format) -> Table:
    return Table(
        columns=["Week of", "Figure", "95% interval", f"{noun.capitalize()}s"],
        rows=[
            [
                week.isoformat(),
                MISSING if figure.value is None else format_(figure.value),
                describe_interval(figure, format_) or MISSING,
                f"{figure.n:,}",
            ]
            for week, figure in weeks
        ],
    )
