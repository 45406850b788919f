"""Two histograms on common bins, one upwards and one downwards from the same base."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from app.web.filters import plural
from app.web.plots.bars import Bar
from app.web.plots.scales import Format, Scale, Table, Tick, as_count, nice_steps

EVERY = 5
"""Bins from one labelled edge to the next."""
BASE = 50.0
"""Where the bars begin, in percent from the upper edge."""


@dataclass(frozen=True, kw_only=True)
class MirroredPlot:
    """Bars of one group above the base and of the other below it."""

    key: str
    title: str
    finding: str
    up_title: str
    down_title: str
    x_title: str
    up: list[Bar]
    down: list[Bar]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    table: Table


def plot_mirrored(
    key: str,
    title: str,
    edges: Sequence[float],
    up: Sequence[float],
    down: Sequence[float],
    *,
    finding: str,
    up_title: str,
    down_title: str,
    x_title: str,
    noun: str,
    format_: Format,
) -> MirroredPlot:
    """Counts of two groups between the same edges, which are one more than the counts."""
    spans = [f"{format_(low)} to {format_(high)}" for low, high in pairwise(edges)]
    steps = [step for step in nice_steps(0, max(*up, *down, 1), 2) if step == int(step)]
    top = steps[-1]
    width = 100 / max(len(spans), 1)

    def bars(counts: Sequence[float], *, upwards: bool) -> list[Bar]:
        shown = []
        for place, (count, span) in enumerate(zip(counts, spans, strict=True)):
            height = round(BASE * count / top, 2)
            if count:
                shown.append(
                    Bar(
                        x=round(width * (place + 0.03), 2),
                        y=round(BASE - height, 2) if upwards else BASE,
                        width=round(width * 0.94, 2),
                        height=height,
                        label=f"{span}: {plural(int(count), noun)}",
                    )
                )
        return shown

    scale = Scale(low=-top, high=top)
    return MirroredPlot(
        key=key,
        title=title,
        finding=finding,
        up_title=up_title,
        down_title=down_title,
        x_title=x_title,
        up=bars(up, upwards=True),
        down=bars(down, upwards=False),
        x_ticks=[
            Tick(at=round(width * place, 2), label=format_(edge), wide=place % (2 * EVERY) != 0)
            for place, edge in enumerate(edges)
            if place % EVERY == 0
        ],
        y_ticks=[
            Tick(at=scale.up(side * step), label=as_count(step))
            for step in steps
            for side in ((1, -1) if step else (1,))
        ],
        table=Table(
            columns=[x_title, up_title, down_title],
            rows=[
                [span, as_count(first), as_count(second)]
                for span, first, second in zip(spans, up, down, strict=True)
                if first or second
            ],
        ),
    )
