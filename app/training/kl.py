"""Controllers of the KL coefficient: what a nat of distance from the reference costs."""

from typing import Protocol


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

    e = clip(KL / target − 1, −0.2, 0.2),   β ← β·(1 + K·e)

    Ziegler et al. 2019 §2.2: proportional control in log space. Their K = 0.1 moves β by at most
    2% an iteration, for runs of thousands of iterations. Ours have tens, so K is 0.5: at most 10%
    an iteration, doubling or halving in eight.
    """

    def __init__(self, kl_coef: float, target: float, gain: float = 0.5) -> None:
        if target <= 0:
            raise ValueError("the KL target must be above 0")
        super().__init__(kl_coef)
        self.target = target
        self.gain = gain

    def update(self, kl: float) -> None:
        """Raise `kl_coef` when the KL is above the target, lower it when below."""
        error = min(max(kl / self.target - 1, -0.2), 0.2)
        self.kl_coef *= 1 + self.gain * error


def make_controller(kl_coef: float, kl_target: float | None) -> KLController:
    """The adaptive controller where there is a target, the fixed one where there is none."""
    if kl_target is None:
        return FixedKLController(kl_coef)
    return AdaptiveKLController(kl_coef, kl_target)
