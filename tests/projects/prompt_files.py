"""Prompts imported from a file, and what is stored of it."""

import io

from app.db import Database
from app.models import Project, Prompt
from app.projects.prompts import import_prompts, list_prompts
from app.projects.reading import ImportFormat, ImportReport


def make_project(database: Database) -> str:
    with database.write() as session:
        project = Project(name="P")
        session.add(project)
        session.flush()
        return project.id


def load(
    database: Database, project_id: str, content: bytes | str, layout: str = "jsonl", **options: int
) -> ImportReport:
    body = content.encode() if isinstance(content, str) else content
    return import_prompts(database, project_id, io.BytesIO(body), ImportFormat(layout), **options)


def stored(database: Database, project_id: str) -> list[Prompt]:
    with database.read() as session:
        return list_prompts(session, project_id, limit=1000)


def texts(database: Database, project_id: str) -> list[str]:
    return [prompt.messages[-1]["content"] for prompt in stored(database, project_id)]
