import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as parquet
import pytest
from typer.testing import CliRunner, Result

from app.cli import cli
from app.db import Database
from app.errors import AppError, Conflict, Invalid
from app.preferences.formats import PairFormat, PairSchema
from app.preferences.snapshot_files import keep_pairs
from app.preferences.snapshots import create_snapshot, get_snapshot
from app.preferences.splits import SplitPlan
from app.schema import upgrade
from tests.cli.running import podium
from tests.preferences.conftest import load_rankings, make_project, ranking


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def database(data_dir: Path) -> Database:
    database = Database(f"sqlite:///{data_dir / 'podium.sqlite3'}")
    upgrade(database)
    return database


def run(data_dir: Path, *options: str) -> Result:
    """The command in this process, which is quicker."""
    arguments = ["pairs", "export", "--project", "Essays", *options]
    return CliRunner().invoke(cli, arguments, env={"PODIUM_DATA_DIR": str(data_dir)})


def fill(database: Database, prompts: int = 20) -> str:
    """A project named Essays and a snapshot of it in two parts; gives the snapshot's id."""
    project_id = make_project(database, "Essays")
    load_rankings(
        database,
        project_id,
        [
            ranking(prompt=f"Why {number}?", labeler=labeler, simulated=labeler == "bot")
            for number in range(prompts)
            for labeler in ("ann", "bot")
        ],
    )
    plan = SplitPlan(shares={"train": 0.8, "test": 0.2})
    with database.write() as session:
        return create_snapshot(session, None, project_id, name="First", plan=plan).id


def test_export_writes_the_bytes_that_rest_gives(
    data_dir: Path, database: Database, tmp_path: Path
) -> None:
    snapshot_id = fill(database)
    with database.read() as session:
        snapshot = get_snapshot(session, snapshot_id)
    for schema, layout, split in (
        (PairSchema.PLAIN, PairFormat.JSONL, None),
        (PairSchema.TRL_UNPAIRED, PairFormat.JSONL_ZST, "train"),
        (PairSchema.ARGILLA, PairFormat.PARQUET, "test"),
    ):
        out = tmp_path / f"{schema}.{layout}"
        arguments = ["--snapshot", snapshot_id, "--schema", schema, "--format", layout]
        part = ["--split", split] if split else []
        done = run(data_dir, "--out", str(out), *arguments, *part)
        assert done.exit_code == 0, done.output
        kept = keep_pairs(database, snapshot, schema, layout, tmp_path / "kept", split=split)
        assert out.read_bytes() == kept.path.read_bytes()
        assert done.stderr == f"wrote {out.stat().st_size:,} bytes\n"
    assert list(tmp_path.glob(".*")) == []


def test_filters_are_those_of_rest(data_dir: Path, database: Database) -> None:
    fill(database)

    def count(*options: str) -> int:
        done = run(data_dir, *options)
        assert done.exit_code == 0, done.output
        return len(done.stdout.splitlines())

    assert count() == 120
    assert count("--no-simulated", "--purpose", "ordinary") == 60
    assert count("--labeler", "ann", "--created-after", "2020-01-01") == 60
    assert count("--min-agreement", "1", "--tag", "none") == 0
    wrong = podium(data_dir, "pairs", "export", "--project", "Essays", "--round-id", "x")
    assert (wrong.returncode, wrong.stderr.splitlines()[0]) == (
        1,
        "podium: This project has no such round.",
    )


def test_folder_takes_the_whole_snapshot_with_its_card(
    data_dir: Path, database: Database, tmp_path: Path
) -> None:
    snapshot_id = fill(database)
    folder = tmp_path / "dataset"
    options = ["--schema", "trl", "--out", f"{folder}/"]
    done = run(data_dir, *options, "--snapshot", snapshot_id)
    assert done.exit_code == 0, done.output
    assert (folder / "README.md").read_text().startswith('---\npretty_name: "First"\n')
    parts = {path.name: parquet.read_table(path).num_rows for path in (folder / "data").iterdir()}
    assert parts == {"train-00000-of-00001.parquet": 96, "test-00000-of-00001.parquet": 24}
    again = run(data_dir, *options, "--snapshot", snapshot_id)
    assert isinstance(again.exception, Conflict)
    now = run(data_dir, "--out", f"{tmp_path}/other/")
    assert isinstance(now.exception, Invalid)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "dataset"]


def test_options_that_contradict_each_other_are_refused(
    data_dir: Path, database: Database, tmp_path: Path
) -> None:
    snapshot_id = fill(database)
    for options, reason in (
        (["--snapshot", snapshot_id, "--labeler", "ann"], "A snapshot has the filters"),
        (["--split", "train"], "Only a snapshot has parts"),
        (["--snapshot", snapshot_id, "--split", "dev"], "There is no part “dev”"),
        (["--snapshot", "nope"], "There is no such snapshot"),
        (["--out", str(tmp_path / "no" / "pairs.jsonl")], "there is no folder"),
    ):
        done = run(data_dir, *options)
        assert isinstance(done.exception, AppError), done.output
        assert done.exception.detail.startswith(reason)


def test_progress_and_time_left_are_shown_on_a_terminal(
    data_dir: Path, database: Database, tmp_path: Path
) -> None:
    fill(database, prompts=200)
    terminal, inside = pty.openpty()
    command = [sys.executable, "-m", "app.cli", "pairs", "export", "--project", "Essays"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "pairs.jsonl")],
        env={**os.environ, "PODIUM_DATA_DIR": str(data_dir), "TERM": "xterm", "COLUMNS": "100"},
        stdout=subprocess.DEVNULL,
        stderr=inside,
        timeout=60,
        check=False,
    )
    os.close(inside)
    shown = os.read(terminal, 65536).decode()
    os.close(terminal)
    assert done.returncode == 0, shown
    assert "Pairs" in shown
    assert "1200/1200" in shown


@pytest.mark.slow
def test_killed_export_leaves_nothing_under_its_name(
    data_dir: Path, database: Database, tmp_path: Path
) -> None:
    fill(database, prompts=1500)
    out = tmp_path / "pairs.jsonl"
    out.write_text("the last export\n")
    command = [sys.executable, "-m", "app.cli", "pairs", "export", "--project", "Essays"]
    process = subprocess.Popen(
        [*command, "--out", str(out)],
        env={**os.environ, "PODIUM_DATA_DIR": str(data_dir)},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size for path in tmp_path.glob(".pairs.jsonl.*.partial")):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    assert out.read_text() == "the last export\n"
    done = podium(data_dir, "pairs", "export", "--project", "Essays", "--out", str(out))
    assert done.returncode == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 9000
