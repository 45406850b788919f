"""`podium up` as a person starts it: a subprocess on its own data folder and a free port."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx

READY_SECONDS = 60
STOP_SECONDS = 40


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RunningApp:
    """A started `podium up`, with its address and what it printed so far."""

    def __init__(self, data_dir: Path, **environment: str) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **os.environ,
            "PODIUM_DATA_DIR": str(data_dir),
            "PODIUM_INFERENCE_PORT": str(free_port()),
            "PYTHONUNBUFFERED": "1",
            **environment,
        }
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "up", "--port", str(self.port)],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def wait_until_ready(self) -> float:
        """Seconds until /readyz said yes."""
        started = time.monotonic()
        while time.monotonic() - started < READY_SECONDS:
            try:
                if httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200:
                    return time.monotonic() - started
            except httpx.TransportError:
                pass
            assert self.process.poll() is None, self.output
            time.sleep(0.1)
        raise AssertionError(f"not ready after {READY_SECONDS} s:\n{self.output}")

    def setup_path(self) -> str:
        """The one-time link it printed, without the host."""
        deadline = time.monotonic() + READY_SECONDS
        while "/setup/" not in self.output and time.monotonic() < deadline:
            time.sleep(0.1)
        found = re.search(r"(/setup/\S+)", self.output)
        assert found, self.output
        return found[1]

    def podium(self, *arguments: str, stdin: str = "") -> str:
        """Run a command of the command line on this data folder; its standard output."""
        done = subprocess.run(
            [sys.executable, "-m", "app.cli", *arguments],
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def client(self, email: str, role: str) -> httpx.Client:
        """A REST client of a new person with this role."""
        self.podium("users", "create", "--email", email, "--role", role, stdin="a long password\n")
        token = self.podium("tokens", "create", "--email", email)
        return httpx.Client(
            base_url=f"{self.url}/api/v1",
            headers={"Authorization": f"Bearer {token}"},
            timeout=120,
        )

    def stop(self) -> int:
        """Ask it to stop, as Ctrl-C does; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def wait_for_job(client: httpx.Client, job_id: str, seconds: float) -> dict[str, Any]:
    """The job once it is final; fails the test unless it succeeded in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        job: dict[str, Any] = client.get(f"/jobs/{job_id}").raise_for_status().json()
        if job["state"] in ("succeeded", "failed", "cancelled"):
            assert job["state"] == "succeeded", job
            return job
        time.sleep(0.5)
    raise AssertionError(f"job {job_id} not final after {seconds} s: {job}")
