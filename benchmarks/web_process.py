"""How long the web process takes to answer, and how much memory it holds.

Starts `podium serve` on a fresh SQLite database several times, waits for the first 200 of /readyz,
and reads the resident memory of the process after some pages.

Run: python benchmarks/web_process.py
"""

import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from urllib.error import URLError

RUNS = 5


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1000


def measure(data_dir: Path) -> tuple[float, float, float]:
    """Seconds to the first ready answer; megabytes then, and after forty requests."""
    port = free_port()
    environment = os.environ | {"PODIUM_DATA_DIR": str(data_dir), "PODIUM_PORT": str(port)}
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "serve"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1)
                break
            except URLError:
                if time.monotonic() - started > 30:
                    raise
                time.sleep(0.01)
        ready = time.monotonic() - started
        at_start = resident_mb(process.pid)
        for _ in range(20):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/sign-in")
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz")
        return ready, at_start, resident_mb(process.pid)
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder)
        environment = os.environ | {"PODIUM_DATA_DIR": str(data_dir)}
        subprocess.run(
            [sys.executable, "-m", "app.cli", "migrate"],
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        measure(data_dir)  # writes the byte code
        runs = [measure(data_dir) for _ in range(RUNS)]
    for name, column in zip(
        ("start, s", "resident at start, MB", "resident in use, MB"),
        zip(*runs, strict=True),
        strict=True,
    ):
        print(
            f"{name:24} median {statistics.median(column):8.2f}"
            f"   min {min(column):8.2f}   max {max(column):8.2f}"
        )


if __name__ == "__main__":
    main()
