"""Checkpoints that are either whole or not there: temporary file, fsync, rename."""

import errno
import os
import pickle
import shutil
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from app.training.report import Report, TrainingError

KEPT = 2
# Writing may take this share of the time at most, so that a large model is not mostly saved.
LARGEST_SHARE = 0.1
FULL = (errno.ENOSPC, errno.EDQUOT)


class Checkpoints:
    """The checkpoints of one run: the newest two, in one directory.

    Two are kept so that one that turns out unreadable costs a step and not the run.

    Args:
        directory: where they lie; made when the first is written.
        fingerprint: what the run was started with; a checkpoint of another is refused.
        report: told of unreadable checkpoints.
    """

    def __init__(self, directory: Path, fingerprint: Mapping[str, Any], report: Report) -> None:
        self._directory = directory
        self._fingerprint = dict(fingerprint)
        self._report = report
        self._saved_at = time.monotonic()
        self._save_seconds = 0.0
        self._unreadable: set[Path] = set()

    def save(self, step: int, state: Mapping[str, Any]) -> Path:
        """Write `state` as the checkpoint of `step`, then remove all but the newest two.

        A crash at any moment leaves the previous checkpoint whole: the new one appears under its
        name only once its bytes are on the disk.

        Args:
            step: how many steps are done.
            state: tensors, numbers, strings and containers of them (loaded with `weights_only`).

        Raises:
            TrainingError: the disk is full, or cannot be written to; what was saved before stays.
        """
        started = time.monotonic()
        path = self._directory / f"step-{step:08d}.pt"
        save_file(path, {"step": step, "fingerprint": self._fingerprint, **state})
        self._unreadable.discard(path)
        readable = [one for one in self._newest_first() if one not in self._unreadable]
        for old in (*readable[KEPT:], *self._unreadable):
            old.unlink()
        self._unreadable.clear()
        self._saved_at = time.monotonic()
        self._save_seconds = self._saved_at - started
        return path

    def save_if_due(self, step: int, state: Callable[[], Mapping[str, Any]]) -> bool:
        """Write a checkpoint unless the last is so young that writing would slow the run down."""
        if time.monotonic() - self._saved_at < self._save_seconds / LARGEST_SHARE:
            return False
        self.save(step, state())
        return True

    def load(self) -> dict[str, Any] | None:
        """The newest checkpoint that can be read, with its `step`; None when there is none.

        An unreadable one (the disk was full, the machine lost power) is named in the log and
        passed over.

        Raises:
            TrainingError: the directory holds a checkpoint of another configuration. Going on
                from it would give a model that nobody asked for.
        """
        for unfinished in self._directory.glob("step-*.tmp"):
            unfinished.unlink()  # of an attempt that was killed while writing it
        for path in self._newest_first():
            try:
                state = _read(path)
            except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
                self._unreadable.add(path)
                self._report.log(f"Passed over the unreadable checkpoint {path.name}: {error}")
                continue
            if _said(state["fingerprint"]) != _said(self._fingerprint):
                raise TrainingError(
                    f"The run directory holds checkpoint {path.name} of another configuration; "
                    "start this run in a new directory."
                )
            return state
        return None

    def forget(self) -> None:
        """Remove them all, for a run that has to start again."""
        for path in self._newest_first():
            path.unlink()

    def _newest_first(self) -> list[Path]:
        return sorted(self._directory.glob("step-*.pt"), reverse=True)


def _said(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is left empty: an option that a later version adds is empty in older runs, which
    go on as they were."""
    return {name: value for name, value in fingerprint.items() if value is not None}


def save_file(target: Path, value: Any) -> None:
    """Make the file `target` of `value` by `torch.save`, whole or not at all; an old one is
    replaced.

    Raises:
        TrainingError: the disk is full, or cannot be written to.
    """
    temporary = target.with_suffix(".tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            torch.save(value, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(target)
        _fsync_directory(target.parent)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)  # half a file would only take room
        raise _unwritable(target.parent, error) from error


def save_folder(target: Path, write: Callable[[Path], None]) -> None:
    """Make the folder `target` by `write(folder)`, whole or not at all; an old one is replaced.

    Raises:
        TrainingError: the disk is full, or cannot be written to.
    """
    unfinished = target.with_name(f".{target.name}.unfinished")
    _remove_tree(unfinished)
    try:
        unfinished.mkdir(parents=True)
        write(unfinished)
        for path in unfinished.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    except (OSError, SafetensorError) as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise _unwritable(target.parent, error) from error
    _remove_tree(target)
    unfinished.rename(target)
    _fsync_directory(target.parent)


def _read(path: Path) -> dict[str, Any]:
    if not zipfile.is_zipfile(path):
        # torch would take it for a file of an old version, and fail in any way.
        raise EOFError("it is not whole")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _unwritable(directory: Path, error: Exception) -> TrainingError:
    """What someone can do about it. torch and safetensors hide the errno in a text or a cause."""
    told = f"{error} {error.__cause__ or error.__context__ or ''}"
    if any(os.strerror(code) in told for code in FULL):
        return TrainingError(
            f"The disk is full at {directory}. Free some room and resume the job: it goes on from "
            "its last checkpoint, which is whole."
        )
    reason = " ".join(str(error.__context__ or error).split())[:200]
    return TrainingError(
        f"Cannot write to {directory}: {reason}. Put that right and resume the job: it goes on "
        "from its last checkpoint."
    )


def _remove_tree(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _fsync_directory(directory: Path) -> None:
    # The rename itself has to reach the disk too.
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
