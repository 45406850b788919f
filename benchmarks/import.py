"""How fast rankings made elsewhere are imported, against the bare inserts of the same rows.

Generates a JSONL file of 4-way rankings, three a task, imports it into an empty database, and then
inserts the rows that are there afterwards into the same tables of another empty database: Core
`executemany`, one thread, a transaction for each thousand rankings, as the import has them. Both
are in one run, because the speed of a shared host changes from minute to minute; a ratio of 0.5
says that an import takes twice as long as the inserts alone, which do not read, check or look for
duplicates. Then the file is imported again, so that every line is a duplicate.

Run: python -m benchmarks.import [rankings] [sqlite|postgresql]
"""

import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import psutil
from sqlalchemy import Table, select
from sqlalchemy.orm import Session

from app.db import Database
from app.models import Base, Completion, Project, Prompt, Ranking, RankingEntry, Round, Task
from app.preferences.imports import import_rankings
from app.projects.reading import ImportFormat, ImportReport
from benchmarks.labeling import fresh_database

RANKINGS = 20_000
LABELERS_PER_TASK = 3
COMPLETIONS = 4
INSERTED_AT_ONCE = 1000
WORDS = [f"word{number}" for number in range(2000)]


def write_file(path: Path, rankings: int) -> None:
    """Rankings with texts of about 40 words, as people's files have them."""
    chance = random.Random(7)

    def text(words: int) -> str:
        return " ".join(chance.choices(WORDS, k=words))

    with path.open("wb") as target:
        for task in range(-(-rankings // LABELERS_PER_TASK)):
            prompt = f"{task}: {text(12)}"
            completions = [
                {"text": text(40), "model": f"policy-{number % 2}"} for number in range(COMPLETIONS)
            ]
            for labeler in range(min(LABELERS_PER_TASK, rankings - task * LABELERS_PER_TASK)):
                row = {
                    "prompt": prompt,
                    "completions": completions,
                    "ranks": chance.sample(range(1, COMPLETIONS + 1), COMPLETIONS),
                    "labeler": f"labeler-{labeler}",
                    "external_id": f"{task}-{labeler}",
                }
                target.write(orjson.dumps(row) + b"\n")


def new_project(database: Database) -> str:
    with database.write() as session:
        project = Project(name="Import")
        session.add(project)
        session.flush()
        return project.id


def table_of(model: type[Base]) -> Table:
    table = model.__table__
    assert isinstance(table, Table)
    return table


def select_rows(session: Session, model: type[Base], *where: Any) -> list[dict[str, Any]]:
    """Rows as they can be inserted elsewhere: without generated columns."""
    table = table_of(model)
    columns = [column for column in table.c if column.computed is None]
    return [dict(row) for row in session.execute(select(*columns).where(*where)).mappings()]


def stored_portions(source: Database) -> Iterator[list[tuple[Table, list[dict[str, Any]]]]]:
    """What the import stored, a thousand rankings at a time with what is new beside them."""
    tasks: set[str] = set()
    with source.read() as session:
        yield [(table_of(model), select_rows(session, model)) for model in (Project, Round)]
        ids = list(session.scalars(select(Ranking.id).order_by(Ranking.id)))
        for start in range(0, len(ids), INSERTED_AT_ONCE):
            rankings = ids[start : start + INSERTED_AT_ONCE]
            of_rankings = select(Ranking.task_id).where(Ranking.id.in_(rankings))
            fresh = set(session.scalars(of_rankings)) - tasks
            tasks |= fresh
            prompts = select(Task.prompt_id).where(Task.id.in_(fresh))
            entries = RankingEntry.ranking_id.in_(rankings)
            yield [
                (table_of(Prompt), select_rows(session, Prompt, Prompt.id.in_(prompts))),
                (table_of(Task), select_rows(session, Task, Task.id.in_(fresh))),
                (
                    table_of(Completion),
                    select_rows(session, Completion, Completion.task_id.in_(fresh)),
                ),
                (table_of(Ranking), select_rows(session, Ranking, Ranking.id.in_(rankings))),
                (table_of(RankingEntry), select_rows(session, RankingEntry, entries)),
            ]


@dataclass
class Spent:
    """Time on the clock, and of that the processor time of this process."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0

    @contextmanager
    def more(self) -> Iterator[None]:
        """Add what the block takes."""
        began, began_cpu = time.perf_counter(), time.process_time()
        yield
        self.seconds += time.perf_counter() - began
        self.cpu_seconds += time.process_time() - began_cpu


def insert_bare(database: Database, source: Database) -> Spent:
    """The same rows into empty tables; reading them is not counted."""
    spent = Spent()
    for portion in stored_portions(source):
        with spent.more(), database.writer.begin() as connection:
            for table, rows in portion:
                if rows:
                    connection.execute(table.insert(), rows)
    return spent


def measure(kind: str, rankings: int) -> None:
    """One row of the table."""
    process = psutil.Process()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "rankings.jsonl"
        write_file(path, rankings)
        (folder / "import").mkdir()
        (folder / "bare").mkdir()
        with (
            fresh_database(kind, folder / "import") as (database, _),
            fresh_database(kind, folder / "bare") as (empty, _),
        ):
            project = new_project(database)

            def run() -> tuple[Spent, ImportReport]:
                spent = Spent()
                with path.open("rb") as source, spent.more():
                    report = import_rankings(database, project, source, ImportFormat.JSONL)
                return spent, report

            before = process.memory_info().rss
            first, report = run()
            growth = (process.memory_info().rss - before) / 1e6
            assert report.created == rankings, report
            again, report = run()
            assert report.duplicates == rankings, report
            floor = insert_bare(empty, database)
        print(
            f"{kind:10} {rankings:,} rankings: {rankings / first.seconds:6,.0f}/s   "
            f"bare inserts {rankings / floor.seconds:6,.0f}/s   "
            f"ratio {floor.seconds / first.seconds:.2f} by the clock, "
            f"{floor.cpu_seconds / first.cpu_seconds:.2f} by this process's processor time   "
            f"again (all duplicates) {rankings / again.seconds:6,.0f}/s   "
            f"memory +{growth:.0f} MB",
            flush=True,
        )


def main() -> None:
    """Both kinds of database, or one."""
    rankings = int(sys.argv[1]) if len(sys.argv) > 1 else RANKINGS
    for kind in sys.argv[2:] or ["sqlite", "postgresql"]:
        measure(kind, rankings)


if __name__ == "__main__":
    main()
