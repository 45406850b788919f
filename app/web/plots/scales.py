"""What every plot is made of: scales from values to percent, ticks, and numbers in words."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from app.web.filters import number, percent

MISSING = "–"
Format = Callable[[float], str]


class Interval(Protocol):
    """A figure with its 95% interval and what it was counted from; None where there is none."""

    @property
    def value(self) -> float | None:
        """The figure."""

    @property
    def low(self) -> float | None:
        """The lower end."""

    @property
    def high(self) -> float | None:
        """The upper end."""

    @property
    def n(self) -> int:
        """What it was counted from."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """The numbers behind a plot; the first cell of a row names it."""

    columns: list[str]
    rows: list[list[str]]


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A labelled place on an axis, in percent; `wide` ones are left out where there is no room."""

    at: float
    label: str
    wide: bool = False
    anchor: str = "middle"


@dataclass(frozen=True, kw_only=True)
class Scale:
    """From values to percent of the plotting area."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """The place of a value, held inside the area."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(max(share, 0.0), 1.0), 2)

    def up(self, value: float) -> float:
        """The same from the upper edge, as SVG counts."""
        return round(100 - self.at(value), 2)


def as_percent(value: float) -> str:
    """A share as a whole percentage."""
    return percent(value, 0)


def as_count(value: float) -> str:
    """A whole number."""
    return number(round(value))


def as_decimal(value: float) -> str:
    """Two decimals, with a real minus."""
    return f"{value:.2f}".replace("-", "−")


def as_seconds(value: float) -> str:
    """Milliseconds as "4.5 s", "45 s", "1:30 min"."""
    seconds = value / 1000
    if seconds < 59.5:
        return f"{seconds:.2g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min"


def spell_day(day: date) -> str:
    """A day without its year, such as "3 Nov"."""
    return f"{day.day} {day:%b}"


def nice_steps(low: float, high: float, most: int = 5) -> list[float]:
    """At most `most` + 1 round numbers, evenly spaced, that enclose low and high."""
    if high <= low:
        high = low + 1
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    for factor in (1, 2, 2.5, 5, 10, 20):
        step = power * factor
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if last - first <= most:
            break
    return [round(place * step, 10) for place in range(first, last + 1)]


def fit_scale(
    values: Sequence[float], *, floor: float | None = None, ceiling: float | None = None
) -> tuple[Scale, list[float]]:
    """A scale that shows every value, never beyond floor and ceiling, and its round steps."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if high - low < 1e-9:
        low, high = low - 0.1 * (abs(low) or 1), high + 0.1 * (abs(high) or 1)
    low = low if floor is None else max(low, floor)
    high = high if ceiling is None else min(high, ceiling)
    steps = nice_steps(low, high)
    return Scale(low=steps[0], high=steps[-1]), steps


def upright_ticks(scale: Scale, steps: Sequence[float], format_: Format) -> list[Tick]:
    """A tick for each step of an axis that goes up."""
    return [Tick(at=scale.up(step), label=format_(step)) for step in steps]


def describe_interval(value: Interval, format_: Format = as_percent) -> str:
    """ "76% to 86%"; empty where there is no interval."""
    if value.low is None or value.high is None:
        return ""
    return f"{format_(value.low)} to {format_(value.high)}"
