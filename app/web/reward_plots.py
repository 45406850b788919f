"""The plots of a reward model's report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import floor, log10

from app.web.filters import plural
from app.web.plots import (
    CalibrationBin,
    CalibrationPlot,
    CloudPart,
    CloudPlot,
    ForestPlot,
    MirroredPlot,
    as_count,
    as_decimal,
    as_percent,
    describe_interval,
    lies_below,
    plot_calibration,
    plot_cloud,
    plot_forest,
    plot_mirrored,
)
from app.web.plots.scales import Format
from app.web.reward_words import WELL_CALIBRATED, Metrics, Share, read_share

MOST_ROWS = 20
COIN = 0.5


@dataclass(frozen=True, kw_only=True)
class Named:
    """A row of the report under the name that it has on the page; no address, no link."""

    label: str
    href: str
    share: Share


def plot_floors(metrics: Metrics) -> ForestPlot:
    """The accuracy between what costs nothing and what people reach, then on parts of the pairs."""
    pairs = metrics.get("eval_pairs") or 0
    longer = read_share(metrics, "eval_pairs", "longer_wins_accuracy")
    agreement = read_share(metrics, "human_agreement_pairs", "human_agreement")
    rows: list[tuple[str, Share, str]] = [
        ("A constant reward", Share(value=COIN), "floor, whatever the pairs"),
        ("The longer completion", longer, "floor"),
        ("This model", read_share(metrics, "eval_pairs"), ""),
        ("Two labelers agree", agreement, "ceiling"),
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
            replace(row, count=f"{row.count}, {words}" if share.n else words) if words else row
            for row, (_, share, words) in zip(plot.rows, shown, strict=True)
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
        reference=COIN,
        reference_label="a coin",
        bad_below=COIN,
    )


def plot_parts(
    key: str, title: str, row_title: str, parts: Sequence[Named], overall: float | None
) -> ForestPlot | None:
    """Accuracy of each part, the largest first, beside that of all pairs.

    Half of the parts lie below the whole; marked is only what a coin would do better.
    """
    if not parts or overall is None:
        return None
    shown = sorted(parts, key=lambda part: -part.share.n)[:MOST_ROWS]
    return plot_forest(
        key,
        title,
        [(part.label, part.href, part.share) for part in shown],
        row_title=row_title,
        noun="pair",
        finding=_parts_finding(row_title.lower(), shown, overall),
        reference=overall,
        reference_label=f"the {as_percent(overall)} of all pairs",
        bad_below=COIN,
    )


def _parts_finding(noun: str, parts: Sequence[Named], overall: float) -> str:
    worse = [part.label for part in parts if lies_below(part.share, COIN)]
    below = [part.label for part in parts if lies_below(part.share, overall)]
    said = f"Surely worse than a coin: {_name_some(worse)}. Read what it gets wrong there. "
    if not worse:
        said = f"It is surely worse than a coin on no {noun}. "
    whole = f"the {as_percent(overall)} of all pairs, where the line is"
    if not below:
        return f"{said}None lies surely below {whole}."
    return f"{said}Surely below {whole}: {_name_some(below)}."


def _name_some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def plot_lengths(metrics: Metrics) -> CloudPlot | None:
    """Rewards of held-out completions by their length; None where they are not known."""
    sample = metrics.get("length_sample")
    if not sample or not sample["points"]:
        return None
    points = [(length, reward) for length, reward in sample["points"]]
    rewards = [reward for _, reward in points]
    return plot_cloud(
        "lengths",
        "Reward and length",
        points,
        [
            CloudPart(
                low=part["from"],
                high=part["to"],
                x=part["length"],
                y=part["reward"],
                n=part["completions"],
            )
            for part in sample["fifths"]
        ],
        finding=_lengths_finding(metrics),
        x_title="characters",
        y_title="reward",
        noun="completion",
        x_format=as_count,
        y_format=reward_format(max(rewards) - min(rewards)),
    )


def lengths_note(metrics: Metrics) -> str:
    """Which completions the dots are, and what the line is."""
    sample = metrics.get("length_sample")
    if not sample:
        return ""
    shown, whole = len(sample["points"]), sample["completions"]
    which = (
        f"A dot is a held-out completion, {shown:,} of {whole:,} drawn at random"
        if shown < whole
        else f"A dot is a held-out completion, all {whole:,} of them"
    )
    return (
        f"{which}. The line goes through the means of five equal parts by length; it and the "
        "correlation are of all of them."
    )


def _lengths_finding(metrics: Metrics) -> str:
    correlation = metrics.get("length_correlation")
    if correlation is None:
        return "All rewards or all lengths are the same, so there is no correlation."
    interval = metrics.get("length_correlation_ci95")
    low, high = interval or (None, None)
    found = Share(value=correlation, low=low, high=high)
    said = f"Correlation {as_decimal(correlation)}"
    if interval:
        said += f" (95% interval {describe_interval(found, as_decimal)})"
    longer = metrics.get("longer_wins_accuracy")
    if longer is None:
        return f"{said}."
    return f"{said}; people prefer the longer completion in {as_percent(longer)} of the pairs."


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
