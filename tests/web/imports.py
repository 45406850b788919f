"""What the tests of imports from the browser do alike, whatever is imported."""

import re
import time
from pathlib import Path

from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response

from app.models import Project

REPORT_SECONDS = 30


def add_project(app: FastAPI) -> str:
    """A project to import into; gives its id."""
    with app.state.database.write() as session:
        project = Project(name="Answers")
        session.add(project)
        session.flush()
        return project.id


def import_all(client: TestClient, preview: Response, **fields: object) -> str:
    """Press Import on the preview; gives the page of the finished report."""
    assert preview.status_code == 303, preview.text
    answer = client.post(preview.headers["location"], data=fields)
    assert answer.status_code == 303, answer.text
    # On a busy machine the import goes on after the request that started it.
    deadline = time.monotonic() + REPORT_SECONDS
    while ">Importing<" in (report := client.get(answer.headers["location"]).text):
        assert time.monotonic() < deadline, "the import goes on and on"
        time.sleep(0.2)
    return report


def counts(report: str) -> list[int]:
    """Imported, stored before, and bad lines, as the report says."""
    return [int(n.replace(",", "")) for n in re.findall(r"<dd>([\d,]+)</dd>", report)]


def check_refused(app: FastAPI, answer: Response, said: str, field: str) -> None:
    """The page says why at its field, and the file is not kept."""
    assert answer.status_code == 422
    assert said in answer.text
    assert field in answer.text
    kept: Path = app.state.settings.uploads_dir
    assert not kept.exists() or list(kept.iterdir()) == []
