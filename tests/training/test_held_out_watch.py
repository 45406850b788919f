from typing import Any

import pytest
import torch

from app.training.configs import PPOConfig
from app.training.held_out_watch import HeldOutWatch

from .conftest import RecordingReport


class Weights:
    """Stands for a policy: one weight, which says whose it is."""

    def __init__(self) -> None:
        self.iteration = 0

    def trained_state(self) -> dict[str, Any]:
        return {"iteration": torch.tensor(self.iteration)}

    def load_trained_state(self, state: dict[str, Any]) -> None:
        self.iteration = int(state["iteration"])


@pytest.mark.parametrize(
    ("target", "looks", "kept"),
    [
        (None, [(1.0, 2.0), (3.0, 20.0), (2.0, 5.0)], 2),
        (6.0, [(1.0, 2.0), (3.0, 20.0), (2.0, 5.0)], 3),
        (6.0, [(1.0, 2.0), (0.5, 3.0), (9.0, 6.1)], 1),
        # All of them above it: the one that is nearest.
        (6.0, [(5.0, 30.0), (3.0, 8.0), (4.0, 9.0)], 2),
        (6.0, [(5.0, 30.0), (3.0, 6.0), (2.0, 1.0)], 2),
    ],
)
def test_the_best_is_the_highest_reward_below_the_target(tmp_path, target, looks, kept):
    config = PPOConfig(policy="p", reward_model="r", iterations=3, kl_target=target)
    watch, weights = HeldOutWatch(config, tmp_path, RecordingReport()), Weights()
    for iteration, (reward, kl) in enumerate(looks, start=1):
        weights.iteration = iteration
        watch.take(iteration, {"reward_mean": reward, "kl": kl}, weights)
    assert watch.restore_best(3, weights) == kept
    assert weights.iteration == kept
