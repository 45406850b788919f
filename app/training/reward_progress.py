"""How far a run is, counted in work rather than in steps."""

import time
from collections.abc import Sequence

from app.training.ranked_task import RankedTask


class RewardMeter:
    """How far a reward model's run is and when it will end, in forward passes of one completion.

    Training on a completion costs three of them (the backward pass is two), scoring one.
    """

    def __init__(
        self,
        train: Sequence[RankedTask],
        held_out: Sequence[RankedTask],
        epochs: int,
        evaluations: int,
        scored_at_end: Sequence[RankedTask],
    ) -> None:
        self._done = 0
        self._at_start = 0
        self._total = (
            3 * epochs * _completions(train)
            + evaluations * _completions(held_out)
            + _completions(scored_at_end)
        )
        self._started = time.monotonic()

    def trained(self, tasks: Sequence[RankedTask]) -> None:
        """These tasks were trained on."""
        self._done += 3 * _completions(tasks)

    def scored(self, tasks: Sequence[RankedTask]) -> None:
        """These tasks were scored."""
        self._done += _completions(tasks)

    def skip_training(self, batches: Sequence[Sequence[int]], train: Sequence[RankedTask]) -> None:
        """These batches were trained on by an earlier attempt, which says nothing of the speed."""
        for batch in batches:
            self.trained([train[index] for index in batch])
        self._at_start = self._done

    @property
    def fraction(self) -> float:
        """From 0 to 0.99; only the end is 1."""
        return min(0.99, self._done / self._total) if self._total else 0.99

    @property
    def eta_seconds(self) -> float | None:
        """None until something was done."""
        done = self._done - self._at_start
        if not done:
            return None
        elapsed = time.monotonic() - self._started
        return max(0.0, elapsed / done * (self._total - self._done))


def _completions(tasks: Sequence[RankedTask]) -> int:
    return sum(len(task.completions) for task in tasks)
