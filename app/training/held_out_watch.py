"""Looking at held-out prompts while a policy is tuned: which weights to keep, and when to stop."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from app.training.checkpoint import save_file
from app.training.configs import PPOConfig
from app.training.policy import Policy
from app.training.report import Report

BEST_FILE = "best-{:08d}.pt"
SERIES = (
    "reward_mean",
    "gold_mean",
    "second_opinion_mean",
    "kl",
    "length_mean",
    "repetition",
    "distinct_bigrams",
)
"""What each look adds to the job's charts, as `eval_` and the name: a reward that rises while the
gold rule or the second opinion falls, texts grow or repeat themselves is a reward model being
exploited."""


@dataclass
class Found:
    """What the looks so far have found."""

    best_iteration: int | None = None
    best_reward: float | None = None
    best_kl: float = math.inf
    looks_since: int = 0
    stopped: str | None = None
    """Why the run ends before its last iteration."""


class HeldOutWatch:
    """Keeps the weights with the highest held-out reward, and says when to go no further.

    With a `kl_target` looks below it come before those above it, whose lowest KL counts.

    Draws of its own are taken for it, not those of the before/after report: chosen by one set of
    completions and reported on another, the kept policy's figures are not those of a lucky draw.
    """

    def __init__(self, config: PPOConfig, run_dir: Path, report: Report) -> None:
        self._config = config
        self._run_dir = run_dir
        self._report = report
        self.found = Found()

    def is_due(self, iteration: int) -> bool:
        """Whether to look after this iteration."""
        every = self._config.evaluate_every
        return every > 0 and (iteration % every == 0 or iteration == self._config.iterations)

    def looks_left(self, iteration: int) -> int:
        """How many looks follow, from this iteration on."""
        return sum(map(self.is_due, range(iteration, self._config.iterations + 1)))

    def take(self, iteration: int, figures: Mapping[str, Any], policy: Policy) -> None:
        """Take in the figures of `evaluate_policy` after an iteration; keep the best weights."""
        shown = {f"eval_{name}": figures.get(name) for name in SERIES}
        self._report.metrics(
            iteration, {name: value for name, value in shown.items() if value is not None}
        )
        reward, kl = figures["reward_mean"], figures["kl"]
        if reward is None:
            return
        found = self.found
        if found.best_iteration is None or self._is_better(reward, kl):
            if self._config.keep_best:
                self._save(iteration, policy)
            found.best_iteration, found.looks_since = iteration, 0
            found.best_reward, found.best_kl = reward, kl
            return
        found.looks_since += 1
        patience = self._config.patience
        if patience is not None and found.looks_since >= patience:
            found.stopped = (
                f"the held-out reward has not risen since iteration {found.best_iteration}"
            )

    def _is_better(self, reward: float, kl: float) -> bool:
        """Whether a look beats the best one: below the KL's target first, then by its reward."""
        target = self._config.kl_target
        assert self.found.best_reward is not None
        if target is not None and max(kl, self.found.best_kl) > target:
            return kl < self.found.best_kl
        return reward > self.found.best_reward

    def check_kl(self, kl: float) -> None:
        """Stop where a rollout has gone too far from the reference."""
        limit = self._config.stop_kl
        if limit is not None and kl > limit:
            self.found.stopped = f"the KL of {kl:.1f} is above stop_kl, {limit:g}"

    def restore_best(self, iteration: int, policy: Policy) -> int:
        """Put the best weights back, where others came after; the iteration they are of."""
        best = self.found.best_iteration
        if not self._config.keep_best or best is None or best == iteration:
            return iteration
        path = self._run_dir / BEST_FILE.format(best)
        policy.load_trained_state(torch.load(path, map_location="cpu", weights_only=True))
        self._report.log(
            f"Kept the policy of iteration {best}, which the held-out prompts say is best."
        )
        return best

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint has to keep."""
        return asdict(self.found)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.found = Found(**state)

    def _save(self, iteration: int, policy: Policy) -> None:
        """Write the weights of `iteration`, and keep those that were the best until now: the last
        checkpoint names them, and a run that is killed before the next goes on from it."""
        save_file(self._run_dir / BEST_FILE.format(iteration), policy.trained_state())
        named = {iteration, self.found.best_iteration}
        kept = {BEST_FILE.format(best) for best in named if best is not None}
        for path in self._run_dir.glob("best-*.pt"):
            if path.name not in kept:
                path.unlink()
