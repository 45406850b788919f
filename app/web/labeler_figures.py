"""What is known of one labeler's work, as figures in words and as plots."""

from datetime import date

from app.labeling.estimates import Estimate
from app.labeling.quality import LabelerQuality
from app.web.figures import Figure, figure_of, in_bands, labeler_href
from app.web.people_table import LEAST_PAIRS, first_slot_mark, known
from app.web.plots import (
    ForestPlot,
    LinePlot,
    as_percent,
    as_seconds,
    lies_below,
    plot_forest,
    plot_weeks,
)

LEAST_RANKINGS = 3
"""In a week, for its median time."""


def labeler_figures(labeler: LabelerQuality, overall: float | None) -> list[Figure]:
    """How good a labeler's rankings are, as far as it can be known."""
    mark = first_slot_mark(labeler.first_slot)
    return [
        figure_of(
            "Agreement with others",
            labeler.agreement,
            "pair",
            format_=as_percent,
            read=lambda _: _compare(labeler.agreement, overall),
            meaning="Pairs of completions on which they say the same as another labeler of the "
            "task.",
            scale=f"All labelers together: {as_percent(overall)}." if overall is not None else "",
        ),
        figure_of(
            "Gold accuracy",
            labeler.gold_accuracy,
            "pair",
            format_=as_percent,
            read=in_bands((0.85, "High."), (0.7, "Fair."), otherwise="Low."),
            meaning="Pairs of gold tasks ordered as known to be right; a tie counts half.",
            scale="",
        ),
        figure_of(
            "On calibration tasks",
            labeler.calibration_agreement,
            "pair",
            format_=as_percent,
            read=in_bands((0.8, "High."), (0.7, "Usual."), otherwise="Modest or low."),
            meaning="Agreement with others on the tasks that everybody ranks.",
            scale="",
        ),
        figure_of(
            "First place wins",
            labeler.first_slot,
            "pair",
            format_=as_percent,
            read=lambda _: {
                "prefers first": "Prefers what is shown first, beyond chance.",
                "avoids first": "Passes over what is shown first, beyond chance.",
            }.get(mark, "No sign of a preference for a place."),
            meaning="How often the completion shown first beats another.",
            scale="50% is fair.",
        ),
        figure_of(
            "Self-consistency",
            labeler.self_consistency,
            "pair",
            format_=as_percent,
            read=in_bands((0.85, "High."), (0.75, "Fair."), otherwise="Low."),
            meaning="Pairs on which a repeat says the same as the first time.",
            scale="",
        ),
    ]


def _compare(figure: Estimate, overall: float | None) -> str:
    if not known(figure) or overall is None or figure.low is None:
        return "Too little to say much."
    if lies_below(figure, overall):
        return "Clearly below all labelers together."
    if figure.low > overall:
        return "Clearly above all labelers together."
    return "Like all labelers together."


def plot_others(
    project_id: str, name: str, others: list[tuple[str, Estimate]], overall: float | None
) -> ForestPlot | None:
    """A labeler against each other one, the most alike last."""
    if not others:
        return None
    below = sum(overall is not None and lies_below(figure, overall) for _, figure in others)
    return plot_forest(
        "others",
        "Agreement with each other labeler",
        [
            (other, labeler_href(project_id, other), figure)
            for other, figure in sorted(others, key=lambda pair: (pair[1].value or 0.0, pair[0]))
        ],
        row_title="Labeler",
        noun="pair",
        finding=f"Clearly less than all labelers together with {below} of {len(others)}."
        if below
        else "With nobody clearly less than all labelers together.",
        reference=overall,
        reference_label="all together",
        bad_below=overall,
    )


def plot_labeler_weeks(labeler: LabelerQuality) -> list[LinePlot]:
    """Agreement, gold accuracy and median active time by week, where there is any."""
    series: list[tuple[str, str, list[tuple[date, Estimate]]]] = [
        (
            "week-agreement",
            "Agreement by week",
            [(week.week, week.agreement) for week in labeler.weeks],
        ),
        (
            "week-gold",
            "Gold accuracy by week",
            [(week.week, week.gold_accuracy) for week in labeler.weeks],
        ),
    ]
    plots = [
        plot_weeks(key, title, weeks, noun="pair", least=LEAST_PAIRS)
        for key, title, weeks in series
        if any(figure.value is not None for _, figure in weeks)
    ]
    times = [
        (
            week.week,
            Estimate(value=week.median_active_ms, low=None, high=None, n=week.rankings),
        )
        for week in labeler.weeks
    ]
    if any(figure.value is not None for _, figure in times):
        plots.append(
            plot_weeks(
                "week-time",
                "Median active time by week",
                times,
                noun="ranking",
                least=LEAST_RANKINGS,
                ceiling=None,
                format_=as_seconds,
            )
        )
    return plots
