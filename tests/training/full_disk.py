"""Trains on a disk that fills up, frees it and goes on; run in a mount namespace of its own:

    unshare --map-root-user --mount python -m tests.training.full_disk FOLDER

It mounts a small file system at `FOLDER/disk` and prints what happened as JSON, one object a case.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from app.training import checkpoint
from app.training.report import TrainingError

from . import test_dpo, test_ppo, test_reward_model
from .conftest import RecordingReport
from .tiny import make_backbone, make_policy

DISK_BYTES = 24 << 20
LEFT_BYTES = 8 << 10


class FillingReport(RecordingReport):
    """Fills the disk, but for a few kilobytes, when a stage begins."""

    def __init__(self, ballast: Path, stage: str) -> None:
        super().__init__()
        self._ballast = ballast
        self._stage = stage

    def progress(self, fraction: float, stage: str, eta_seconds: float | None = None) -> None:
        super().progress(fraction, stage, eta_seconds)
        if self._stage in stage and not self._ballast.exists():
            with self._ballast.open("wb", buffering=0) as file, suppress(OSError):
                while True:
                    file.write(bytes(4096))
            with self._ballast.open("r+b") as file:
                file.truncate(self._ballast.stat().st_size - LEFT_BYTES)


def run_ppo(folder: Path, run_dir: Path, report: RecordingReport, evaluate_every: int) -> Any:
    config = replace(test_ppo.SMALL, evaluate_every=evaluate_every)
    return test_ppo.tune(config, folder / "policy", run_dir, report)


def run_dpo(folder: Path, run_dir: Path, report: RecordingReport) -> Any:
    return test_dpo.tune(test_dpo.SMALL, folder / "policy", run_dir, report)


def run_reward_model(folder: Path, run_dir: Path, report: RecordingReport) -> Any:
    return test_reward_model.train(test_reward_model.CONFIG, folder / "backbone", run_dir, report)


Run = Callable[[Path, Path, RecordingReport], Any]
CASES: dict[str, tuple[Run, str]] = {
    "ppo checkpoint": (lambda *args: run_ppo(*args, evaluate_every=0), "Iteration 3 of 4: train"),
    "ppo best weights": (lambda *args: run_ppo(*args, evaluate_every=2), "2 of 4: held-out"),
    "ppo model": (lambda *args: run_ppo(*args, evaluate_every=2), "Saving the tuned policy"),
    "dpo reference": (run_dpo, "Reading the rankings"),
    "dpo checkpoint": (run_dpo, "Step 3 of 4"),
    "dpo model": (run_dpo, "Saving the tuned policy"),
    "reward model checkpoint": (run_reward_model, "Step 3 of 5"),
    "reward model": (run_reward_model, "Centring rewards"),
}


def try_case(folder: Path, run: Run, stage: str, name: str) -> dict[str, Any]:
    expected = run(folder, folder / "whole" / name, RecordingReport())
    run_dir = folder / "disk" / "run"
    ballast = folder / "disk" / "ballast"
    filling = FillingReport(ballast, stage)
    try:
        run(folder, run_dir, filling)
        error = None
    except TrainingError as caught:
        error = str(caught)
    left = sorted(path.name for path in run_dir.rglob("*") if path.is_file())
    ballast.unlink()
    resumed = RecordingReport()
    result = run(folder, run_dir, resumed)
    ours, theirs = (load_file(one.model_dir / "model.safetensors") for one in (result, expected))
    subprocess.run(["rm", "-r", run_dir], check=True)
    return {
        "error": error,
        "left": left,
        "went_on": [line for line in resumed.lines if "Going on" in line],
        "same": all(torch.equal(weight, theirs[key]) for key, weight in ours.items()),
    }


def main() -> None:
    """Run every case; the disk goes when this process ends."""
    folder = Path(sys.argv[1])
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", disk], check=True)
    checkpoint.LARGEST_SHARE = 1e9  # a checkpoint at every step
    make_policy(folder / "policy")
    make_backbone(folder / "backbone")
    told = {name: try_case(folder, run, stage, name) for name, (run, stage) in CASES.items()}
    (folder / "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main()
