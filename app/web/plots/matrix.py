"""Every labeler against every other: a table of numbers, shaded."""

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
) -> HeatMatrix:
    """A symmetric matrix of the named; a figure is found under either order of its two names.

    Cells counted from fewer than `least` keep their number and get no shade.
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
                    first,
                    second,
                    figures.get((first, second)) or figures.get((second, first)),
                    noun,
                    least,
                    steps,
                    format_,
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
    )


def _cell(
    first: str,
    second: str,
    figure: Interval | None,
    noun: str,
    least: int,
    steps: Sequence[float],
    format_: Format,
) -> HeatCell:
    if first == second:
        return HeatCell(text="", note="", shade=None, title="")
    if figure is None or figure.value is None:
        return HeatCell(text="–", note="", shade=None, title=f"{first} and {second}: no {noun}")
    interval = describe_interval(figure, format_)
    return HeatCell(
        text=format_(figure.value),
        note=f"{figure.n:,}",
        shade=bisect_right(steps, figure.value) if figure.n >= least else None,
        title=f"{first} and {second}: {format_(figure.value)}"
        + (f" ({interval})" if interval else "")
        + f", {figure.n:,} {noun}{'' if figure.n == 1 else 's'}",
    )
