"""The report of a reward model: what `metrics` of the model and of its job hold.

Beside what `evaluate_rewards` gives for the held-out prompts:

- `by_rank_distance`: rows of `distance` (levels between the two in the labeler's order), then the
  figures of a share, below.
- `by_round`: rows of `round_id` and figures. `by_labeler`: rows of `ranking_id` and figures: the id
  of one ranking of the labeler, who is looked up by it when the report is shown, so that the report
  names nobody whom erasing has forgotten.
- `held_out_labelers`: `labelers` and `rankings` left out of training, and figures of all their
  pairs, on prompts that were trained on with others' rankings; None where nobody was left out.
- `constant_accuracy`: 0.5, what any constant reward scores whatever the pairs: it has no interval.
- `length_sample`: `points`, rows of length in characters and reward of held-out completions, at
  most `LENGTH_POINTS` of them drawn with a fixed seed; `completions`, how many there are; `fifths`,
  of all of them in five parts by length: `from` and `to` in characters, `length` and `reward`
  (means) and `completions`. Parts without a completion are left out.
- `chosen_histogram` and `rejected_histogram`: rewards of the better and of the worse completion of
  every pair; `edges` are common to both, one more than `counts`.
- `worst_mistakes`: at most ten pairs, each of another task, in which the rejected completion is
  scored highest above the chosen one: `prompt`, `chosen`, `rejected` (texts, cut at `LONGEST_TEXT`
  characters), `margin` (chosen minus rejected, negative), `task_id`, `ranking_id`,
  `chosen_completion_id`, `rejected_completion_id`.
- `collapsed`: whether the rewards' standard deviation is below `COLLAPSED_STD`; None where nothing
  was held out. A pair one such deviation apart would read 50.2% against 49.8%.
- `uncertainty`, of an ensemble: `heads`, `mean` (of the standard deviation over the heads of a
  pair's margin), `sure` and `unsure`: figures of the half of the pairs on which the heads differ
  least and most, None for one head.

The figures of a share: `accuracy` (equal rewards count half), `accuracy_ci95` (bootstrap over
prompts, None for one prompt), `pairs`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from app.training.ranked_task import RankedTask
from app.training.reward_metrics import (
    bootstrap_interval,
    evaluate_rewards,
    histogram_of,
    wins_of,
)

COLLAPSED_STD = 0.01
WORST_PAIRS = 10
LENGTH_POINTS = 400
LONGEST_TEXT = 2000


@dataclass(frozen=True)
class Scored:
    """Tasks with the rewards of their completions by every head, one [K, H] float tensor each."""

    tasks: Sequence[RankedTask]
    scores: Sequence[Tensor]

    @property
    def rewards(self) -> list[Tensor]:
        """The mean over the heads, [K] a task."""
        return [scores.mean(dim=1) for scores in self.scores]


@dataclass(frozen=True)
class _Pair:
    """One preference of one ranking: completions by their place in the task."""

    task: RankedTask
    ranking: int
    chosen: int
    rejected: int
    chosen_reward: float
    rejected_reward: float
    spread: float

    @property
    def margin(self) -> float:
        return self.chosen_reward - self.rejected_reward

    @property
    def distance(self) -> int:
        ranks = self.task.rankings[self.ranking]
        levels = sorted({rank for rank in ranks if rank is not None})
        better, worse = ranks[self.chosen], ranks[self.rejected]
        assert better is not None
        assert worse is not None
        return levels.index(worse) - levels.index(better)


def describe_rewards(held_out: Scored, unseen_labelers: Scored) -> dict[str, Any]:
    """The whole report, as numbers and texts that JSON can carry.

    Args:
        held_out: tasks of prompts that were not trained on.
        unseen_labelers: tasks of training prompts with only the rankings of labelers who were left
            out of training.
    """
    pairs = _list_pairs(held_out)
    metrics = evaluate_rewards(held_out.tasks, held_out.rewards)
    std = metrics["reward_std"]
    return {
        **metrics,
        "constant_accuracy": 0.5,
        "length_sample": _length_sample(held_out),
        "collapsed": None if std is None else std < COLLAPSED_STD,
        "by_rank_distance": _by(pairs, "distance", lambda pair: pair.distance),
        "by_round": _by(pairs, "round_id", lambda pair: pair.task.round_id or None),
        "by_labeler": _by(pairs, "ranking_id", _labeler),
        "held_out_labelers": _held_out_labelers(unseen_labelers),
        **_histograms(pairs),
        "worst_mistakes": _worst_mistakes(pairs),
        "uncertainty": _uncertainty(held_out, pairs),
    }


def _list_pairs(scored: Scored) -> list[_Pair]:
    pairs = []
    for task, scores in zip(scored.tasks, scored.scores, strict=True):
        rewards = scores.mean(dim=1).tolist()
        several = scores.shape[1] > 1
        for ranking, chosen, rejected in task.preferences().nonzero().tolist():
            spread = (scores[chosen] - scores[rejected]).std().item() if several else 0.0
            pairs.append(
                _Pair(task, ranking, chosen, rejected, rewards[chosen], rewards[rejected], spread)
            )
    return pairs


def _labeler(pair: _Pair) -> str | None:
    return pair.task.labelers[pair.ranking] if pair.task.labelers else None


def _by(pairs: Sequence[_Pair], name: str, key: Callable[[_Pair], Any]) -> list[dict[str, Any]]:
    """One row of figures for each value that the key has, in its order; None is in no row."""
    groups: dict[Any, list[_Pair]] = {}
    for pair in pairs:
        value = key(pair)
        if value is not None:
            groups.setdefault(value, []).append(pair)
    return [{name: value, **_share(groups[value])} for value in sorted(groups)]


def _share(pairs: Sequence[_Pair]) -> dict[str, Any]:
    wins = wins_of(torch.tensor([pair.margin for pair in pairs]))
    return {
        "accuracy": wins.mean().item(),
        "accuracy_ci95": bootstrap_interval(wins.tolist(), [pair.task.prompt_id for pair in pairs]),
        "pairs": len(pairs),
    }


def _held_out_labelers(scored: Scored) -> dict[str, Any] | None:
    pairs = _list_pairs(scored)
    if not pairs:
        return None
    return {
        "labelers": len({name for task in scored.tasks for name in task.labelers or ()}),
        "rankings": sum(len(task.rankings) for task in scored.tasks),
        **_share(pairs),
    }


def _histograms(pairs: Sequence[_Pair]) -> dict[str, Any]:
    chosen = torch.tensor([pair.chosen_reward for pair in pairs])
    rejected = torch.tensor([pair.rejected_reward for pair in pairs])
    both = torch.cat([chosen, rejected])
    return {
        "chosen_histogram": histogram_of(chosen, both),
        "rejected_histogram": histogram_of(rejected, both),
    }


def _length_sample(scored: Scored) -> dict[str, Any]:
    points = [
        [len(text), reward]
        for task, rewards in zip(scored.tasks, scored.rewards, strict=True)
        for text, reward in zip(task.completions, rewards.tolist(), strict=True)
    ]
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(0)).tolist()
    ordered = sorted(points)
    edges = [round(len(points) * part / 5) for part in range(6)]
    parts = [ordered[start:end] for start, end in pairwise(edges) if end > start]
    return {
        "completions": len(points),
        "points": [points[place] for place in sorted(order[:LENGTH_POINTS])],
        "fifths": [
            {
                "from": part[0][0],
                "to": part[-1][0],
                "length": sum(length for length, _ in part) / len(part),
                "reward": sum(reward for _, reward in part) / len(part),
                "completions": len(part),
            }
            for part in parts
        ],
    }


def _worst_mistakes(pairs: Sequence[_Pair]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    seen: set[int] = set()
    for pair in sorted(pairs, key=lambda pair: pair.margin):
        if pair.margin >= 0 or len(rows) == WORST_PAIRS:
            break
        if id(pair.task) in seen:
            continue
        seen.add(id(pair.task))
        task, ids = pair.task, pair.task.completion_ids
        rows.append(
            {
                "prompt": task.messages[-1]["content"][:LONGEST_TEXT],
                "chosen": task.completions[pair.chosen][:LONGEST_TEXT],
                "rejected": task.completions[pair.rejected][:LONGEST_TEXT],
                "margin": pair.margin,
                "task_id": task.task_id,
                "ranking_id": task.ranking_ids[pair.ranking] if task.ranking_ids else None,
                "chosen_completion_id": ids[pair.chosen] if ids else None,
                "rejected_completion_id": ids[pair.rejected] if ids else None,
            }
        )
    return rows


def _uncertainty(scored: Scored, pairs: Sequence[_Pair]) -> dict[str, Any] | None:
    heads = max((scores.shape[1] for scores in scored.scores), default=1)
    if heads == 1 or len(pairs) < 2:
        return None
    ordered = sorted(pairs, key=lambda pair: pair.spread)
    middle = len(ordered) // 2
    return {
        "heads": heads,
        "mean": sum(pair.spread for pair in pairs) / len(pairs),
        "sure": _share(ordered[:middle]),
        "unsure": _share(ordered[middle:]),
    }
