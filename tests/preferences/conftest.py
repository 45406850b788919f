from collections.abc import Iterable
from typing import Any

import orjson
import pytest

from app.db import Database
from app.models import Project
from app.preferences.imports import import_rankings
from app.projects.reading import ImportFormat, ImportReport


def make_project(database: Database, name: str = "P") -> str:
    with database.write() as session:
        project = Project(name=name)
        session.add(project)
        session.flush()
        return project.id


def load_rankings(
    database: Database, project_id: str, lines: Iterable[dict[str, Any] | bytes], **options: int
) -> ImportReport:
    content = b"\n".join(line if isinstance(line, bytes) else orjson.dumps(line) for line in lines)
    return import_rankings(database, project_id, [content], ImportFormat.JSONL, **options)


def ranking(
    prompt: Any = "Why?",
    texts: Iterable[str] = ("a", "b", "c"),
    ranks: Iterable[Any] = (2, 1, 3),
    **fields: Any,
) -> dict[str, Any]:
    completions = [{"text": text, "model": f"m{n % 2}"} for n, text in enumerate(texts)]
    return {"prompt": prompt, "completions": completions, "ranks": list(ranks), **fields}


@pytest.fixture
def project_id(database: Database) -> str:
    return make_project(database)


@pytest.fixture
def sqlite_project_id(sqlite_database: Database) -> str:
    return make_project(sqlite_database)
