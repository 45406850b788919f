"""How far a run is and when it will end."""

import time

# A training pass costs three forward passes: the backward pass is two.
TRAINING_COST = 3


class WorkMeter:
    """Counts units of work that take about as long as each other, and times them.

    A policy is measured before and after that work, which is timed as a whole.

    Args:
        total: units of the whole run, without the two measurements.
        measuring: units that one measurement is worth on the progress bar; 0 where none is made.
    """

    def __init__(self, total: float, measuring: float = 0.0) -> None:
        self._total = total
        self._measuring = measuring
        self._measured = 0
        self.done = 0.0
        """Units done, by earlier attempts too."""
        self._timed = 0.0
        self._started = time.monotonic()
        self.measuring_seconds = 0.0

    def measured(self) -> None:
        """The first measurement is over; the clock of the work starts."""
        self._measured = 1
        self._started = time.monotonic()

    def skip(self, units: float) -> None:
        """Count work that an earlier attempt did."""
        self.done += units

    def work(self, units: float) -> None:
        """Count work that was done now."""
        self.done += units
        self._timed += units

    @property
    def fraction(self) -> float:
        """Share of everything that is done, below 1."""
        everything = self._total + 2 * self._measuring
        return min(0.98, (self.done + self._measured * self._measuring) / max(1.0, everything))

    @property
    def eta_seconds(self) -> float | None:
        """Seconds until the end, the last measurement included; None before any work was timed."""
        if not self._timed:
            return None
        pace = (time.monotonic() - self._started) / self._timed
        return max(0.0, pace * (self._total - self.done)) + self.measuring_seconds
