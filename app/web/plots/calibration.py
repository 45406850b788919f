"""How often something sure of itself is right, beside the line on which the two are equal."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from app.web.plots.scales import Scale, Table, Tick, as_percent, fit_scale, upright_ticks

SMALLEST_RADIUS = 3.5
LARGEST_RADIUS = 9.0
LEAST_SURE = 0.5


@dataclass(frozen=True, kw_only=True)
class CalibrationBin:
    """What was said with a sureness between two bounds, all in shares of 1."""

    low: float
    high: float
    sureness: float
    """The mean of the bin."""
    right: float
    n: int


@dataclass(frozen=True, kw_only=True)
class CalibrationDot:
    """A bin in percent from the left and upper edges; the area of its dot grows with `n`."""

    x: float
    y: float
    radius: float
    count: str
    label: str


@dataclass(frozen=True, kw_only=True)
class CalibrationPlot:
    """Dots of bins; `line_from` and `line_to` are the heights of the line of equality."""

    key: str
    title: str
    finding: str
    x_title: str
    y_title: str
    line_from: float
    line_to: float
    dots: list[CalibrationDot]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    table: Table


def plot_calibration(
    key: str, title: str, bins: Sequence[CalibrationBin], *, finding: str, noun: str
) -> CalibrationPlot:
    """A dot for each bin, from a sureness of one half, which says nothing, to 1."""
    x_scale = Scale(low=LEAST_SURE, high=1.0)
    y_scale, y_steps = fit_scale(
        [LEAST_SURE, 1.0, *(one.right for one in bins)], floor=0.0, ceiling=1.0
    )
    most = max((one.n for one in bins), default=1)
    return CalibrationPlot(
        key=key,
        title=title,
        finding=finding,
        x_title="how sure it is",
        y_title="how often it is right",
        line_from=y_scale.up(LEAST_SURE),
        line_to=y_scale.up(1.0),
        dots=[
            CalibrationDot(
                x=x_scale.at(one.sureness),
                y=y_scale.up(one.right),
                radius=round(max(SMALLEST_RADIUS, LARGEST_RADIUS * sqrt(one.n / most)), 2),
                count=f"{one.n:,}",
                label=f"{as_percent(one.sureness)} sure, right {as_percent(one.right)} of the "
                f"time: {one.n:,} {noun}{'' if one.n == 1 else 's'}",
            )
            for one in bins
        ],
        x_ticks=[
            Tick(at=x_scale.at(step / 10), label=as_percent(step / 10), wide=step % 2 == 0)
            for step in range(5, 11)
        ],
        y_ticks=upright_ticks(y_scale, y_steps, as_percent),
        table=Table(
            columns=["Between", "Sure", "Right", f"{noun.capitalize()}s"],
            rows=[
                [
                    f"{as_percent(one.low)} and {as_percent(one.high)}",
                    as_percent(one.sureness),
                    as_percent(one.right),
                    f"{one.n:,}",
                ]
                for one in bins
            ],
        ),
    )
