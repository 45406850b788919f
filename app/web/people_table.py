"""The table of a project's labelers: what each cell says, and in which order the rows come."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from app.labeling.estimates import Estimate
from app.labeling.quality import LabelerQuality
from app.models import User
from app.web.figures import labeler_href
from app.web.plots import (
    ScatterPlot,
    ScatterPoint,
    Sparkline,
    as_percent,
    as_seconds,
    describe_interval,
    leaves_out,
    lies_below,
    plot_scatter,
    spark_days,
)

FAIR = 0.5
LEAST_PAIRS = 10
WIDEST_INTERVAL = 0.4
"""A figure from fewer pairs, or with a wider interval, is not shown: it would be read as more than
it is."""
RECENT_DAYS = 14
Key = Callable[[LabelerQuality], float | str | None]


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column that can be sorted by; `descending` is the way it is sorted first."""

    name: str
    label: str
    key: Key
    descending: bool = True


@dataclass(frozen=True, kw_only=True)
class FigureCell:
    """A figure in a cell: `value` says so where there is too little for one."""

    value: str
    interval: str = ""
    count: str = ""
    mark: str = ""
    """What stands out about it, in a word or two."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One labeler as the table shows them."""

    labeler: LabelerQuality
    account: User | None
    href: str
    spark: Sparkline
    pace: str
    median: str
    agreement: FigureCell
    gold: FigureCell
    first_slot: FigureCell
    consistency: FigureCell


@dataclass(frozen=True, kw_only=True)
class Heading:
    """A column's heading: its link sorts by it, or the other way round."""

    label: str
    name: str
    query: str
    order: str
    """`ascending` or `descending` where the table is sorted by it, else empty."""


def known(figure: Estimate) -> bool:
    """Whether there is enough for a figure that says something."""
    if figure.low is None or figure.high is None or figure.n < LEAST_PAIRS:
        return False
    return figure.high - figure.low <= WIDEST_INTERVAL


def _value(figure: Estimate) -> float | None:
    return figure.value if known(figure) else None


def _from_fair(labeler: LabelerQuality) -> float | None:
    value = _value(labeler.first_slot)
    return None if value is None else abs(value - FAIR)


def recent_rankings(labeler: LabelerQuality, today: date) -> int:
    """Rankings of the last 14 days."""
    first = today - timedelta(days=RECENT_DAYS - 1)
    return sum(count for day, count in labeler.days.items() if day >= first)


def columns_on(today: date) -> list[Column]:
    """Every column of the table, from the left."""
    return [
        Column(name="name", label="Labeler", key=lambda one: one.labeler, descending=False),
        Column(name="rankings", label="Rankings", key=lambda one: one.rankings),
        Column(name="recent", label="14 days", key=lambda one: recent_rankings(one, today)),
        Column(name="pace", label="Per active hour", key=lambda one: one.per_active_hour),
        Column(name="time", label="Median time", key=lambda one: one.median_active_ms),
        Column(
            name="agreement",
            label="Agreement",
            key=lambda one: _value(one.agreement),
            descending=False,
        ),
        Column(
            name="gold", label="Gold", key=lambda one: _value(one.gold_accuracy), descending=False
        ),
        Column(name="first", label="First place", key=_from_fair),
        Column(
            name="consistency",
            label="Self-consistency",
            key=lambda one: _value(one.self_consistency),
            descending=False,
        ),
        Column(name="skips", label="Skips", key=lambda one: one.skips),
    ]


def headings(columns: Sequence[Column], sort: str, descending: bool) -> list[Heading]:
    """What the heads of the columns say and where they lead."""
    found = []
    for column in columns:
        here = column.name == sort
        turned = not descending if here else column.descending
        found.append(
            Heading(
                label=column.label,
                name=column.name,
                query=f"?sort={column.name}&order={'desc' if turned else 'asc'}",
                order=("descending" if descending else "ascending") if here else "",
            )
        )
    return found


def sort_labelers(
    labelers: Sequence[LabelerQuality], column: Column, *, descending: bool
) -> list[LabelerQuality]:
    """By a column, those without a figure last either way, and alike ones by name."""
    named = sorted(labelers, key=lambda one: one.labeler)
    have = [one for one in named if column.key(one) is not None]
    have.sort(key=lambda one: column.key(one) or 0, reverse=descending)
    return have + [one for one in named if column.key(one) is None]


def build_row(
    project_id: str,
    labeler: LabelerQuality,
    account: User | None,
    overall: float | None,
    today: date,
) -> Row:
    """A labeler's cells; `overall` is the agreement of all together."""
    below = overall is not None and lies_below(labeler.agreement, overall)
    return Row(
        labeler=labeler,
        account=account,
        href=labeler_href(project_id, labeler.labeler),
        spark=spark_days(labeler.days, today, length=RECENT_DAYS),
        pace="–" if labeler.per_active_hour is None else f"{labeler.per_active_hour:,.0f}",
        median="–" if labeler.median_active_ms is None else as_seconds(labeler.median_active_ms),
        agreement=figure_cell(labeler.agreement, mark="below others" if below else ""),
        gold=figure_cell(labeler.gold_accuracy),
        first_slot=figure_cell(labeler.first_slot, mark=first_slot_mark(labeler.first_slot)),
        consistency=figure_cell(labeler.self_consistency),
    )


def figure_cell(figure: Estimate, *, mark: str = "") -> FigureCell:
    """A share with its interval and n, or that there is too little for one."""
    if not known(figure):
        few = f"too few, n {figure.n:,}" if figure.n else "none yet"
        return FigureCell(value="", count=few)
    return FigureCell(
        value=as_percent(figure.value or 0.0),
        interval=describe_interval(figure),
        count=f"n {figure.n:,}",
        mark=mark,
    )


def first_slot_mark(figure: Estimate) -> str:
    """Whether the completion shown first is preferred or passed over beyond chance."""
    if not known(figure) or not leaves_out(figure, FAIR):
        return ""
    return "prefers first" if (figure.value or 0.0) > FAIR else "avoids first"


def plot_speed(
    project_id: str, labelers: Sequence[LabelerQuality], overall: float | None
) -> ScatterPlot | None:
    """Speed against agreement, for those of whom both are known; None for fewer than two.

    Rules have no pace: simulated labelers are left out where there are people.
    """
    both = [one for one in labelers if one.per_active_hour is not None and known(one.agreement)]
    people = [one for one in both if not one.simulated]
    both = people if len(people) > 1 else both
    if len(both) < 2:
        return None
    paces = sorted(one.per_active_hour or 0.0 for one in both)
    middle = paces[len(paces) // 2]
    hasty = [
        one.labeler
        for one in both
        if (one.per_active_hour or 0.0) > middle
        and overall is not None
        and lies_below(one.agreement, overall)
    ]
    return plot_scatter(
        "speed",
        "Speed against agreement",
        [
            ScatterPoint(
                name=one.labeler,
                href=labeler_href(project_id, one.labeler),
                x=one.per_active_hour or 0.0,
                y=one.agreement,
            )
            for one in both
        ],
        finding=f"Faster than most and clearly below others in agreement: {', '.join(hasty)}."
        if hasty
        else "Nobody is both faster than most and clearly below others in agreement.",
        x_title="rankings per active hour",
        y_title="agreement with others",
    )
