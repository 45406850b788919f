"""Podium and Potato side by side: rank a task of four and get the next one, over real HTTP.

Potato (the package `potato-annotation`) is installed into a virtual environment of its own, whose
Python is given. Both serve from one process on this machine, one after the other, each to 1 and
then 4 clients without a pause. Potato saves a ranking (`/updateinstance`) and then sends the
page with the next task (`/annotate`); its save alone is measured too. Podium leases and ranks over
REST.

Run: python -m benchmarks.labeling_peer /path/to/potato/bin/python
"""

import http.client
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import psutil

from app.db import Database
from app.schema import upgrade
from tests.running_app import free_port
from tests.serving import RestLabeler, ServedApp, seed_tasks

SECONDS = 8.0
CLIENTS = (1, 4)
TASKS = 4000
TEXT = "It depends on what you would like to do with it, and on how much time there is. " * 4
NEXT_ID = re.compile(rb'id="instance_id" name="instance_id" type="hidden" value="([^"]+)"')
CONFIG = """
server_name: bench
annotation_task_name: bench
task_dir: .
output_annotation_dir: out
output_annotation_format: jsonl
data_files: [tasks.json]
item_properties: {id_key: id, text_key: text}
user_config: {allow_all_users: true, users: []}
require_password: false
max_annotations_per_user: 4000
max_annotations_per_item: 3
assignment_strategy: random
site_dir: default
annotation_schemes:
  - {annotation_type: ranking, name: rank, description: Rank them, labels: [A, B, C, D]}
"""


class PotatoLabeler:
    """One person at Potato's pages, on a connection that stays open."""

    def __init__(self, port: int, name: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        form = urllib.parse.urlencode({"action": "login", "email": name, "pass": ""})
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        self.connection.request("POST", "/auth", form, headers)
        response = self.connection.getresponse()
        response.read()
        self.cookie = {"Cookie": response.getheader("Set-Cookie", "").split(";")[0]}
        self.connection.request("GET", "/annotate", None, self.cookie)
        self.task = self.read_next()

    def read_next(self) -> str:
        found = NEXT_ID.search(self.connection.getresponse().read())
        assert found, "no task on the page"
        return found[1].decode()

    def post(self, path: str, body: dict) -> None:
        headers = {**self.cookie, "Content-Type": "application/json"}
        self.connection.request("POST", path, json.dumps(body), headers)

    def save(self) -> None:
        """Store a ranking of the task in hand."""
        ranking = {"rank:rank_order": "B,A,D,C"}
        self.post("/updateinstance", {"instance_id": self.task, "annotations": ranking})
        response = self.connection.getresponse()
        response.read()
        assert response.status == 200

    def save_and_go_on(self) -> None:
        """Store a ranking and get the next task."""
        self.save()
        self.post("/annotate", {"action": "next_instance", "instance_id": self.task})
        self.task = self.read_next()


def run_at_once(clients: int, make: Callable[[int], Callable[[], None]]) -> int:
    """How often `clients` threads did it in `SECONDS`, each with an act of its own."""
    counts = [0] * clients
    acts = [make(number) for number in range(clients)]
    until = time.time() + SECONDS

    def work(number: int) -> None:
        while time.time() < until:
            acts[number]()
            counts[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts)


def measure(what: str, clients: int, cpu: Callable[[], float], make: Callable) -> float:
    """Print one row; the rankings per second."""
    before = cpu()
    done = run_at_once(clients, make)
    each = (cpu() - before) / done * 1000
    print(f"{what:28} {clients} clients: {done / SECONDS:6.1f} a second, {each:5.1f} ms CPU each")
    return done / SECONDS


def measure_potato(python: str, folder: Path) -> dict[int, float]:
    """Rankings per second by clients."""
    with (folder / "tasks.json").open("w") as file:
        for number in range(TASKS):
            texts = " ".join(f"{letter}{number}: {TEXT}" for letter in "ABCD")
            text = f"Question {number}: what should I do next? {texts}"
            file.write(json.dumps({"id": f"t{number}", "text": text}) + "\n")
    (folder / "config.yaml").write_text(CONFIG)
    port = free_port()
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [python, "-m", "potato", "start", "config.yaml", "-p", str(port)],
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    try:
        time.sleep(10)
        process = psutil.Process(server.pid)

        def cpu() -> float:
            times = process.cpu_times()
            return times.user + times.system

        speeds = {}
        for clients in CLIENTS:
            speeds[clients] = measure(
                "Potato, save and next task",
                clients,
                cpu,
                lambda n, c=clients: PotatoLabeler(port, f"full{c}x{n}").save_and_go_on,
            )
            measure(
                "Potato, save alone",
                clients,
                cpu,
                lambda n, c=clients: PotatoLabeler(port, f"save{c}x{n}").save,
            )
        return speeds
    finally:
        server.terminate()
        server.wait(20)


def measure_podium(folder: Path) -> dict[int, float]:
    """Rankings per second by clients."""
    database = Database(f"sqlite:///{folder / 'podium.sqlite3'}")
    upgrade(database)
    project = seed_tasks(database, tasks=TASKS, labelers=sum(CLIENTS), labelers_per_task=3)
    app = ServedApp(database, folder, processes=1)
    tokens = iter(project.tokens)

    def make(_number: int) -> Callable[[], None]:
        labeler = RestLabeler(app.port, project.id, next(tokens))

        def lease_and_rank() -> None:
            _, assignment = labeler.lease()
            status, _ = labeler.rank(assignment)
            assert status == 200

        return lease_and_rank

    try:
        return {
            clients: measure("Podium, lease and rank", clients, app.cpu_seconds, make)
            for clients in CLIENTS
        }
    finally:
        app.stop()
        database.dispose()


def main(python: str) -> None:
    """Both, and the ratio."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        theirs = measure_potato(python, Path(one))
        ours = measure_podium(Path(other))
    for clients in CLIENTS:
        print(f"{clients} clients: Podium is {ours[clients] / theirs[clients]:.1f} times as fast")


if __name__ == "__main__":
    main(sys.argv[1])
