"""What a tuning job's page makes of its series: where the time went, and what the reward cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.jobs.feed import Series
from app.models import Job
from app.web.plots.scales import Format
from app.web.plots.trail import TrailPlot, TrailPoint, plot_trail
from app.web.reward_plots import reward_format

STAGES = {
    "generate": "Generate completions",
    "score": "Score them",
    "logprobs": "Log-probabilities",
    "train": "Train",
}
"""Of an iteration of PPO, in their order; `train` is the update."""
REST = "Rest"
LEAST_SHARE = 0.005
"""A smaller rest is nothing to show."""
LOOK = "eval_"
TRAILS = (
    ("kl", "reward_mean", "Reward against KL", "KL, nats", "reward"),
    ("kl", "gold_mean", "Gold rule against KL", "KL, nats", "gold rule"),
    ("kl", "second_opinion_mean", "Second opinion against KL", "KL, nats", "second opinion"),
    ("length_mean", "reward_mean", "Reward against length", "tokens", "reward"),
)
"""Horizontal and vertical figure of each plot, its title and what its axes are."""


@dataclass(frozen=True, kw_only=True)
class StageTime:
    """A stage of an iteration: its mean seconds, and its share of the iteration."""

    label: str
    seconds: float
    share: float


def list_stage_times(series: Sequence[Series]) -> list[StageTime]:
    """The mean over all iterations; empty before the first one."""
    means = {
        one.name.removesuffix("_seconds"): sum(one.values) / len(one.values)
        for one in series
        if one.name.endswith("_seconds") and one.values
    }
    whole = means.get("iteration")
    if not whole or not any(stage in means for stage in STAGES):
        return []
    times = [(label, means[stage]) for stage, label in STAGES.items() if stage in means]
    rest = whole - sum(seconds for _, seconds in times)
    if rest > LEAST_SHARE * whole:
        times.append((REST, rest))
    return [
        StageTime(label=label, seconds=seconds, share=min(1.0, seconds / whole))
        for label, seconds in times
    ]


def count_iterations(series: Sequence[Series]) -> int:
    """How many iterations were reported."""
    return max((one.steps[-1] for one in series if one.name == "kl" and one.steps), default=0)


def plot_trails(series: Sequence[Series], outputs: Mapping[str, Any]) -> list[TrailPlot]:
    """The looks at held-out prompts on their way, with the untuned policy once it is done."""
    looks = {one.name.removeprefix(LOOK): one for one in series if one.name.startswith(LOOK)}
    plots = []
    for x_name, y_name, title, x_title, y_title in TRAILS:
        way = _join(looks.get(x_name), looks.get(y_name))
        if len(way) < 2:
            continue
        marks = _list_marks(outputs, x_name, y_name)
        places = [point.x for point in (*way, *marks)]
        values = [point.y for point in (*way, *marks)]
        y_format = reward_format(max(values) - min(values))
        plots.append(
            plot_trail(
                f"{y_name}-{x_name}".replace("_", "-"),
                title,
                way,
                marks,
                finding=_say_way(way, x_name, y_format),
                x_title=x_title,
                y_title=y_title,
                x_format=reward_format(max(places) - min(places)),
                y_format=y_format,
            )
        )
    return plots


def _join(x: Series | None, y: Series | None) -> list[TrailPoint]:
    if x is None or y is None:
        return []
    places = dict(zip(x.steps, x.values, strict=True))
    return [
        TrailPoint(name=f"iteration {step}", x=places[step], y=value)
        for step, value in zip(y.steps, y.values, strict=True)
        if step in places
    ]


def _list_marks(outputs: Mapping[str, Any], x_name: str, y_name: str) -> list[TrailPoint]:
    best_of = outputs.get("best_of") or {}
    found = (
        ("untuned", outputs.get("before") or {}),
        (f"best of {best_of.get('n')}, untuned", best_of),
    )
    return [
        TrailPoint(name=name, x=figures[x_name], y=figures[y_name])
        for name, figures in found
        if figures.get(x_name) is not None and figures.get(y_name) is not None
    ]


def _say_way(way: Sequence[TrailPoint], x_name: str, format_: Format) -> str:
    """From where to where, and where it was highest on the way."""
    first, last = way[0], way[-1]
    said = (
        f"From {format_(first.y)} at {_spell(x_name, first.x)} to {format_(last.y)} at "
        f"{_spell(x_name, last.x)}"
    )
    best = max(way, key=lambda point: point.y)
    if best is last:
        return f"{said}."
    return f"{said}; the highest was {format_(best.y)}, at {_spell(x_name, best.x)} ({best.name})."


def _spell(name: str, value: float) -> str:
    return f"a KL of {value:.2g}" if name == "kl" else f"{value:.0f} tokens"


def ending_sentence(job: Job, iterations: int) -> str:
    """Which iteration a PPO job kept, and why it ended when it did; empty of any other."""
    kept = job.outputs.get("kept_iteration")
    if not kept:
        return ""
    planned, stopped = job.config.get("iterations"), job.outputs.get("stopped")
    ran = iterations or planned or kept
    if stopped:
        ended = f"It stopped after iteration {ran} of {planned}: {stopped}."
    else:
        ended = f"It ran all of its {ran} iterations."
    if kept == ran:
        return f"{ended} The policy kept is that of the last one."
    return (
        f"{ended} The policy kept is that of iteration {kept}, the best of its looks at held-out "
        "prompts."
    )
