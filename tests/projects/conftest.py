import pytest

from app.db import Database
from tests.projects.prompt_files import make_project


@pytest.fixture
def project_id(database: Database) -> str:
    return make_project(database)


@pytest.fixture
def sqlite_project_id(sqlite_database: Database) -> str:
    return make_project(sqlite_database)
