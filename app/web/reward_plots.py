"""The plots of a reward model's report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import floor, log10

from app.web.filters import plural
from app.web.plots import (
    CalibrationBin,
    CalibrationPlot,
    ForestPlot,
    MirroredPlot,
    as_percent,
    lies_below,
    plot_calibration,
    plot_forest,
    plot_mirrored,
)
from app.web.plots.scales import Format
from app.web.reward_words import WELL_CALIBRATED, Metrics, Share, read_share

MOST_ROWS = 20


@dataclass(frozen=True, kw_only=True)
class Named:
    """A row of the report under the name that it has on the page; no address, no link."""

    label: str
    href: str
    share: Share


def plot_floors(metrics: Metrics) -> ForestPlot:
    """The accuracy between what costs nothing and what people reach, then on parts of the pairs."""
    pairs = metrics.get("eval_pairs") or 0
    longer, agreement = metrics.get("longer_wins_accuracy"), metrics.get("human_agreement")
    rows: list[tuple[str, Share, str]] = [
        ("A constant reward", Share(value=0.5), "floor"),
        ("The longer completion", Share(value=longer), "floor"),
        ("This model", read_share(metrics, "eval_pairs"), ""),
        ("Two labelers agree", Share(value=agreement), "ceiling"),
    ]
    unseen, unsure = metrics.get("held_out_labelers"), metrics.get("uncertainty")
    if unseen:
        who = plural(unseen["labelers"], "labeler")
        rows.append((f"On {who} left out of training", read_share(unseen), ""))
    for name, words in (("sure", "Where its heads agree"), ("unsure", "Where they differ")):
        if unsure:
            rows.append((words, read_share(unsure[name]), ""))
    shown = [row for row in rows if row[1].value is not None]
    plot = plot_forest(
        "floors",
        "Accuracy, with floors and ceiling",
        [(label, "", share) for label, share, _ in shown],
        row_title="Who decides",
        noun="pair",
        finding=_floors_finding(metrics, pairs),
    )
    return replace(
        plot,
        rows=[
            replace(row, count=words) if words else row
            for row, (_, _, words) in zip(plot.rows, shown, strict=True)
        ],
    )


def _floors_finding(metrics: Metrics, pairs: int) -> str:
    prompts = plural(metrics.get("eval_prompts") or 0, "prompt")
    said = f"Of {plural(pairs, 'pair')} on {prompts} that it was not trained on."
    if metrics.get("human_agreement") is None:
        said += " No two people ranked the same of them, so there is no ceiling to show."
    return said


def plot_distances(metrics: Metrics) -> ForestPlot | None:
    """Accuracy by how far apart the labeler placed the two; None where it is not known."""
    rows = metrics.get("by_rank_distance") or []
    if not rows:
        return None
    near, far = rows[0], rows[-1]
    finding = "Every pair lies as far apart."
    if len(rows) > 1:
        finding = (
            f"{as_percent(near['accuracy'])} of neighbours, {as_percent(far['accuracy'])} of those "
            f"{far['distance']} ranks apart: "
        )
        finding += (
            "what people find easy is easy for it too."
            if far["accuracy"] > near["accuracy"]
            else "it is no better where people see a clear difference. Look at its mistakes."
        )
    return plot_forest(
        "distances",
        "By distance in rank",
        [
            (f"{plural(row['distance'], 'rank')} apart", "", read_share(row))
            for row in rows[:MOST_ROWS]
        ],
        row_title="Distance",
        noun="pair",
        finding=finding,
        reference=0.5,
        reference_label="a coin",
        only_below=True,
    )


def plot_parts(
    key: str, title: str, row_title: str, parts: Sequence[Named], overall: float | None
) -> ForestPlot | None:
    """Accuracy of each part, the largest first, against that of all pairs."""
    if not parts or overall is None:
        return None
    shown = sorted(parts, key=lambda part: -part.share.n)[:MOST_ROWS]
    return plot_forest(
        key,
        title,
        [(part.label, part.href, part.share) for part in shown],
        row_title=row_title,
        noun="pair",
        finding=_parts_finding(shown, overall),
        reference=overall,
        reference_label=f"the {as_percent(overall)} of all pairs",
        only_below=True,
    )


def _parts_finding(parts: Sequence[Named], overall: float) -> str:
    below = [part.label for part in parts if lies_below(part.share, overall)]
    if not below:
        return f"None lies surely below the {as_percent(overall)} of all pairs."
    named = ", ".join(below[:3]) + (f" and {len(below) - 3} more" if len(below) > 3 else "")
    return f"Surely below the {as_percent(overall)} of all pairs: {named}."


def plot_sureness(metrics: Metrics) -> CalibrationPlot | None:
    """How often it is right by how sure it is; None where it is not known."""
    bins = [
        CalibrationBin(
            low=one["from"],
            high=one["to"],
            sureness=one["confidence"],
            right=one["accuracy"],
            n=one["pairs"],
        )
        for one in metrics.get("calibration") or []
        if "confidence" in one
    ]
    if not bins:
        return None
    return plot_calibration(
        "calibration", "Calibration", bins, finding=_calibration_finding(bins), noun="pair"
    )


def _calibration_finding(bins: Sequence[CalibrationBin]) -> str:
    pairs = sum(one.n for one in bins)
    sure = sum(one.sureness * one.n for one in bins) / pairs
    right = sum(one.right * one.n for one in bins) / pairs
    said = f"It is {as_percent(sure)} sure on average and right {as_percent(right)} of the time: "
    if abs(sure - right) < WELL_CALIBRATED:
        return f"{said}about as often as it says."
    return f"{said}{'too sure of itself' if sure > right else 'less sure than it could be'}."


def plot_rewards(metrics: Metrics) -> MirroredPlot | None:
    """Rewards of chosen and of rejected completions; None where they are not known."""
    chosen, rejected = metrics.get("chosen_histogram"), metrics.get("rejected_histogram")
    if not chosen or not rejected or not chosen["counts"]:
        return None
    edges = chosen["edges"]
    format_ = reward_format(edges[-1] - edges[0])
    better, worse = _mean_of(chosen), _mean_of(rejected)
    return plot_mirrored(
        "rewards",
        "Rewards of chosen and rejected",
        edges,
        chosen["counts"],
        rejected["counts"],
        finding=f"Chosen completions get about {format_(better)} on average, rejected ones about "
        f"{format_(worse)}.",
        up_title="Chosen",
        down_title="Rejected",
        x_title="Reward",
        noun="pair",
        format_=format_,
    )


def _mean_of(histogram: Mapping[str, Sequence[float]]) -> float:
    """From the middles of the bins."""
    edges, counts = histogram["edges"], histogram["counts"]
    middles = [(low + high) / 2 for low, high in pairwise(edges)]
    weighed = sum(middle * count for middle, count in zip(middles, counts, strict=True))
    return weighed / max(sum(counts), 1)


def reward_format(span: float) -> Format:
    """As many decimals as tell rewards of such a span apart, with a real minus."""
    digits = max(0, 1 - floor(log10(span))) if span > 0 else 2

    def written(value: float) -> str:
        text = f"{value:.{digits}f}"
        return text.replace("-", "−") if float(text) else text.lstrip("-")

    return written
