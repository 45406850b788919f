"""Figures with their intervals in words: what they mean, and how their size reads."""

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

from app.labeling.agreement import Agreement
from app.labeling.estimates import Estimate
from app.labeling.quality import ProjectQuality
from app.web.plots import as_decimal, as_percent, describe_interval


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure as its card shows it: the number, its interval, of how many, and what it means."""

    name: str
    value: str
    interval: str
    count: str
    reading: str
    meaning: str
    scale: str


def figure_of(
    name: str,
    estimate: Estimate,
    noun: str,
    *,
    format_: Callable[[float], str],
    read: Callable[[float], str],
    meaning: str,
    scale: str,
) -> Figure:
    """The card of an estimate; without a value the reading says so."""
    return Figure(
        name=name,
        value="–" if estimate.value is None else format_(estimate.value),
        interval=describe_interval(estimate, format_),
        count=f"{estimate.n:,} {noun}{'' if estimate.n == 1 else 's'}",
        reading="Not defined for these rankings."
        if estimate.value is None
        else read(estimate.value),
        meaning=meaning,
        scale=scale,
    )


def in_bands(*bands: tuple[float, str], otherwise: str) -> Callable[[float], str]:
    """What is said of a value: the words of the first band whose lower edge it reaches."""

    def read(value: float) -> str:
        return next((words for edge, words in bands if value >= edge), otherwise)

    return read


def agreement_figures(agreement: Agreement) -> list[Figure]:
    """The four figures with what each means; how a size reads is said where there is a source."""
    return [
        figure_of(
            "Pairwise agreement",
            agreement.pairwise_agreement,
            "pair",
            format_=as_percent,
            read=in_bands(
                (0.8, "High: they nearly always say the same."),
                (0.7, "Usual: what careful labelers of open-ended prompts reach."),
                (0.6, "Modest: better than guessing, with much taste or noise in it."),
                otherwise="Low: near what guessing gives.",
            ),
            meaning="How often two labelers say the same of two completions: the first is better, "
            "the second is, or they are equal.",
            scale="Guessing without ties gives 50%. InstructGPT reports 73% to 77% for its "
            "labelers.",
        ),
        figure_of(
            "Kendall’s τ-b",
            agreement.kendall_tau_b,
            "comparison",
            format_=as_decimal,
            read=in_bands(
                (0.6, "High: the orders are close to each other."),
                (0.4, "Usual: like orders with some swaps."),
                (0.2, "Modest: a common direction, many swaps."),
                otherwise="Low: the orders have little in common.",
            ),
            meaning="How alike two labelers order a whole task, ties allowed for; the mean over "
            "all twos of labelers and tasks.",
            scale="1 is the same order, 0 unrelated, −1 the exact reversal. Without ties it is "
            "twice the pairwise agreement less 1.",
        ),
        figure_of(
            "Kendall’s W",
            agreement.kendall_w,
            "task",
            format_=as_decimal,
            read=in_bands(
                (0.8, "High: a task’s labelers share one order."),
                (0.6, "A shared order with swaps; compare with what guessing gives."),
                otherwise="Little more than two labelers reach by guessing.",
            ),
            meaning="How far all labelers of a task share one order, corrected for ties; the mean "
            "over tasks.",
            scale="1 is one shared order. Guessing gives 1 ÷ labelers: 0.50 for two, 0.33 for "
            "three.",
        ),
        figure_of(
            "Krippendorff’s α",
            agreement.krippendorff_alpha,
            "completion",
            format_=as_decimal,
            read=in_bands(
                (0.8, "Reliable by Krippendorff’s own measure."),
                (0.667, "Good for tentative conclusions."),
                (0.2, "Below 0.67, as usual for preferences, where tastes really differ."),
                otherwise="Close to chance.",
            ),
            meaning="Agreement on the rank of each completion beyond chance, with ordinal "
            "distances: first against last weighs more than first against second.",
            scale="1 is perfect, 0 is chance, below 0 is worse than chance.",
        ),
    ]


def trust_figures(quality: ProjectQuality) -> list[Figure]:
    """What can be checked without asking a second labeler of the same task."""
    return [
        figure_of(
            "Gold accuracy",
            quality.gold_accuracy,
            "pair",
            format_=as_percent,
            read=in_bands(
                (0.85, "High."), (0.7, "Fair."), otherwise="Low: look at the gold orders first."
            ),
            meaning="Pairs of gold tasks ordered as known to be right; a tie counts half.",
            scale="Mark tasks as gold, with their order, on the page of a round.",
        ),
        figure_of(
            "Agreement on calibration tasks",
            quality.calibration_agreement,
            "pair",
            format_=as_percent,
            read=in_bands((0.8, "High."), (0.7, "Usual."), otherwise="Modest or low."),
            meaning="Pairwise agreement where everybody ranks the same tasks: people can be "
            "compared fairly.",
            scale="Give a round a share of calibration tasks.",
        ),
        figure_of(
            "Self-consistency",
            quality.self_consistency,
            "pair",
            format_=as_percent,
            read=in_bands(
                (0.85, "High."), (0.75, "Fair."), otherwise="Low: close calls, or haste."
            ),
            meaning="Pairs on which a labeler says the same when a task comes back in another "
            "order. What they do not repeat themselves, others can hardly repeat.",
            scale="Set a share of repeats in the project’s settings.",
        ),
    ]


def labeler_href(project_id: str, labeler: str) -> str:
    """The page of one labeler; any name fits."""
    return f"/projects/{project_id}/people/labeler?{urlencode({'name': labeler})}"
