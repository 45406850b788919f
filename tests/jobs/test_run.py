"""A run directory by hand: no database, no worker."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from app.jobs.run import (
    DISK_FULL,
    DISK_FULL_EXIT,
    SUPERVISOR_VARIABLE,
    EventFileReport,
    failure_reason,
)
from app.jobs.run_directory import LOCK_HELD_EXIT, read_outcome, try_lock, write_json
from app.jobs.supervisor import child_environment, describe_exit
from app.models import JobState
from app.settings import ROOT, Settings
from app.training.report import TrainingError


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def prepare(run_dir: Path, **config: Any) -> None:
    write_json(
        run_dir / "job.json",
        {
            "job_id": "by-hand",
            "attempt": 1,
            "kind": "counting",
            "kinds_module": "tests.jobs.counting_kind",
            "config": config,
        },
    )


def start(run_dir: Path, **environment: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "app.jobs.run", str(run_dir)],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def wait_until_started(run_dir: Path) -> None:
    deadline = time.monotonic() + 30
    while not (run_dir / "checkpoint.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_folder_runs_by_hand_without_a_database(run_dir: Path) -> None:
    prepare(run_dir, steps=12, delay_seconds=0.0)
    child = start(run_dir, PODIUM_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    output, _ = child.communicate(timeout=60)
    assert child.returncode == 0, output
    outcome = read_outcome(run_dir, 1)
    assert outcome is not None
    assert outcome.state == JobState.SUCCEEDED
    assert json.loads((run_dir / "checkpoint.json").read_text()) == list(range(1, 13))
    assert read_outcome(run_dir, 2) is None


def test_a_child_gets_its_share_of_the_machine_and_no_database() -> None:
    given = {
        "HOME": "/home/podium",
        "OMP_NUM_THREADS": "64",
        "PODIUM_DATABASE_URL": "postgresql://podium:secret@127.0.0.1/podium",
    }
    environment = child_environment(given, Settings(training_threads=3))
    assert "PODIUM_DATABASE_URL" not in environment
    assert environment["HOME"] == "/home/podium"
    assert environment["OMP_NUM_THREADS"] == "3"
    # Without it the memory of a training run grows with every new shape, up to 1,024 of them.
    assert environment["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "96"
    chosen = child_environment({"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "7"}, Settings())
    assert chosen["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "7"


def test_sigterm_stops_at_the_next_safe_point_and_a_second_child_finds_the_lock_held(
    run_dir: Path,
) -> None:
    prepare(run_dir, steps=10_000, delay_seconds=0.02)
    first = start(run_dir)
    wait_until_started(run_dir)
    second = start(run_dir)
    assert second.wait(timeout=60) == LOCK_HELD_EXIT
    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=10) == 3
    outcome = read_outcome(run_dir, 1)
    assert outcome is not None
    assert outcome.state == JobState.CANCELLED
    lock = try_lock(run_dir / "lock")
    assert lock is not None
    os.close(lock)


def test_a_failure_leaves_one_line_and_the_traceback(run_dir: Path) -> None:
    prepare(run_dir, steps=5, delay_seconds=0.0, fail_at=2)
    child = start(run_dir)
    output, _ = child.communicate(timeout=60)
    assert child.returncode == 1
    assert b"Traceback" in output
    outcome = read_outcome(run_dir, 1)
    assert outcome is not None
    assert (outcome.state, outcome.reason) == (JobState.FAILED, "Stumbled at step 2.")


def test_a_full_disk_is_the_reason_and_the_run_goes_on_afterwards(run_dir: Path) -> None:
    prepare(run_dir, steps=5, delay_seconds=0.0)
    # Every write to these fails as on a full disk.
    events, outcome_file = run_dir / "events.jsonl", run_dir / ".outcome.json.unfinished"
    events.symlink_to("/dev/full")
    child = start(run_dir)
    child.communicate(timeout=60)
    assert child.returncode == DISK_FULL_EXIT
    outcome = read_outcome(run_dir, 1)
    assert outcome is not None
    assert (outcome.state, outcome.reason) == (JobState.FAILED, DISK_FULL)

    outcome_file.symlink_to("/dev/full")
    child = start(run_dir)
    child.communicate(timeout=60)
    assert child.returncode == DISK_FULL_EXIT
    assert read_outcome(run_dir, 1) is None
    assert describe_exit(child.returncode) == DISK_FULL

    events.unlink()
    outcome_file.unlink()
    child = start(run_dir)
    child.communicate(timeout=60)
    assert child.returncode == 0
    assert json.loads((run_dir / "checkpoint.json").read_text()) == [1, 2, 3, 4, 5]


def test_a_child_whose_supervisor_is_gone_does_not_start(run_dir: Path) -> None:
    prepare(run_dir, steps=5)
    child = start(run_dir, **{SUPERVISOR_VARIABLE: "1"})
    assert child.wait(timeout=60) == 1
    assert not (run_dir / "checkpoint.json").exists()


def test_a_torn_line_is_ended_before_the_next_is_written(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"type": "progress", "frac')
    report = EventFileReport(path)
    report.metrics(3, {"loss": 0.5, "bad": float("inf")})
    report.samples(3, [{"completion": "x", "reward": float("nan")}])
    report.close()
    torn, metrics, samples = path.read_text().splitlines()
    assert torn == '{"type": "progress", "frac'
    assert json.loads(metrics)["values"] == {"loss": 0.5}
    assert json.loads(metrics)["not_finite"] == ["bad"]
    assert json.loads(samples)["rows"] == [{"completion": "x", "reward": None}]


def test_a_reason_is_one_line_for_people() -> None:
    assert failure_reason(TrainingError("Too few prompts.\nDetails")) == "Too few prompts."
    assert failure_reason(KeyError("x")) == "KeyError: 'x'"
    assert failure_reason(ValueError()) == "ValueError"
    assert "memory" in failure_reason(MemoryError())
