"""Controllers of the KL coefficient: what a nat of distance from the reference costs."""

from typing import Protocol

RISE, FALL = 0.5, 0.1


class KLController(Protocol):
    """Holds `kl_coef`, and may move it after each iteration by the KL it sees."""

    kl_coef: float

    def update(self, kl: float) -> None:
        """Take in the mean KL per completion (nats) of one iteration."""

    def state_dict(self) -> dict[str, float]:
        """Everything a checkpoint has to keep."""

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from `state_dict`."""


class FixedKLController:
    """Keeps `kl_coef` as it is, whatever the KL."""

    def __init__(self, kl_coef: float) -> None:
        self.kl_coef = kl_coef

    def update(self, kl: float) -> None:
        """Change nothing."""

    def state_dict(self) -> dict[str, float]:
        """The coefficient."""
        return {"kl_coef": self.kl_coef}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from `state_dict`."""
        self.kl_coef = state["kl_coef"]


class AdaptiveKLController(FixedKLController):
    """Steers the measured KL per completion towards a target.

    e = clip(KL / target − 1, −0.2, 1),   β ← β·(1 + K·e),   K = 0.5 where e > 0, else 0.1

    Ziegler et al. 2019 §2.2: proportional control in log space. They take K = 0.1 and |e| ≤ 0.2 for
    runs of thousands of iterations; ours have tens. Downwards we do as they do: the KL begins at 0,
    and a controller that is quick to lower the penalty has undone it when it is needed. Upwards it
    may grow by half in an iteration, for a KL that is far above its target is hard to win back.
    """

    def __init__(self, kl_coef: float, target: float) -> None:
        if target <= 0:
            raise ValueError("the KL target must be above 0")
        super().__init__(kl_coef)
        self.target = target

    def update(self, kl: float) -> None:
        """Raise `kl_coef` when the KL is above the target, lower it when below."""
        error = min(max(kl / self.target - 1, -0.2), 1.0)
        self.kl_coef *= 1 + (RISE if error > 0 else FALL) * error


def make_controller(kl_coef: float, kl_target: float | None) -> KLController:
    """The adaptive controller where there is a target, the fixed one where there is none."""
    if kl_target is None:
        return FixedKLController(kl_coef)
    return AdaptiveKLController(kl_coef, kl_target)
