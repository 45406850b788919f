"""One figure against another, a named dot for each labeler."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.web.plots.scales import (
    Format,
    Interval,
    Table,
    Tick,
    as_count,
    as_percent,
    describe_interval,
    fit_scale,
    upright_ticks,
)

LABEL_HEIGHT = 8.0
"""Of a dot's name, in percent of the height of the plotting area."""
LETTER_PIXELS = 6.8
"""Of a letter of a name, on average."""
LABEL_GAP_PIXELS = 10
NARROW_PIXELS = 230
WIDE_PIXELS = 560
LONGEST_NAME = 18


@dataclass(frozen=True, kw_only=True)
class ScatterPoint:
    """One named point before it has a place: `y` has an interval, `x` has none."""

    name: str
    href: str
    x: float
    y: Interval


@dataclass(frozen=True, kw_only=True)
class ScatterDot:
    """A named dot, in percent from the left and upper edges.

    Its name is written where no other is in the way: `narrow` on a phone too, `wide` where there
    is room.
    """

    x: float
    y: float
    low: float
    high: float
    name: str
    short_name: str
    href: str
    label: str
    on_left: bool
    narrow: bool
    wide: bool


@dataclass(frozen=True, kw_only=True)
class ScatterPlot:
    """One figure against another."""

    key: str
    title: str
    finding: str
    x_title: str
    y_title: str
    dots: list[ScatterDot]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    table: Table


def plot_scatter(
    key: str,
    title: str,
    points: Sequence[ScatterPoint],
    *,
    finding: str,
    x_title: str,
    y_title: str,
    name_title: str = "Labeler",
    x_format: Format = as_count,
    y_format: Format = as_percent,
) -> ScatterPlot:
    """A dot for each point that has a `y`; the names keep out of each other's way."""
    shown = [point for point in points if point.y.value is not None]
    edges = [
        edge
        for point in shown
        for edge in (point.y.value, point.y.low, point.y.high)
        if edge is not None
    ]
    y_scale, y_steps = fit_scale(edges, floor=0.0, ceiling=1.0)
    x_scale, x_steps = fit_scale([point.x for point in shown], floor=0.0)
    places = [(x_scale.at(point.x), y_scale.up(point.y.value or 0.0)) for point in shown]
    names = [_shorten(point.name) for point in shown]
    narrow = find_room(places, names, NARROW_PIXELS)
    wide = find_room(places, names, WIDE_PIXELS)
    dots = []
    for place, point in enumerate(shown):
        x, y = places[place]
        value = point.y.value or 0.0
        dots.append(
            ScatterDot(
                x=x,
                y=y,
                low=y_scale.up(value if point.y.low is None else point.y.low),
                high=y_scale.up(value if point.y.high is None else point.y.high),
                name=point.name,
                short_name=names[place],
                href=point.href,
                label=f"{point.name}: {x_format(point.x)} {x_title}, {y_format(value)} {y_title}",
                on_left=x > 60,
                narrow=place in narrow,
                wide=place in wide,
            )
        )
    return ScatterPlot(
        key=key,
        title=title,
        finding=finding,
        x_title=x_title,
        y_title=y_title,
        dots=dots,
        x_ticks=[
            Tick(at=x_scale.at(step), label=x_format(step), wide=place % 2 == 1)
            for place, step in enumerate(x_steps)
        ],
        y_ticks=upright_ticks(y_scale, y_steps, y_format),
        table=Table(
            columns=[name_title, x_title, y_title, "95% interval"],
            rows=[
                [
                    point.name,
                    x_format(point.x),
                    y_format(point.y.value or 0.0),
                    describe_interval(point.y, y_format) or "–",
                ]
                for point in shown
            ],
        ),
    )


def _shorten(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def find_room(
    places: Sequence[tuple[float, float]], names: Sequence[str], width_pixels: int
) -> set[int]:
    """Which names can be written beside their dots without covering another name or dot."""
    boxes: list[tuple[float, float, float, float]] = []
    room = set()
    for index, ((x, y), name) in enumerate(zip(places, names, strict=True)):
        length = 100 * (len(name) * LETTER_PIXELS + LABEL_GAP_PIXELS) / width_pixels
        left, right = (x - length, x) if x > 60 else (x, x + length)
        top, bottom = y - LABEL_HEIGHT / 2, y + LABEL_HEIGHT / 2
        covers_dot = any(
            other != index and left <= dot_x <= right and top <= dot_y <= bottom
            for other, (dot_x, dot_y) in enumerate(places)
        )
        covers_name = any(
            left < box[1] and box[0] < right and top < box[3] and box[2] < bottom for box in boxes
        )
        if left < -12 or right > 104 or covers_dot or covers_name:
            continue
        boxes.append((left, right, top, bottom))
        room.add(index)
    return room
