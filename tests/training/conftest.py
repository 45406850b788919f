from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

ORACLES = Path(__file__).parents[3] / "shared" / "oracles"
DATA = Path(__file__).parents[3] / "shared" / "data"


class RecordingReport:
    """A `Report` that keeps what it is told, and can stop the run at a given metric step."""

    def __init__(self, *, crash_at: int | None = None, series: str = "") -> None:
        self.series: dict[str, dict[int, float]] = {}
        self.rows: dict[int, Sequence[Mapping[str, object]]] = {}
        self.lines: list[str] = []
        self.stages: list[tuple[float, str, float | None]] = []
        self.cancelled = False
        self._crash_at = crash_at
        self._crash_series = series

    def progress(self, fraction: float, stage: str, eta_seconds: float | None = None) -> None:
        assert 0 <= fraction <= 1
        self.stages.append((fraction, stage, eta_seconds))

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        if step == self._crash_at and self._crash_series in values:
            raise KeyboardInterrupt("the machine went away")
        for name, value in values.items():
            assert isinstance(value, float | int), name
            self.series.setdefault(name, {})[step] = float(value)

    def samples(self, step: int, rows: Sequence[Mapping[str, object]]) -> None:
        self.rows[step] = rows

    def log(self, message: str) -> None:
        self.lines.append(message)

    def check_cancelled(self) -> None:
        if self.cancelled:
            from app.training.report import Cancelled

            raise Cancelled


def require(path: Path) -> Path:
    """The path, or a skip that says what is missing."""
    if not path.exists():
        pytest.skip(f"{path} is not on this machine")
    return path
