"""An import from the browser whose server is killed without a word is gone on with."""

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.accounts.tokens import create_token
from app.accounts.users import create_user
from app.db import Database
from app.models import Role
from app.projects.prompts import count_prompts
from app.projects.service import create_project
from app.schema import upgrade
from tests.serving import ServedApp
from tests.web.imports import counts

ROWS = 100_000
STARTED_ROWS = 2000


@pytest.fixture
def migrated_database(tmp_path: Path) -> Iterator[Database]:
    """Migrated, as a server asks of it."""
    database = Database(f"sqlite:///{tmp_path / 'migrated.sqlite3'}")
    upgrade(database)
    yield database
    database.dispose()


@pytest.fixture
def project_id(migrated_database: Database) -> str:
    with migrated_database.write() as session:
        return create_project(session, None, name="P", guidelines="").id


@pytest.fixture
def token(migrated_database: Database) -> str:
    with migrated_database.write() as session:
        admin = create_user(session, email="ada@example.org", role=Role.ADMIN)
        return create_token(session, admin, "test")


@pytest.fixture
def content() -> bytes:
    words = "what should I do next, and why that rather than something else? " * 8
    return b"".join(b'{"text": "%d: %s"}\n' % (n, words.encode()) for n in range(ROWS)) + b"{\n"


class Servers:
    """Servers on one database and data folder, one after the other."""

    def __init__(self, database: Database, data_dir: Path, token: str) -> None:
        self.database, self.data_dir = database, data_dir
        self.headers = {"Authorization": f"Bearer {token}"}
        self.running: list[ServedApp] = []

    def start(self) -> tuple[ServedApp, httpx.Client]:
        served = ServedApp(self.database, self.data_dir, processes=1)
        self.running.append(served)
        base = f"http://127.0.0.1:{served.port}"
        return served, httpx.Client(base_url=base, headers=self.headers, timeout=120)

    def kill(self, served: ServedApp) -> None:
        os.killpg(served.process.pid, signal.SIGKILL)
        served.process.wait()
        self.running.remove(served)


@pytest.fixture
def servers(migrated_database: Database, tmp_path: Path, token: str) -> Iterator[Servers]:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    servers = Servers(migrated_database, data_dir, token)
    yield servers
    for served in list(servers.running):
        servers.kill(served)


def wait_for(client: httpx.Client, address: str, words: str) -> str:
    deadline = time.monotonic() + 120
    while words not in (page := client.get(address).text):
        assert time.monotonic() < deadline, page
        time.sleep(0.1)
    return page


@pytest.mark.slow
def test_import_killed_in_the_middle_says_where_it_stopped_and_goes_on(
    servers: Servers, migrated_database: Database, project_id: str, content: bytes
) -> None:
    served, client = servers.start()
    uploaded = client.post(
        f"/projects/{project_id}/prompts/upload", files={"file": ("many.jsonl", content)}
    )
    preview = uploaded.headers["location"]
    assert "Of the first 100 rows" in client.get(preview).text
    # The import answers after a second at most: it is killed while it is at it.
    address = client.post(preview).headers["location"]
    page = client.get(address).text
    assert "Importing" in page
    assert re.search(r"\d+% · [\d,]+ rows read", page)
    assert 'hx-trigger="every 1s' in page
    deadline = time.monotonic() + 60
    while count(migrated_database, project_id) < STARTED_ROWS:
        assert time.monotonic() < deadline
    servers.kill(served)
    stored = count(migrated_database, project_id)
    assert STARTED_ROWS <= stored < ROWS

    _, client = servers.start()
    page = client.get(address).text
    assert "Broke off" in page
    assert "Go on" in page
    assert "hx-get" not in page.split('id="import"')[1].split(">")[0], "it asks no more"
    assert "broke off" in client.get(f"/projects/{project_id}/prompts/add").text
    assert client.get(preview).headers["location"] == address
    assert client.post(f"{address}/go-on").status_code == 303
    page = wait_for(client, address, "Imported")
    assert counts(page) == [ROWS - stored, stored, 1]
    assert "counts as duplicate" in page
    assert count(migrated_database, project_id) == ROWS


def count(database: Database, project_id: str) -> int:
    with database.read() as session:
        return count_prompts(session, project_id)
