"""What the report of a reward model comes to, in words. app/training/reward_report.py says what its
metrics hold; a model of an earlier version lacks some of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import log
from typing import Any

from app.models import Model, ModelKind
from app.web.figures import Figure, in_bands
from app.web.filters import plural
from app.web.plots import as_decimal, as_percent, describe_interval, lies_below

Metrics = Mapping[str, Any]

COIN = 0.5
CONSTANT_LOSS = log(2)
LEAST_GAIN = 0.005
WELL_CALIBRATED = 0.03
LEAST_CORRELATION = 0.1


@dataclass(frozen=True, kw_only=True)
class Share:
    """A share with its 95% interval, counted from `n`; None where there is none."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0


HEADLINES = {
    "accuracy",
    "accuracy_ci95",
    "log_loss",
    "reward_std",
    "length_correlation",
    "length_correlation_ci95",
    "longer_wins_accuracy",
    "longer_wins_accuracy_ci95",
    "gain_over_longer",
    "gain_over_longer_ci95",
    "human_agreement",
    "human_agreement_ci95",
    "eval_pairs",
    "eval_prompts",
}
"""What a model's own page shows of its report."""


class Standing(StrEnum):
    """How a reward model stands beside what costs nothing."""

    ABOVE = "above"
    BELOW = "below"
    OPEN = "open"
    COLLAPSED = "collapsed"
    UNTESTED = "untested"


BADGES = {
    Standing.ABOVE: "above its floors",
    Standing.BELOW: "below a floor",
    Standing.OPEN: "cannot tell yet",
    Standing.COLLAPSED: "collapsed",
    Standing.UNTESTED: "not tested",
}
COLORS = {
    Standing.ABOVE: "green",
    Standing.BELOW: "red",
    Standing.OPEN: "yellow",
    Standing.COLLAPSED: "red",
    Standing.UNTESTED: "secondary",
}


def read_share(row: Metrics, count: str = "pairs", name: str = "accuracy") -> Share:
    """A figure of a row of the report, the accuracy unless another is named."""
    low, high = row.get(f"{name}_ci95") or (None, None)
    return Share(value=row.get(name), low=low, high=high, n=row.get(count) or 0)


def best_floor(metrics: Metrics) -> float:
    """What costs nothing: a coin, or the longer of two completions."""
    return max(COIN, metrics.get("longer_wins_accuracy") or 0.0)


def find_standing(metrics: Metrics) -> Standing:
    """Where it surely lies: its accuracy beside a coin, its gain over the longer beside nothing.

    The gain is paired by prompt, which tells more than two intervals side by side. Of a model whose
    gain was not measured the whole interval of its accuracy counts.
    """
    accuracy = read_share(metrics)
    if accuracy.value is None:
        return Standing.UNTESTED
    if metrics.get("collapsed"):
        return Standing.COLLAPSED
    gain = read_share(metrics, name="gain_over_longer")
    if accuracy.low is not None and gain.low is not None:
        if accuracy.low > COIN and gain.low > 0:
            return Standing.ABOVE
        lost = lies_below(accuracy, COIN) or lies_below(gain, 0.0)
        return Standing.BELOW if lost else Standing.OPEN
    if accuracy.low is not None and accuracy.low > best_floor(metrics):
        return Standing.ABOVE
    if accuracy.high is not None and accuracy.high < best_floor(metrics):
        return Standing.BELOW
    return Standing.OPEN


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A report in short: a sentence, and what it means."""

    sentence: str
    words: str
    badge: str
    color: str


def summarise_report(model: Model) -> Summary | None:
    """The report of a reward model that was tested here; None for every other model."""
    standing = find_standing(model.metrics)
    if model.kind != ModelKind.REWARD_MODEL or standing == Standing.UNTESTED:
        return None
    return Summary(
        sentence=report_sentence(model.metrics),
        words=standing_words(model.metrics),
        badge=BADGES[standing],
        color=COLORS[standing],
    )


def report_sentence(metrics: Metrics) -> str:
    """How often it is right, beside its floor and its ceiling."""
    accuracy = read_share(metrics, "eval_pairs")
    if accuracy.value is None:
        return "It was not tested on held-out rankings."
    interval = describe_interval(accuracy)
    parts = [
        f"Right on {as_percent(accuracy.value)}"
        f"{f' (95% interval {interval})' if interval else ''} of "
        f"{plural(accuracy.n, 'held-out pair')}"
    ]
    longer, agreement = metrics.get("longer_wins_accuracy"), metrics.get("human_agreement")
    if longer is not None:
        parts.append(f"the longer completion wins {as_percent(longer)}")
    if agreement is not None:
        parts.append(f"two labelers agree on {as_percent(agreement)}")
    return f"{'; '.join(parts)}."


def standing_words(metrics: Metrics) -> str:
    """What that means, and what to do about it."""
    standing = find_standing(metrics)
    if standing == Standing.COLLAPSED:
        return (
            "This model collapsed: it gives all completions nearly the same reward (standard "
            f"deviation {metrics['reward_std']:.2g}), and a policy tuned against it would learn "
            "next to nothing. Look at the loss of its job. Where it stayed near 0.69, train again "
            "with a higher learning rate or more epochs; where it jumped, with a lower rate. Then "
            "look at whether labelers agree at all."
        )
    if (gain := gain_sentence(metrics)) and standing in NEXT_STEPS:
        return f"{gain} {NEXT_STEPS[standing]}".rstrip()
    floor = as_percent(best_floor(metrics))
    if standing == Standing.ABOVE:
        return f"Its whole interval lies above {floor}, what costs nothing."
    if standing == Standing.BELOW:
        return (
            f"Its whole interval lies below {floor}, what costs nothing. Do not tune a policy "
            "against it: read its mistakes, collect more rankings, and train again."
        )
    if metrics.get("accuracy_ci95") is None:
        return (
            "All held-out pairs belong to one prompt, which tells no interval. Rank completions of "
            "more prompts and train again."
        )
    return (
        f"Its interval holds {floor}, what costs nothing, so nobody can tell whether it learned "
        "more than that. Rankings of more prompts narrow the interval and teach it more."
    )


NEXT_STEPS = {
    Standing.ABOVE: "",
    Standing.BELOW: (
        "Do not tune a policy against it: read its mistakes, collect more rankings, and train "
        "again."
    ),
    Standing.OPEN: "Rankings of more prompts narrow the interval and teach it more.",
}


def gain_sentence(metrics: Metrics) -> str:
    """Whether it beats preferring the longer completion, and a coin; empty if not measured."""
    gain = read_share(metrics, name="gain_over_longer")
    if gain.value is None or gain.low is None or gain.high is None:
        return ""
    more = f"{as_points(abs(gain.value))} {'fewer' if gain.value < 0 else 'more'} of the same pairs"
    measured = (
        f"it is right on {more} (95% interval of the difference {as_points(gain.low, '')} to "
        f"{as_points(gain.high)}, paired by prompt)"
    )
    if gain.low > 0:
        said = f"It beats “the longer completion wins”: {measured}."
    elif gain.high < 0:
        said = f"“The longer completion wins” beats it: {measured}."
    else:
        said = f"Whether it beats “the longer completion wins” is open: {measured}."
    accuracy = read_share(metrics)
    if lies_below(accuracy, COIN):
        return f"{said} A coin beats it too." if gain.high < 0 else f"{said} But a coin beats it."
    if accuracy.low is not None and accuracy.low <= COIN:
        return f"{said} It is not surely better than a coin."
    return said


def as_points(share: float, unit: str = " points") -> str:
    """A difference of shares in percentage points, with a real minus."""
    return f"{100 * share:.1f}".replace("-", "−") + unit


def report_figures(metrics: Metrics) -> list[Figure]:
    """The figures that are not shares of pairs, each with what it means."""
    pairs = plural(metrics.get("eval_pairs") or 0, "pair")
    prompts = plural(metrics.get("eval_prompts") or 0, "prompt")
    return [
        _figure(
            "Log-loss",
            metrics.get("log_loss"),
            pairs,
            in_bands(
                (
                    CONSTANT_LOSS - LEAST_GAIN,
                    "No better than one reward for everything.",
                ),
                (0.55, "A little better than a constant reward."),
                otherwise="Much better than a constant reward.",
            ),
            "The mean of −log of the probability that it gave to what the labeler chose.",
            "0 is perfect; a constant reward gives 0.69. Being sure and wrong costs most.",
        ),
        _figure(
            "Calibration error",
            metrics.get("calibration_error"),
            pairs,
            in_bands(
                (0.1, "Its probabilities cannot be taken at their word."),
                (WELL_CALIBRATED, "Its probabilities are somewhat off."),
                otherwise="Its probabilities can be taken at their word.",
            ),
            "How far its sureness is from how often it is right, on average over the pairs.",
            "0 is perfect. It changes no order, only how sure differences of rewards are.",
            as_percent,
        ),
        _figure(
            "Spread of rewards",
            metrics.get("reward_std"),
            prompts,
            in_bands(
                (0.3, "It tells completions apart."),
                (0.01, "It tells completions apart, but only just."),
                otherwise="It collapsed: all completions get nearly the same reward.",
            ),
            "The standard deviation of the rewards of all held-out completions.",
            "Two completions one apart are 73% against 27% to it. Below 0.01 it has collapsed.",
            _three_digits,
        ),
        _figure(
            "Correlation with length",
            metrics.get("length_correlation"),
            prompts,
            in_bands(
                (0.5, "It mostly likes what is longer: a policy will learn to write more."),
                (LEAST_CORRELATION, "It likes longer completions somewhat better."),
                (-LEAST_CORRELATION, "Length tells nothing of its rewards."),
                otherwise="It likes shorter completions better.",
            ),
            "Pearson’s correlation of the reward with the length in characters.",
            "Compare with how often the longer completion wins among people.",
        ),
    ]


def _figure(
    name: str,
    value: float | None,
    count: str,
    read: Any,
    meaning: str,
    scale: str,
    format_: Any = as_decimal,
) -> Figure:
    return Figure(
        name=name,
        value="–" if value is None else format_(value),
        interval="",
        count=count,
        reading="Not defined for these rankings." if value is None else read(value),
        meaning=meaning,
        scale=scale,
    )


def _three_digits(value: float) -> str:
    return f"{value:.3g}"
