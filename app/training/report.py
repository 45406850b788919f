"""What a training loop says while it runs, and how it is asked to stop."""

from collections.abc import Mapping, Sequence
from typing import Protocol


class Cancelled(Exception):
    """Raised by a loop at its next safe point after the run was asked to stop."""


class TrainingError(Exception):
    """A run that cannot go on; the message is one line a person can act on."""


class Report(Protocol):
    """The only channel from a run to the outside.

    Every call is cheap and durable: what was reported before a crash is not reported again after
    the run resumes from its checkpoint, because metrics are keyed by (name, step).
    """

    def progress(self, fraction: float, stage: str, eta_seconds: float | None = None) -> None:
        """Say how far the run is, 0 to 1, and in a few words what it is doing now."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Record one point of each named series at `step`."""

    def samples(self, step: int, rows: Sequence[Mapping[str, object]]) -> None:
        """Show sample completions: rows of prompt, completion, reward and the like."""

    def log(self, message: str) -> None:
        """Add one line to the log."""

    def check_cancelled(self) -> None:
        """Raise `Cancelled` if the run was asked to stop."""
