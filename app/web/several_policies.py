"""More than two policies of one round, drawn beside each other."""

from urllib.parse import urlencode

from app.evaluation.results import Evaluation
from app.evaluation.win_rates import Rate
from app.web.plots import ForestPlot, HeatMatrix, Interval, plot_forest, plot_matrix

EVEN = 0.5
RATE_STEPS = (0.35, 0.45, 0.55, 0.65)
"""Where the shades of win rates meet: the middle one is about even."""


def plot_strengths(found: Evaluation) -> ForestPlot | None:
    """The chance of each of more than two policies to be ranked above the old one."""
    if found.several is None or found.several.strengths is None:
        return None
    strengths, baseline = found.several.strengths, found.contestants.baseline.id
    pairs = zip(found.several.placed, strengths.strengths, strict=True)
    best_first = sorted(pairs, key=lambda one: -one[1].value)
    rows: list[tuple[str, str, Interval]] = [
        (
            policy,
            f"/models/{policy}",
            Rate(
                value=strength.beats_baseline,
                low=strength.beats_low if policy != baseline else None,
                high=strength.beats_high if policy != baseline else None,
                n=strengths.prompts,
                prompts=strengths.prompts,
                vote_variance=0.0,
            ),
        )
        for policy, strength in best_first
    ]
    return plot_forest(
        "strengths",
        "All policies",
        rows,
        row_title="Policy",
        noun="prompt",
        finding=f"The chance to be ranked above {baseline}, by Bradley–Terry strengths.",
        reference=EVEN,
        reference_label=baseline,
        bad_below=EVEN,
    )


def strengths_note(found: Evaluation) -> str:
    """How the strengths were found, and what is wrong with them."""
    note = "Intervals by resampling prompts."
    if found.several and found.several.strengths and found.several.strengths.bounded:
        note += (
            " Some policy never won or never lost: a tenth of a win each way keeps its strength "
            "finite."
        )
    return note


def unplaced_sentence(found: Evaluation) -> str:
    """Which policies have no strength, and why; empty where every one has."""
    if found.several is None:
        return ""
    if found.several.unplaced:
        names = ", ".join(found.several.unplaced)
        return (
            f"Nobody ranked {names} beside {found.contestants.baseline.id}, not even by way of "
            "others: nothing says how they compare."
        )
    if found.several.strengths is None:
        return "Strengths need rankings of two prompts at least."
    return ""


def plot_pairs(found: Evaluation) -> HeatMatrix | None:
    """Each of more than two policies against each other; cells lead to what is behind them."""
    several = found.several
    if several is None or not any(rate.n for rate in several.rates.values()):
        return None
    order = list(several.placed)
    if several.strengths is not None:
        strength = dict(zip(several.placed, several.strengths.strengths, strict=True))
        order.sort(key=lambda policy: -strength[policy].value)
    return plot_matrix(
        "pairs",
        "Each against each other",
        [(policy, f"/models/{policy}") for policy in (*order, *several.unplaced)],
        several.rates,
        finding="How often the policy of the row was ranked above that of the column, ties half; "
        "below it the number of rankings.",
        noun="ranking",
        steps=RATE_STEPS,
        between="against",
        hrefs={
            (first, second): pair_address(found.round.id, first, second)
            for (first, second), rate in several.rates.items()
            if rate.n
        },
        numbered=True,
    )


def pair_address(round_id: str, candidate: str, baseline: str) -> str:
    """The page of the verdict on these two."""
    query = urlencode({"candidate": candidate, "baseline": baseline})
    return f"/rounds/{round_id}/evaluation?{query}"
