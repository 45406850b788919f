"""The command line: every command does on a fresh data folder what its help says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.db import Database
from app.models import Role
from app.projects.prompts import list_prompts
from app.projects.service import create_project
from tests.cli.running import podium

pytestmark = pytest.mark.slow


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


def add_project(data_dir: Path) -> str:
    database = Database(f"sqlite:///{data_dir / 'podium.sqlite3'}")
    from app.accounts.users import create_user

    with database.write() as session:
        admin = create_user(
            session, email="root@example.org", role=Role.ADMIN, password="three blue bars"
        )
        project_id = create_project(session, admin, name="Essays", guidelines="").id
    database.dispose()
    return project_id


def test_migrate_prints_the_setup_link_until_there_is_an_account(data_dir: Path) -> None:
    assert "/setup/" in podium(data_dir, "migrate").stdout
    podium(
        data_dir, "users", "create", "--email", "a@b.org", "--role", "admin", stdin="secret 123\n"
    )
    assert "/setup/" not in podium(data_dir, "migrate").stdout


def test_a_token_is_printed_alone(data_dir: Path) -> None:
    made = podium(
        data_dir, "users", "create", "--email", "A@b.org", "--role", "researcher", stdin="\n"
    )
    assert made.returncode == 0
    assert "password (shown once): " in made.stdout
    token = podium(data_dir, "tokens", "create", "--email", "a@B.org")
    assert len(token.stdout.split()) == 1
    assert len(token.stdout.strip()) > 30


def test_what_goes_wrong_is_one_line_without_a_traceback(data_dir: Path) -> None:
    missing = podium(data_dir, "tokens", "create", "--email", "nobody@example.org")
    assert missing.returncode == 1
    assert missing.stderr.startswith("podium: nobody has the address")
    assert "Traceback" not in missing.stderr


def test_an_unreachable_database_is_named(data_dir: Path) -> None:
    url = "postgresql://podium:secret@127.0.0.1:1/podium"
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "migrate"],
        env={**os.environ, "PODIUM_DATA_DIR": str(data_dir), "PODIUM_DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("podium: cannot use the database")
    assert "secret" not in done.stderr


def test_prompts_of_any_columns_are_imported_when_they_are_named(
    data_dir: Path, tmp_path: Path
) -> None:
    podium(data_dir, "migrate")
    project_id = add_project(data_dir)
    table = tmp_path / "fragen.csv"
    table.write_text("frage;nr;art;notiz\nWarum?;7;a,b;weg\n")
    named = ("--column", "frage", "--read-as", "text", "--id-column", "nr")
    more = ("--tags-column", "art", "--drop", "notiz")
    imported = podium(
        data_dir, "prompts", "import", "--project", "Essays", str(table), *named, *more
    )
    assert "created 1, duplicates 0, rejected 0" in imported.stdout
    database = Database(f"sqlite:///{data_dir / 'podium.sqlite3'}")
    with database.read() as session:
        (prompt,) = list_prompts(session, project_id)
    database.dispose()
    assert (prompt.external_id, prompt.tags, prompt.details) == ("7", ["a", "b"], {})
    half = podium(data_dir, "prompts", "import", "--project", "Essays", str(table), *more)
    assert half.returncode == 1
    assert "--column" in half.stderr


def test_prompts_and_rankings_go_in_and_pairs_come_out(data_dir: Path, tmp_path: Path) -> None:
    podium(data_dir, "migrate")
    add_project(data_dir)
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"text": "Why?"}\nnot json\n{"text": "How?"}\n')
    imported = podium(data_dir, "prompts", "import", "--project", "Essays", str(prompts))
    assert "created 2, duplicates 0, rejected 1" in imported.stdout
    assert imported.stderr.startswith("line 2: ")
    assert imported.returncode == 1
    ranking = {
        "prompt": "Why?",
        "completions": [{"text": "a"}, {"text": "b"}, {"text": "c"}],
        "ranks": [2, 1, 3],
        "labeler": "kim",
    }
    imported = podium(
        data_dir, "rankings", "import", "--project", "Essays", "-", stdin=json.dumps(ranking)
    )
    assert (imported.returncode, imported.stdout.strip()) == (
        0,
        "created 1, duplicates 0, rejected 0",
    ), imported.stderr
    assert imported.stderr.strip() == "read as podium"
    flat = tmp_path / "pairs.csv"
    flat.write_text("prompt,chosen,rejected\nHow?,x,\n")
    refused = podium(
        data_dir, "rankings", "import", "--format", "trl", "--project", "Essays", str(flat)
    )
    assert (refused.returncode, refused.stdout.strip()) == (
        1,
        "created 0, duplicates 0, rejected 1",
    )
    assert refused.stderr == "read as trl\nline 2: rejected is missing\n"
    exported = podium(data_dir, "pairs", "export", "--project", "Essays", "--schema", "trl")
    rows = [json.loads(line) for line in exported.stdout.splitlines()]
    assert {(row["chosen"], row["rejected"]) for row in rows} == {
        ("b", "a"),
        ("b", "c"),
        ("a", "c"),
    }
    nowhere = podium(data_dir, "pairs", "export", "--project", "Poems")
    assert nowhere.stderr.startswith("podium: no project 'Poems'; projects: Essays")
