"""`podium serve` on a given database, and labelers that rank over REST as fast as they can."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from app.accounts.tokens import create_token
from app.accounts.users import create_user
from app.db import Database
from app.models import Role
from app.projects.service import create_project
from app.projects.task_import import import_tasks

from .running_app import free_port

READY_SECONDS = 30


@dataclass(frozen=True)
class SeededProject:
    """A project with open tasks, and the tokens of its labelers."""

    id: str
    tokens: list[str]


def seed_tasks(
    database: Database, *, tasks: int, labelers: int, labelers_per_task: int
) -> SeededProject:
    """A project with tasks of four completions, and labelers with a token each."""
    text = "It depends on what you would like to do with it, and on how much time there is. " * 4
    with database.write() as session:
        people = [
            create_user(session, email=f"labeler{number}@example.org", role=Role.LABELER)
            for number in range(labelers)
        ]
        project = create_project(session, None, name="Load", guidelines="Prefer what helps.")
        items = [
            {
                "prompt": f"Question {number}: what should I do next?",
                "completions": [{"text": f"{letter}{number}: {text}"} for letter in "abcd"],
            }
            for number in range(tasks)
        ]
        import_tasks(session, None, project, items, labelers_per_task)
        tokens = [create_token(session, person, "load") for person in people]
    return SeededProject(project.id, tokens)


class ServedApp:
    """A started `podium serve`; what it and its processes use of the machine."""

    def __init__(self, database: Database, data_dir: Path, *, processes: int) -> None:
        self.port = free_port()
        environment = {
            **os.environ,
            "PODIUM_DATA_DIR": str(data_dir),
            "PODIUM_DATABASE_URL": database.url,
            "PODIUM_PORT": str(self.port),
            "PODIUM_WEB_PROCESSES": str(processes),
            "PODIUM_LOG_LEVEL": "error",
        }
        self.log = data_dir / "serve.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "app.cli", "serve"],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait_until_ready(processes)
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self, processes: int) -> None:
        """Several processes share the port: each has to answer."""
        deadline = time.monotonic() + READY_SECONDS
        answers = 0
        while answers < 1 if processes == 1 else answers < 20:
            assert time.monotonic() < deadline, self.log.read_text()
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/readyz")
                answers += connection.getresponse().status == 200
                connection.close()
            except OSError:
                time.sleep(0.1)

    def _family(self) -> list[psutil.Process]:
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """Processor time of all its processes so far."""
        times = [one.cpu_times() for one in self._family()]
        return sum(one.user + one.system for one in times)

    def memory_mb(self) -> float:
        """Resident memory of all its processes, less what a forked one shares."""
        return sum(one.memory_full_info().uss for one in self._family()) / 1e6

    def stop(self) -> None:
        """End it and everything it started."""
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class RestLabeler:
    """One labeler on a connection that stays open."""

    def __init__(self, port: int, project_id: str, token: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self.project_id = project_id
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of an answer."""
        payload = None if body is None else json.dumps(body)
        self.connection.request(method, f"/api/v1{path}", payload, self.headers)
        response = self.connection.getresponse()
        content = response.read()
        return response.status, json.loads(content) if content else None

    def get_nothing(self) -> int:
        """The status of a request that does nothing."""
        self.connection.request("GET", "/healthz")
        response = self.connection.getresponse()
        response.read()
        return response.status

    def lease(self) -> tuple[int, Any]:
        """Ask for the next task."""
        return self.call("POST", f"/projects/{self.project_id}/assignments")

    def rank(self, assignment: dict[str, Any]) -> tuple[int, Any]:
        """Rank the completions in the order shown."""
        shown = [completion["id"] for completion in assignment["completions"]]
        ranks = {completion: place for place, completion in enumerate(shown, start=1)}
        path = f"/assignments/{assignment['id']}/ranking"
        return self.call("PUT", path, {"ranks": ranks, "active_ms": 1000})

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()
