"""Many nameless points, and a line through the means of their parts."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.web.plots.scales import Format, Table, Tick, fit_scale, upright_ticks


@dataclass(frozen=True, kw_only=True)
class CloudPart:
    """What lies between two values of x: the means of both figures, from `n` points."""

    low: float
    high: float
    x: float
    y: float
    n: int


@dataclass(frozen=True, kw_only=True)
class CloudDot:
    """A point, in percent from the left and upper edges."""

    x: float
    y: float
    label: str = ""


@dataclass(frozen=True, kw_only=True)
class CloudPlot:
    """One figure against another, from so many that none has a name."""

    key: str
    title: str
    finding: str
    x_title: str
    y_title: str
    dots: list[CloudDot]
    means: list[CloudDot]
    line: str
    """Through the means: a path on a square of 100 by 100 that is stretched over the area."""
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    table: Table


def plot_cloud(
    key: str,
    title: str,
    points: Sequence[tuple[float, float]],
    parts: Sequence[CloudPart],
    *,
    finding: str,
    x_title: str,
    y_title: str,
    noun: str,
    x_format: Format,
    y_format: Format,
) -> CloudPlot:
    """A dot for each (x, y), x from 0 on; the table behind has the parts."""
    x_scale, x_steps = fit_scale([*(x for x, _ in points), *(part.x for part in parts)], floor=0.0)
    y_scale, y_steps = fit_scale([*(y for _, y in points), *(part.y for part in parts)])
    spans = [f"{x_format(part.low)} to {x_format(part.high)}" for part in parts]
    means = [
        CloudDot(
            x=x_scale.at(part.x),
            y=y_scale.up(part.y),
            label=f"{span} {x_title}: {y_format(part.y)} on average, "
            f"{part.n:,} {noun}{'' if part.n == 1 else 's'}",
        )
        for part, span in zip(parts, spans, strict=True)
    ]
    return CloudPlot(
        key=key,
        title=title,
        finding=finding,
        x_title=x_title,
        y_title=y_title,
        dots=[CloudDot(x=x_scale.at(x), y=y_scale.up(y)) for x, y in points],
        means=means,
        line="M" + " L".join(f"{dot.x:g} {dot.y:g}" for dot in means) if len(means) > 1 else "",
        x_ticks=[
            Tick(at=x_scale.at(step), label=x_format(step), wide=place % 2 == 1)
            for place, step in enumerate(x_steps)
        ],
        y_ticks=upright_ticks(y_scale, y_steps, y_format),
        table=Table(
            columns=[
                x_title.capitalize(),
                f"{y_title.capitalize()}, mean",
                f"{noun.capitalize()}s",
            ],
            rows=[
                [span, y_format(part.y), f"{part.n:,}"]
                for span, part in zip(spans, parts, strict=True)
            ],
        ),
    )
