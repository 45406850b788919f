"""Plots of pairs: when they were made, which models win them, how long their texts are, and which
ranks were given."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from math import ceil
from urllib.parse import urlencode

from app.preferences.statistics import MOST_RANKS, Lengths, LengthSpan, ModelRanks, ModelWins
from app.web.filters import plural
from app.web.plots import (
    BarPlot,
    ForestPlot,
    as_count,
    as_percent,
    describe_interval,
    leaves_out,
    plot_forest,
)
from app.web.plots.bars import Bar
from app.web.plots.matrix import HeatCell
from app.web.plots.scales import Scale, Table, Tick, nice_steps, spell_day, upright_ticks

MOST_BARS = 60
LEAST_BARS = 7
MOST_MODELS = 16
LEAST_SPANS = 3
"""Of a difference in length, to either side."""
EVEN = 0.5
RANK_STEPS = (0.1, 0.2, 0.3, 0.4)
"""Where the five shades of a rank's share meet."""


@dataclass(frozen=True, kw_only=True)
class TimeUnit:
    """How long a bar of time is."""

    name: str
    start: Callable[[date], date]
    """The first day of the unit that a day is in."""
    label: Callable[[date], str]


DAY = TimeUnit(name="day", start=lambda day: day, label=spell_day)
WEEK = TimeUnit(name="week", start=lambda day: day - timedelta(days=day.weekday()), label=spell_day)
MONTH = TimeUnit(
    name="month", start=lambda day: day.replace(day=1), label=lambda day: f"{day:%b %Y}"
)
YEAR = TimeUnit(
    name="year", start=lambda day: day.replace(month=1, day=1), label=lambda day: f"{day.year}"
)


@dataclass(frozen=True, kw_only=True)
class RankTable:
    """How often each model's completions were given each rank: a row for each, shaded."""

    key: str
    title: str
    finding: str
    columns: list[str]
    rows: list[tuple[str, list[HeatCell]]]
    legend: list[str]


def plot_times(days: Mapping[date, int]) -> BarPlot:
    """A bar for each day, week, month or year, so that there are not too many of them."""
    title = "When their rankings were made"
    if not days:
        return _no_bars("times", title)
    first, last = min(days), max(days)
    unit = next(
        (one for one in (DAY, WEEK, MONTH) if len(_units(one, first, last)) <= MOST_BARS), YEAR
    )
    counts: Counter[date] = Counter()
    for day, count in days.items():
        counts[unit.start(day)] += count
    places = _units(unit, first, last)
    while len(places) < LEAST_BARS:
        places.insert(0, unit.start(places[0] - timedelta(days=1)))
    best = max(places, key=lambda place: counts[place])
    finding = f"{plural(sum(days.values()), 'pair')}, {_period(first, last)}, by {unit.name}"
    if len(counts) > 1:
        finding += f"; the most {_on(unit, best)} ({counts[best]:,})"
    every = ceil(len(places) / 6)
    return _bar_plot(
        "times",
        title,
        f"{finding}.",
        [counts[place] for place in places],
        [_on(unit, place).removeprefix("on ") for place in places],
        x_ticks=[
            Tick(
                at=round(100 * (place + 0.5) / len(places), 2),
                label=unit.label(day),
                wide=(len(places) - 1 - place) // every % 2 == 1,
            )
            for place, day in enumerate(places)
            if (len(places) - 1 - place) % every == 0
        ],
        first_column=unit.name.capitalize(),
        cells=[place.isoformat() for place in places],
    )


def _period(first: date, last: date) -> str:
    if first == last:
        return f"{spell_day(last)} {last.year}"
    year = f" {first.year}" if first.year != last.year else ""
    return f"{spell_day(first)}{year} to {spell_day(last)} {last.year}"


def _units(unit: TimeUnit, first: date, last: date) -> list[date]:
    """The first day of each unit from that of `first` to that of `last`."""
    starts = [unit.start(last)]
    while starts[-1] > unit.start(first):
        starts.append(unit.start(starts[-1] - timedelta(days=1)))
    return starts[::-1]


def _on(unit: TimeUnit, day: date) -> str:
    if unit is DAY:
        return f"on {spell_day(day)}"
    return f"in the week of {spell_day(day)}" if unit is WEEK else f"in {unit.label(day)}"


def plot_wins(wins: Sequence[ModelWins], address: str) -> ForestPlot:
    """A row for each model: its share of the pairs against other models."""
    shown = wins[:MOST_MODELS]
    better = [one.model or "unnamed" for one in wins if _above_even(one)]
    if not wins:
        finding = "It takes pairs between the completions of two models."
    elif not better:
        finding = "No model wins more than half of its pairs beyond doubt."
    else:
        finding = f"More than half beyond doubt: {', '.join(better[:3])}"
        finding += f" and {len(better) - 3} more." if len(better) > 3 else "."
    if len(wins) > MOST_MODELS:
        finding += f" The best {MOST_MODELS} of {len(wins)} are shown."
    plot = plot_forest(
        "wins",
        "Which model wins",
        [
            (
                one.model or "unnamed",
                f"{address}?{urlencode({'model': one.model})}" if one.model else "",
                one.share,
            )
            for one in shown
        ],
        row_title="Model",
        noun="pair",
        finding=finding,
        reference=EVEN,
        reference_label="50%",
    )
    # To win more or less than half is no alarm: nothing is marked as off.
    return replace(plot, rows=[replace(row, off=False) for row in plot.rows])


def _above_even(one: ModelWins) -> bool:
    return leaves_out(one.share, EVEN) and (one.share.value or 0) > EVEN


def plot_lengths(lengths: Lengths) -> BarPlot:
    """Bars for how much longer the chosen text is, in spans that grow to both sides of 0."""
    title = "How much longer the chosen text is"
    spans = _without_empty_ends(lengths.spans)
    counts = [span.pairs for span in spans]
    share = lengths.longer_wins
    if lengths.mean_chosen is None or lengths.mean_rejected is None:
        return _no_bars("lengths", title)
    finding = "All texts are equally long."
    if share.value is not None:
        interval = describe_interval(share)
        finding = (
            f"The longer text wins {as_percent(share.value)}"
            f"{f' ({interval})' if interval else ''} of {plural(share.n, 'pair')} of unlike "
            f"length. On average chosen texts have {as_count(lengths.mean_chosen)} characters, "
            f"rejected ones {as_count(lengths.mean_rejected)}."
        )
    width = 100 / len(counts)
    middle = len(counts) // 2
    ticks = [
        Tick(
            at=round(width * (place if place > middle else place + 1), 2),
            label=_signed(span.low if place > middle else span.high),
            wide=abs(place - middle) % 3 != 1,
        )
        for place, span in enumerate(spans)
        if place != middle and _signed(span.low if place > middle else span.high)
    ]
    return _bar_plot(
        "lengths",
        title,
        finding,
        counts,
        [_spell_span(span) for span in spans],
        x_ticks=ticks,
        first_column="Characters longer",
        cells=[_spell_span(span) for span in spans],
        reference=Tick(at=50, label="equally long"),
    )


def _without_empty_ends(spans: Sequence[LengthSpan]) -> Sequence[LengthSpan]:
    """The spans up to the farthest with a pair, as many to either side."""
    reach = len(spans) // 2
    while reach > LEAST_SPANS and not spans[0].pairs and not spans[-1].pairs:
        spans = spans[1:-1]
        reach -= 1
    return spans


def _signed(value: int | None) -> str:
    return "" if value is None else f"{value:+,}".replace("-", "−")


def _spell_span(span: LengthSpan) -> str:
    if span.low == span.high == 0:
        return "equally long"
    if span.low is None or span.high is None:
        low = span.high if span.low is None else span.low
        return f"{_signed(low)} or {'less' if span.low is None else 'more'}"
    return f"{_signed(span.low)} to {_signed(span.high)}"


def plot_ranks(models: Sequence[ModelRanks]) -> RankTable:
    """A row for each model and a column for each rank, the best model first."""
    ranked = [one for one in models if one.ranked][:MOST_MODELS]
    last = max((rank for one in ranked for rank in one.ranks), default=0)
    total = sum(one.ranked for one in ranked)
    tied = sum(one.tied for one in ranked)
    finding = "Nothing is ranked."
    if total:
        finding = (
            f"{plural(total, 'completion')} ranked; {tied / total:.0%} share their rank with "
            "another one."
        )
    columns = [
        *(f"{rank}{'+' if rank == MOST_RANKS else ''}" for rank in range(1, last + 1)),
        "tied",
        "not ranked",
    ]
    return RankTable(
        key="ranks",
        title="Which ranks each model gets",
        finding=finding,
        columns=columns,
        rows=[
            (
                one.model or "unnamed",
                [
                    *(
                        _rank_cell(one.ranks.get(rank, 0), one.ranked)
                        for rank in range(1, last + 1)
                    ),
                    _plain_cell(one.tied, one.ranked),
                    _plain_cell(one.unranked, one.ranked + one.unranked),
                ],
            )
            for one in ranked
        ],
        legend=["under 10%", "10–20%", "20–30%", "30–40%", "40% or more"],
    )


def _rank_cell(count: int, total: int) -> HeatCell:
    share = count / total
    shade = bisect_right(RANK_STEPS, share)
    return HeatCell(text=as_percent(share), note=f"{count:,}", shade=shade, title="")


def _plain_cell(count: int, total: int) -> HeatCell:
    return HeatCell(text=as_percent(count / total), note=f"{count:,}", shade=None, title="")


def _bar_plot(
    key: str,
    title: str,
    finding: str,
    counts: Sequence[int],
    labels: Sequence[str],
    *,
    x_ticks: list[Tick],
    first_column: str,
    cells: Sequence[str],
    reference: Tick | None = None,
) -> BarPlot:
    steps = [step for step in nice_steps(0, max(counts) or 1, 4) if step == int(step)]
    top, width = steps[-1], 100 / len(counts)
    bars = [
        Bar(
            x=round(width * (place + 0.08), 2),
            y=round(100 - 100 * count / top, 2),
            width=round(width * 0.84, 2),
            height=round(100 * count / top, 2),
            label=f"{label}: {plural(count, 'pair')}",
        )
        for place, (count, label) in enumerate(zip(counts, labels, strict=True))
        if count
    ]
    return BarPlot(
        key=key,
        title=title,
        finding=finding,
        bars=bars,
        x_ticks=x_ticks,
        y_ticks=upright_ticks(Scale(low=0, high=top), steps, as_count),
        table=Table(
            columns=[first_column, "Pairs"],
            rows=[[cell, f"{count:,}"] for cell, count in zip(cells, counts, strict=True) if count],
        ),
        reference=reference,
    )


def _no_bars(key: str, title: str) -> BarPlot:
    return BarPlot(
        key=key,
        title=title,
        finding="There is no pair.",
        bars=[],
        x_ticks=[],
        y_ticks=[],
        table=Table(columns=[], rows=[]),
    )
