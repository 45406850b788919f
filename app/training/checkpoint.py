"""Checkpoints that are either whole or not there: temporary file, fsync, rename."""

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from app.training.report import Report, TrainingError

KEPT = 2


def save_checkpoint(directory: Path, step: int, state: Mapping[str, Any]) -> Path:
    """Write `state` as the checkpoint of `step`, then remove all but the newest two.

    A crash at any moment leaves the previous checkpoint whole: the new one appears under its name
    only once its bytes are on the disk. Two are kept so that one that turns out unreadable costs
    a step and not the run.

    Args:
        state: tensors, numbers, strings and containers of them (loaded with `weights_only`).
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"step-{step:08d}.pt"
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        torch.save({"step": step, **state}, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    _fsync_directory(directory)
    for old in _newest_first(directory)[KEPT:]:
        old.unlink()
    return path


def load_checkpoint(
    directory: Path, fingerprint: Mapping[str, Any], report: Report
) -> dict[str, Any] | None:
    """The newest checkpoint that can be read, with its `step`; None when there is none.

    An unreadable one (the disk was full, the machine lost power) is named in the log and passed
    over.

    Raises:
        TrainingError: the run directory holds a checkpoint of another configuration than the one
            `fingerprint` describes. Going on from it would give a model that nobody asked for.
    """
    for path in _newest_first(directory):
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
            report.log(f"Passed over the unreadable checkpoint {path.name}: {error}")
            continue
        if state["fingerprint"] != dict(fingerprint):
            raise TrainingError(
                f"The run directory holds checkpoint {path.name} of another configuration; "
                "start this run in a new directory."
            )
        return state
    return None


def _newest_first(directory: Path) -> list[Path]:
    return sorted(directory.glob("step-*.pt"), reverse=True)


def _fsync_directory(directory: Path) -> None:
    # The rename itself has to reach the disk too.
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
