"""Real processes, killed in the middle of an import."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from sqlalchemy import func, select

from app.db import Database
from app.models import Completion, Prompt, Ranking, RankingEntry, Task
from app.schema import upgrade
from tests.preferences.conftest import make_project

RANKINGS = 6000
PROMPTS = 30_000
COMPLETIONS = 4
WAIT_SECONDS = 60

pytestmark = pytest.mark.slow


@pytest.fixture
def migrated(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    upgrade(database)
    yield database
    database.dispose()


def write_rankings(path: Path) -> None:
    """Three rankings a task, one labeler after the other, so that tasks are met again later."""
    text = "It depends on what you would like to do with it. " * 5
    with path.open("wb") as target:
        for number in range(RANKINGS):
            labeler, task = divmod(number, RANKINGS // 3)
            row = {
                "prompt": f"Question {task}?",
                "tags": ["imported"],
                "completions": [{"text": f"{text}{letter}"} for letter in "abcd"],
                "ranks": [1 + (task + place + labeler) % COMPLETIONS for place in range(4)],
                "labeler": f"labeler-{labeler}",
            }
            target.write(orjson.dumps(row) + b"\n")


def write_prompts(path: Path) -> None:
    with path.open("wb") as target:
        for number in range(PROMPTS):
            row = {"text": f"Question {number}? " + "And why? " * 20, "id": number, "tag": "x"}
            target.write(orjson.dumps(row) + b"\n")


def command(database: Database, folder: Path, kind: str, path: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "app.cli", kind, "import", str(path), "--project", "P"],
        env=os.environ | {"PODIUM_DATABASE_URL": database.url, "PODIUM_DATA_DIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def count(database: Database, table: type) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def kill_in_the_middle(
    database: Database, folder: Path, kind: str, path: Path, table: type, more_than: int
) -> int:
    """How many rows were there when the process was killed, without a word of warning."""
    process = command(database, folder, kind, path)
    deadline = time.monotonic() + WAIT_SECONDS
    while count(database, table) <= more_than and process.poll() is None:
        assert time.monotonic() < deadline, "the import does not get on"
        time.sleep(0.01)
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    output = process.communicate()[0]
    assert process.returncode == -signal.SIGKILL, output
    return count(database, table)


def check_rankings_are_whole(database: Database) -> None:
    with database.read() as session:
        entries = select(func.count()).where(RankingEntry.ranking_id == Ranking.id)
        completions = select(func.count()).where(Completion.task_id == Task.id)
        rankings = select(func.count()).where(Ranking.task_id == Task.id)
        broken = select(Ranking.id).where(entries.scalar_subquery() != COMPLETIONS)
        assert session.scalars(broken).all() == []
        broken = select(Task.id).where(completions.scalar_subquery() != COMPLETIONS)
        assert session.scalars(broken).all() == []
        broken = select(Task.id).where(
            (rankings.scalar_subquery() != Task.rankings_got)
            | (Task.slots_taken != Task.rankings_got)
            | (Task.rankings_wanted != Task.rankings_got)
            | (Task.rankings_got == 0)
        )
        assert session.scalars(broken).all() == []
        assert session.scalars(select(Prompt.tags).distinct()).all() == [["imported"]]


def test_rankings_killed_in_the_middle_are_whole_and_complete_when_run_again(
    migrated: Database, tmp_path: Path
) -> None:
    make_project(migrated)
    path = tmp_path / "rankings.jsonl"
    write_rankings(path)
    done = 0
    for _ in range(2):
        done = kill_in_the_middle(migrated, tmp_path, "rankings", path, Ranking, done)
        assert 0 < done < RANKINGS
        check_rankings_are_whole(migrated)
    finished = command(migrated, tmp_path, "rankings", path)
    output = finished.communicate()[0].decode()
    assert finished.returncode == 0, output
    assert f"created {RANKINGS - done}, duplicates {done}, rejected 0" in output
    check_rankings_are_whole(migrated)
    assert count(migrated, Ranking) == RANKINGS
    assert count(migrated, Task) == count(migrated, Prompt) == RANKINGS // 3
    with migrated.read() as session:
        content = select(Ranking.task_id, Ranking.labeler).distinct().subquery()
        assert session.scalar(select(func.count()).select_from(content)) == RANKINGS


def test_prompts_killed_in_the_middle_are_complete_when_run_again(
    migrated: Database, tmp_path: Path
) -> None:
    make_project(migrated)
    path = tmp_path / "prompts.jsonl"
    write_prompts(path)
    done = kill_in_the_middle(migrated, tmp_path, "prompts", path, Prompt, 0)
    assert 0 < done < PROMPTS
    finished = command(migrated, tmp_path, "prompts", path)
    output = finished.communicate()[0].decode()
    assert finished.returncode == 0, output
    assert f"created {PROMPTS - done}, duplicates {done}, rejected 0" in output
    assert count(migrated, Prompt) == PROMPTS
    with migrated.read() as session:
        external_ids = select(func.count(Prompt.external_id.distinct()))
        assert session.scalar(external_ids) == PROMPTS
