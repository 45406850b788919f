"""Everyone against everyone: a table of numbers, shaded."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from app.web.plots.scales import Format, Interval, as_percent, describe_interval

HEAT_STEPS = (0.5, 0.6, 0.7, 0.8)
"""Where the five shades meet."""


@dataclass(frozen=True, kw_only=True)
class HeatCell:
    """What a cell says, how dark it is (0 to 4; None where there is nothing), and all of it."""

    text: str
    note: str
    shade: int | None
    title: str
    href: str = ""


@dataclass(frozen=True, kw_only=True)
class HeatMatrix:
    """Every name against every other; `legend` names the shades from light to dark."""

    key: str
    title: str
    finding: str
    names: list[tuple[str, str]]
    """Each with its address, which may be empty."""
    rows: list[list[HeatCell]]
    legend: list[str]
    numbered: bool
    """Names are too long and too alike for the heads of columns, which have their numbers."""


def plot_matrix(
    key: str,
    title: str,
    names: Sequence[tuple[str, str]],
    figures: Mapping[tuple[str, str], Interval],
    *,
    finding: str,
    noun: str,
    least: int = 1,
    steps: Sequence[float] = HEAT_STEPS,
    format_: Format = as_percent,
    between: str = "and",
    hrefs: Mapping[tuple[str, str], str] | None = None,
    numbered: bool = False,
) -> HeatMatrix:
    """The row's name against the column's; where a figure is found under one order of its two names
    only, it is that of both.

    Cells counted from fewer than `least` keep their number and get no shade. `hrefs` are where
    cells lead; `between` stands between the two names in what a cell is called.
    """
    bounds = [format_(step) for step in steps]
    return HeatMatrix(
        key=key,
        title=title,
        finding=finding,
        names=list(names),
        rows=[
            [
                _cell(
                    f"{first} {between} {second}" if first != second else "",
                    figures.get((first, second)) or figures.get((second, first)),
                    noun,
                    least,
                    steps,
                    format_,
                    (hrefs or {}).get((first, second), ""),
                )
                for second, _ in names
            ]
            for first, _ in names
        ],
        legend=[
            f"under {bounds[0]}",
            *(f"{low}–{high}" for low, high in pairwise(bounds)),
            f"{bounds[-1]} or more",
        ],
        numbered=numbered,
    )


def _cell(
    called: str,
    figure: Interval | None,
    noun: str,
    least: int,
    steps: Sequence[float],
    format_: Format,
    href: str,
) -> HeatCell:
    if not called:
        return HeatCell(text="", note="", shade=None, title="")
    if figure is None or figure.value is None:
        return HeatCell(text="–", note="", shade=None, title=f"{called}: no {noun}")
    interval = describe_interval(figure, format_)
    return HeatCell(
        text=format_(figure.value),
        note=f"{figure.n:,}",
        shade=bisect_right(steps, figure.value) if figure.n >= least else None,
        title=f"{called}: {format_(figure.value)}"
        + (f" ({interval})" if interval else "")
        + f", {figure.n:,} {noun}{'' if figure.n == 1 else 's'}",
        href=href,
    )
