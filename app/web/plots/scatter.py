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
WIDE_PIXELS = 460
LONGEST_NAME = 18
NARROW_HEIGHT_PIXELS = 220
TARGET_PIXELS = 28

Box = tuple[float, float, float, float]
"""Left, right, top, bottom, in percent."""


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
    is room. A dot too close to another one has no address: nobody could hit it.
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
    sides = choose_sides(places, names, WIDE_PIXELS)
    narrow = find_room(places, names, sides, NARROW_PIXELS)
    wide = find_room(places, names, sides, WIDE_PIXELS)
    apart = find_apart(places)
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
                href=point.href if place in apart else "",
                label=f"{point.name}: {x_format(point.x)} {x_title}, {y_format(value)} {y_title}",
                on_left=sides[place],
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
    places: Sequence[tuple[float, float]],
    names: Sequence[str],
    on_left: Sequence[bool],
    width_pixels: int,
) -> set[int]:
    """Which names can be written beside their dots without covering another name or dot."""
    boxes: list[Box] = []
    room = set()
    for index, (place, name, left) in enumerate(zip(places, names, on_left, strict=True)):
        box = _name_box(place, name, left, width_pixels)
        others = [other for other in range(len(places)) if other != index]
        if _is_free(box, [places[other] for other in others], boxes):
            boxes.append(box)
            room.add(index)
    return room


def choose_sides(
    places: Sequence[tuple[float, float]], names: Sequence[str], width_pixels: int
) -> list[bool]:
    """For each name whether it stands left of its dot: where there is room, or else inwards."""
    boxes: list[Box] = []
    sides = []
    for index, (place, name) in enumerate(zip(places, names, strict=True)):
        inwards = place[0] > 60
        others = [other for other in range(len(places)) if other != index]
        dots = [places[other] for other in others]
        chosen = inwards
        for side in (inwards, not inwards):
            box = _name_box(place, name, side, width_pixels)
            if _is_free(box, dots, boxes):
                boxes.append(box)
                chosen = side
                break
        sides.append(chosen)
    return sides


def _name_box(place: tuple[float, float], name: str, left: bool, width_pixels: int) -> Box:
    x, y = place
    length = 100 * (len(name) * LETTER_PIXELS + LABEL_GAP_PIXELS) / width_pixels
    return (
        x - length if left else x,
        x if left else x + length,
        y - LABEL_HEIGHT / 2,
        y + LABEL_HEIGHT / 2,
    )


def _is_free(box: Box, dots: Sequence[tuple[float, float]], boxes: Sequence[Box]) -> bool:
    left, right, top, bottom = box
    if left < -12 or right > 104:
        return False
    if any(left <= x <= right and top <= y <= bottom for x, y in dots):
        return False
    return not any(
        left < other[1] and other[0] < right and top < other[3] and other[2] < bottom
        for other in boxes
    )


def find_apart(places: Sequence[tuple[float, float]]) -> set[int]:
    """Dots that a finger can hit on a phone without hitting another one."""
    apart: set[int] = set()
    for index, (x, y) in enumerate(places):
        if all(
            abs(x - places[other][0]) * NARROW_PIXELS / 100 >= TARGET_PIXELS
            or abs(y - places[other][1]) * NARROW_HEIGHT_PIXELS / 100 >= TARGET_PIXELS
            for other in apart
        ):
            apart.add(index)
    return apart
