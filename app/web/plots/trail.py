"""Where two figures went together, step after step, beside fixed points to compare with."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.web.plots.scales import Format, Table, Tick, fit_scale, upright_ticks
from app.web.plots.scatter import NARROW_PIXELS, choose_sides, find_room

WIDTH_PIXELS = 300
"""Of the plotting area where three plots stand beside each other."""


@dataclass(frozen=True, kw_only=True)
class TrailPoint:
    """A named place: a step of the way, or something to compare it with."""

    name: str
    x: float
    y: float


@dataclass(frozen=True, kw_only=True)
class TrailDot:
    """A point in percent from the left and upper edges.

    Its name is written where it covers no other and no point: `narrow` on a phone too.
    """

    x: float
    y: float
    name: str
    label: str
    on_left: bool
    narrow: bool
    wide: bool


@dataclass(frozen=True, kw_only=True)
class TrailPlot:
    """One figure against another over the steps of a run."""

    key: str
    title: str
    finding: str
    x_title: str
    y_title: str
    line: str
    """A path on a square of 100 by 100 that is stretched over the plotting area."""
    dots: list[TrailDot]
    marks: list[TrailDot]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    table: Table


def plot_trail(
    key: str,
    title: str,
    way: Sequence[TrailPoint],
    marks: Sequence[TrailPoint],
    *,
    finding: str,
    x_title: str,
    y_title: str,
    x_format: Format,
    y_format: Format,
) -> TrailPlot:
    """A line through the steps in their order, its two ends named; `marks` stand beside it."""
    everything = [*way, *marks]
    x_scale, x_steps = fit_scale([point.x for point in everything], floor=0.0)
    y_scale, y_steps = fit_scale([point.y for point in everything])

    places = [(x_scale.at(point.x), y_scale.up(point.y)) for point in everything]
    ends = (0, len(way) - 1)
    names = [
        point.name if place in ends or place >= len(way) else ""
        for place, point in enumerate(everything)
    ]
    sides = choose_sides(places, names, WIDTH_PIXELS)
    narrow = find_room(places, names, sides, NARROW_PIXELS)
    wide = find_room(places, names, sides, WIDTH_PIXELS)
    drawn = [
        TrailDot(
            x=x,
            y=y,
            name=names[place],
            label=f"{point.name}: {x_title} {x_format(point.x)}, {y_title} {y_format(point.y)}",
            on_left=sides[place],
            narrow=place in narrow,
            wide=place in wide,
        )
        for place, (point, (x, y)) in enumerate(zip(everything, places, strict=True))
    ]
    dots = drawn[: len(way)]
    return TrailPlot(
        key=key,
        title=title,
        finding=finding,
        x_title=x_title,
        y_title=y_title,
        line="M" + " L".join(f"{one.x:g} {one.y:g}" for one in dots) if len(dots) > 1 else "",
        dots=dots,
        marks=drawn[len(way) :],
        x_ticks=[
            Tick(at=x_scale.at(step), label=x_format(step), wide=place % 2 == 1)
            for place, step in enumerate(x_steps)
        ],
        y_ticks=upright_ticks(y_scale, y_steps, y_format),
        table=Table(
            columns=["Where", x_title.capitalize(), y_title.capitalize()],
            rows=[[point.name, x_format(point.x), y_format(point.y)] for point in everything],
        ),
    )
