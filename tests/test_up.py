"""`podium up`: one command runs everything, restarts what dies, and leaves nothing behind."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.running_app import RunningApp

pytestmark = pytest.mark.slow


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningApp]:
    app = RunningApp(tmp_path / "data")
    yield app
    app.stop()


def children(app: RunningApp) -> dict[str, psutil.Process]:
    """The services by name, as they run now."""
    names = {}
    for process in psutil.Process(app.process.pid).children():
        arguments = process.cmdline()
        if "app.cli" in arguments:
            names[arguments[arguments.index("app.cli") + 1]] = process
    return names


def test_one_command_starts_everything_and_prints_the_setup_link(running: RunningApp) -> None:
    running.wait_until_ready()
    assert running.setup_path()
    assert set(children(running)) == {"serve", "worker", "inference"}


def test_a_service_that_dies_is_started_again(running: RunningApp) -> None:
    running.wait_until_ready()
    web = children(running)["serve"]
    os.kill(web.pid, signal.SIGKILL)
    web.wait(5)
    time.sleep(1)
    running.wait_until_ready()
    assert children(running)["serve"].pid != web.pid


def test_stopping_ends_every_process_with_exit_code_0(running: RunningApp) -> None:
    running.wait_until_ready()
    services = list(children(running).values())
    assert running.stop() == 0
    assert not any(process.is_running() for process in services)


def test_killing_the_supervisor_leaves_no_process_behind(running: RunningApp) -> None:
    running.wait_until_ready()
    services = list(children(running).values())
    os.kill(running.process.pid, signal.SIGKILL)
    _gone, alive = psutil.wait_procs(services, timeout=20)
    assert alive == []
