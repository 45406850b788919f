"""What each step of a run reads, and how far it may move the weights."""

from collections.abc import Iterator

import torch

from app.training.seeds import permutation

WARMUP_SHARE = 0.1


def scheduled_rate(peak: float, step: int, steps: int) -> float:
    """Linear warm-up over the first tenth of the steps, then linear decay to zero.

    `step` counts from 1; the last step still moves, by 1/(steps − warm-up) of the peak.
    """
    warmup = max(1, round(WARMUP_SHARE * steps))
    if step <= warmup:
        return peak * step / warmup
    return peak * (steps - step + 1) / (steps - warmup + 1)


def task_batches(tasks: int, epochs: int, tasks_per_batch: int, seed: int) -> Iterator[list[int]]:
    """The task indices of every step; a function of the seed, so that a resumed run meets them."""
    for epoch in range(epochs):
        order = permutation(tasks, seed, "tasks", epoch)
        yield from (rows.tolist() for rows in torch.split(order, tasks_per_batch))
