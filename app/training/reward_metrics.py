"""How good a reward model is on rankings it did not see, with the floors and ceilings beside it."""

import math
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from app.training.ranked_task import RankedTask

CALIBRATION_BINS = 5
HISTOGRAM_BINS = 20
BOOTSTRAP_DRAWS = 1000
# Of all draws together, so that memory does not grow with the prompts.
GROUPS_AT_ONCE = 250_000


def evaluate_rewards(tasks: Sequence[RankedTask], rewards: Sequence[Tensor]) -> dict[str, Any]:
    """The report of a reward model, as numbers that JSON can carry.

    Every pair of every ranking counts once: `accuracy` is the share of pairs whose chosen
    completion has the higher reward, equal rewards counting half, so that a constant model reads
    0.5 and never 1; `log_loss` is the mean of −log σ(r_chosen − r_rejected), ln 2 for a constant
    model. `longer_wins_accuracy` is what preferring the longer text scores on the same pairs, the
    floor to beat, and `gain_over_longer` is the accuracy less that, paired by prompt;
    `human_agreement` is how often two labelers of a task agree on a pair both ordered, the ceiling.

    Args:
        tasks: ranked tasks.
        rewards: [K] float of each task, in order.

    Returns:
        `accuracy`, `log_loss`, `reward_mean`, `reward_std`, `length_correlation`,
        `longer_wins_accuracy`, `gain_over_longer`, `human_agreement`, `human_agreement_pairs`,
        `eval_pairs`, `eval_tasks`, `eval_prompts`, `calibration`, `calibration_error` and
        `histogram`; figures that do not exist (no pair, one labeler) are None. `accuracy`,
        `length_correlation`, `longer_wins_accuracy`, `gain_over_longer` and `human_agreement` come
        with their `_ci95`, a bootstrap over prompts.
    """
    margins, longer, prompts = [], [], []
    for task, scores in zip(tasks, rewards, strict=True):
        pairs = task.preferences().nonzero()
        chosen, rejected = pairs[:, 1], pairs[:, 2]
        lengths = torch.tensor([float(len(text)) for text in task.completions])
        margins.append(scores[chosen] - scores[rejected])
        longer.append(wins_of(lengths[chosen] - lengths[rejected]))
        prompts.extend([task.prompt_id] * len(pairs))
    margin = torch.cat(margins) if margins else torch.empty(0)
    everything = torch.cat(list(rewards)) if rewards else torch.empty(0)
    wins = wins_of(margin)
    longer_wins = torch.cat(longer) if longer else torch.empty(0)
    gain = wins - longer_wins
    correlation, correlation_ci95 = _length_correlation(tasks, everything)
    agreement, agreement_ci95, agreement_pairs = human_agreement(tasks)
    calibration, calibration_error = _calibration(margin)
    return {
        "accuracy": _mean(wins),
        "accuracy_ci95": bootstrap_interval(wins.tolist(), prompts),
        "log_loss": _mean(-torch.nn.functional.logsigmoid(margin)),
        "reward_mean": _mean(everything),
        "reward_std": _finite(everything.std(correction=0).item()) if len(everything) else None,
        "length_correlation": correlation,
        "length_correlation_ci95": correlation_ci95,
        "longer_wins_accuracy": _mean(longer_wins),
        "longer_wins_accuracy_ci95": bootstrap_interval(longer_wins.tolist(), prompts),
        "gain_over_longer": _mean(gain),
        "gain_over_longer_ci95": bootstrap_interval(gain.tolist(), prompts),
        "human_agreement": agreement,
        "human_agreement_ci95": agreement_ci95,
        "human_agreement_pairs": agreement_pairs,
        "eval_pairs": len(margin),
        "eval_tasks": len(tasks),
        "eval_prompts": len({task.prompt_id for task in tasks}),
        "calibration": calibration,
        "calibration_error": calibration_error,
        "histogram": histogram_of(everything),
    }


def human_agreement(tasks: Sequence[RankedTask]) -> tuple[float | None, list[float] | None, int]:
    """Share of completion pairs on which two labelers of a task say the same.

    Over every two rankings of a task and every pair that both of them order. No reward model can be
    expected to agree with a labeler more often.

    Returns:
        The share, its 95% interval (bootstrap over prompts), and of how many pairs; the share is
        None where no task has two rankings.
    """
    counted: dict[str, list[float]] = {}
    for task in tasks:
        preferred = task.preferences()
        for a, b in combinations(preferred, 2):
            same, total = int((a & b).sum()), int((a & (b | b.T)).sum())
            if total:
                counts = counted.setdefault(task.prompt_id, [0.0, 0.0])
                counts[0] += same
                counts[1] += total
    if not counted:
        return None, None, 0
    sums = torch.tensor([counted[prompt] for prompt in sorted(counted)], dtype=torch.double)
    same, total = sums.sum(0).tolist()
    return same / total, _resample(sums, lambda drawn: drawn[:, 0] / drawn[:, 1]), int(total)


def bootstrap_interval(
    values: Sequence[float], groups: Sequence[str], draws: int = BOOTSTRAP_DRAWS
) -> list[float] | None:
    """A 95% percentile interval of the mean, drawing whole groups (prompts) with replacement.

    Pairs of one prompt are not independent, so the prompt is what is drawn; the seed is fixed, so
    the same figures give the same interval. None for fewer than two groups.
    """
    value = torch.tensor(values, dtype=torch.double)
    sums = _sum_groups(torch.stack([value, torch.ones_like(value)], dim=1), groups)
    return _resample(sums, lambda drawn: drawn[:, 0] / drawn[:, 1], draws)


def _sum_groups(rows: Tensor, groups: Sequence[str]) -> Tensor:
    """Sums [G, S] of the rows [N, S] of each group, in the order of the groups' names."""
    index = {name: position for position, name in enumerate(sorted(set(groups)))}
    member = torch.tensor([index[group] for group in groups], dtype=torch.long)
    return torch.zeros(len(index), rows.shape[1], dtype=torch.double).index_add_(0, member, rows)


def _resample(
    sums: Tensor, statistic: Callable[[Tensor], Tensor], draws: int = BOOTSTRAP_DRAWS
) -> list[float] | None:
    """A 95% percentile interval of what `statistic` makes of sums over drawn groups.

    Args:
        sums: [G, S] double, one row a group.
        statistic: from [draws, S], the sums over the groups of each draw, to [draws].

    Draws without a finite statistic are left out; None for fewer than two groups, or where most
    draws have none.
    """
    groups = len(sums)
    if groups < 2:
        return None
    generator = torch.Generator().manual_seed(0)
    parts = []
    at_once = max(1, GROUPS_AT_ONCE // groups)
    for start in range(0, draws, at_once):
        shape = (min(at_once, draws - start), groups)
        drawn = torch.randint(groups, shape, generator=generator)
        parts.append(torch.stack([column[drawn].sum(1) for column in sums.unbind(1)], dim=1))
    found = statistic(torch.cat(parts))
    found = found[found.isfinite()]
    if 2 * len(found) < draws:
        return None
    low, high = torch.quantile(found, torch.tensor([0.025, 0.975], dtype=torch.double)).tolist()
    return [low, high]


def wins_of(difference: Tensor) -> Tensor:
    """1 where the first of two is larger, ½ where they are equal, 0 where it is smaller."""
    return (difference.sign() + 1) / 2


def _mean(values: Tensor) -> float | None:
    return _finite(values.mean().item()) if len(values) else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _length_correlation(
    tasks: Sequence[RankedTask], rewards: Tensor
) -> tuple[float | None, list[float] | None]:
    """Pearson's correlation of reward and length in characters, with a bootstrap over prompts.

    None where one of the two is constant.
    """
    lengths = torch.tensor([float(len(text)) for task in tasks for text in task.completions])
    prompts = [task.prompt_id for task in tasks for _ in task.completions]
    if len(lengths) < 2 or lengths.std() == 0 or rewards.std() == 0:
        return None, None
    # Sums of squares lose digits far from 0, so both are centred and scaled first.
    x, y = _standardise(lengths.double()), _standardise(rewards.double())
    moments = torch.stack([torch.ones_like(x), x, y, x * x, y * y, x * y], dim=1)
    interval = _resample(_sum_groups(moments, prompts), _correlations)
    return _finite((x * y).mean().item()), interval


def _standardise(values: Tensor) -> Tensor:
    return (values - values.mean()) / values.std(correction=0)


def _correlations(sums: Tensor) -> Tensor:
    """[draws] from [draws, 6]: sums of 1, x, y, x², y² and xy; NaN where x or y is constant."""
    n, x, y, xx, yy, xy = sums.unbind(1)
    x_spread, y_spread = (n * xx - x**2) / n**2, (n * yy - y**2) / n**2
    varied = (x_spread > 1e-9) & (y_spread > 1e-9)
    correlation = (n * xy - x * y) / n**2 / (x_spread * y_spread).sqrt()
    return torch.where(varied, correlation, torch.nan)


def _calibration(margin: Tensor) -> tuple[list[dict[str, float]], float | None]:
    """How often the completion the model prefers is the chosen one, by how sure the model is.

    Sureness is max(p, 1 − p) with p = σ(r_chosen − r_rejected), in five bins from 0.5 to 1. The
    error is the mean distance of sureness from accuracy, weighted by pairs (ECE, Guo et al. 2017).
    """
    p = torch.sigmoid(margin)
    sureness, wins = torch.maximum(p, 1 - p), wins_of(margin)
    bins: list[dict[str, float]] = []
    error = 0.0
    position = ((sureness - 0.5) / 0.5 * CALIBRATION_BINS).long().clamp(0, CALIBRATION_BINS - 1)
    for k in range(CALIBRATION_BINS):
        inside = position == k
        pairs = int(inside.sum())
        if pairs:
            confidence, accuracy = sureness[inside].mean().item(), wins[inside].mean().item()
            error += pairs / len(margin) * abs(confidence - accuracy)
            bins.append(
                {
                    "from": 0.5 + 0.5 * k / CALIBRATION_BINS,
                    "to": 0.5 + 0.5 * (k + 1) / CALIBRATION_BINS,
                    "pairs": pairs,
                    "confidence": confidence,
                    "accuracy": accuracy,
                }
            )
    return bins, error if bins else None


def histogram_of(rewards: Tensor, everything: Tensor | None = None) -> dict[str, list[float]]:
    """Counts of rewards in twenty equal bins; `edges` has one entry more than `counts`.

    The bins span `everything`, so that two histograms of it can be laid over each other.
    """
    span = rewards if everything is None else everything
    if not len(span):
        return {"edges": [], "counts": []}
    low, high = span.min().item(), span.max().item()
    if low == high:
        low, high = low - 0.5, high + 0.5
    counts = torch.histc(rewards.float(), HISTOGRAM_BINS, low, high)
    edges = torch.linspace(low, high, HISTOGRAM_BINS + 1)
    return {"edges": edges.tolist(), "counts": counts.tolist()}
