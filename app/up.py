"""`podium up`: web, worker and inference under one supervisor, migrating first."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType

from app.settings import Settings

STOP_GRACE_SECONDS = 20.0
"""A worker's child writes its last checkpoint in this time; then it is killed."""
RESTART_PAUSES_SECONDS = (0.5, 1, 2, 5, 10, 30)
HEALTHY_SECONDS = 60.0
"""A process that lived this long starts again at the shortest pause when it dies."""
PR_SET_PDEATHSIG = 1


@dataclass
class Service:
    """One supervised process: what to run, and what became of it so far."""

    name: str
    arguments: list[str]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restarts: int = 0
    next_start_at: float = field(default=0.0)


def port_is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def takes_connections(host: str, port: int) -> bool:
    """Whether a server listens there now."""
    local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # a look-up, no bind
    try:
        with socket.create_connection((local, port), timeout=1):
            return True
    except OSError:
        return False


def choose_inference_port(settings: Settings) -> int:
    """The configured port, or any free one when another program has it."""
    if port_is_free(settings.inference_host, settings.inference_port):
        return settings.inference_port
    with socket.socket() as probe:
        probe.bind((settings.inference_host, 0))
        port: int = probe.getsockname()[1]
        return port


def die_with_parent() -> None:
    """In a new child on Linux: end when the supervisor is killed, so that none is left behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Supervisor:
    """Keeps services running until it is told to stop, then stops them cleanly.

    Each service is in a session of its own: Ctrl-C reaches only the supervisor, which passes it on
    once.
    """

    def __init__(
        self,
        services: list[Service],
        environment: dict[str, str],
        say: Callable[[str], None],
        greet: Callable[[], bool],
    ) -> None:
        """`greet` is called until it says that it could: the web process answers now."""
        self.services = services
        self.environment = environment
        self.say = say
        self.greet = greet
        self.stopping = threading.Event()

    def run(self) -> int:
        """Run until SIGINT or SIGTERM; the exit code is 0 when everything ended cleanly."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        greeted = False
        while not self.stopping.is_set():
            for service in self.services:
                self._keep_running(service)
            greeted = greeted or self.greet()
            self.stopping.wait(0.2)
        return self._stop_all()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.stopping.set()

    def _keep_running(self, service: Service) -> None:
        now = time.monotonic()
        if service.process is not None:
            code = service.process.poll()
            if code is None:
                return
            if now - service.started_at > HEALTHY_SECONDS:
                service.restarts = 0
            step = min(service.restarts, len(RESTART_PAUSES_SECONDS) - 1)
            pause = RESTART_PAUSES_SECONDS[step]
            self.say(f"{service.name} ended with code {code}; starting it again in {pause:g} s")
            service.process = None
            service.restarts += 1
            service.next_start_at = now + pause
        if now >= service.next_start_at:
            self._start(service)

    def _start(self, service: Service) -> None:
        service.started_at = time.monotonic()
        service.process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", *service.arguments],
            env=self.environment,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )

    def _stop_all(self) -> int:
        running = [s.process for s in self.services if s.process and s.process.poll() is None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + STOP_GRACE_SECONDS
        clean = True
        for process in running:
            try:
                process.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                clean = False
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return 0 if clean else 1


def supervise(settings: Settings, greeting: list[str], say: Callable[[str], None]) -> int:
    """Start web, worker and inference on these settings and keep them running.

    The greeting is said once the web process takes connections.
    """

    def greet() -> bool:
        if not takes_connections(settings.host, settings.port):
            return False
        for line in greeting:
            say(line)
        return True

    inference_port = choose_inference_port(settings)
    environment = os.environ | {
        "PODIUM_DATA_DIR": str(settings.data_dir.absolute()),
        "PODIUM_HOST": settings.host,
        "PODIUM_PORT": str(settings.port),
        "PODIUM_INFERENCE_PORT": str(inference_port),
        "PYTHONUNBUFFERED": "1",
    }
    if "PODIUM_INFERENCE_URL" not in os.environ:
        environment["PODIUM_INFERENCE_URL"] = f"http://{settings.inference_host}:{inference_port}"
    services = [
        Service("web", ["serve"]),
        Service("worker", ["worker"]),
        Service("inference", ["inference"]),
    ]
    return Supervisor(services, environment, say, greet).run()
