"""Migrations: the tables they make are the tables of the models, on both databases."""

from datetime import datetime
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import JSON, CheckConstraint, Column, MetaData, func, insert, inspect, select
from sqlalchemy.exc import IntegrityError

from app.db import Database
from app.models import (
    Assignment,
    Base,
    Guidelines,
    LabelerPause,
    Prompt,
    RankingEntry,
    Round,
    Snapshot,
    SnapshotRanking,
    Task,
    utc_now,
)
from app.schema import find_current_revision, newest_revision, upgrade


def test_migrations_from_empty_give_exactly_the_models(database_url: str) -> None:
    database = Database(database_url)
    assert find_current_revision(database) is None
    upgrade(database)
    assert find_current_revision(database) == newest_revision()
    with database.writer.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        for table in Base.metadata.sorted_tables:
            found = {c["name"] for c in inspect(connection).get_check_constraints(table.name)}
            checks = [c for c in table.constraints if isinstance(c, CheckConstraint)]
            wanted = {str(check.name) for check in checks}
            assert wanted == found, table.name
    database.dispose()


def test_migrating_twice_changes_nothing(database_url: str) -> None:
    database = Database(database_url)
    upgrade(database)
    upgrade(database)
    assert find_current_revision(database) == newest_revision()
    database.dispose()


def test_rows_of_the_previous_release_survive_the_upgrade(database_url: str) -> None:
    """SQLite makes changed tables anew: dropping the old one must not delete what hangs on it."""
    database = Database(database_url)
    upgrade(database, "0001")
    with database.writer.begin() as connection:
        tables = MetaData()
        tables.reflect(connection)
        rows = rows_of_release_0001()
        for name, row in rows:
            table = tables.tables[name]
            values = {c.name: row.get(c.name, filler(c)) for c in table.columns if not c.computed}
            connection.execute(insert(table).values(values))
    upgrade(database)
    with database.read() as session:
        assert session.scalars(select(func.count()).select_from(SnapshotRanking)).one() == 1
        assert session.scalars(select(RankingEntry.rank).order_by(RankingEntry.rank)).all() == [
            1,
            2,
        ]
        assignment = session.scalars(select(Assignment)).one()
        assert (assignment.project_id, assignment.is_repeat) == ("project", False)
        task = session.scalars(select(Task)).one()
        assert (task.slots_free, task.purpose, task.priority) == (1, "ordinary", 5)
        guidelines = session.scalars(select(Guidelines)).one()
        assert (guidelines.version, guidelines.text) == (4, "Be fair.")
        snapshot = session.scalars(select(Snapshot)).one()
        assert (snapshot.labelers, snapshot.guidelines_versions) == (1, {"3": 1})
        assert session.scalars(select(Prompt.tags)).one() == []
        assert task.uncertainty is None
        assert session.scalars(select(Round.candidate_id)).one() is None
    with database.write() as session, pytest.raises(IntegrityError):
        session.execute(insert(LabelerPause).values(project_id="nobody", user_id="person"))
    database.dispose()


def rows_of_release_0001() -> list[tuple[str, dict[str, Any]]]:
    """A ranking with everything it hangs on, as the first release stored it."""
    person = {"user_id": "person", "labeler": "kim"}
    place = {"project_id": "project", "task_id": "task", "round_id": "round"}
    return [
        ("user", {"id": "person", "role": "labeler"}),
        ("project", {"id": "project", "guidelines": "Be fair.", "guidelines_version": 4}),
        ("prompt", {"id": "prompt", "project_id": "project"}),
        ("round", {"id": "round", "project_id": "project", "state": "open", "number": 1}),
        ("task", {"id": "task", "prompt_id": "prompt", "state": "open", "rankings_wanted": 2,
                  "rankings_got": 1, "slots_taken": 1, **place}),
        ("completion", {"id": "first", "task_id": "task", "position": 0}),
        ("completion", {"id": "second", "task_id": "task", "position": 1}),
        ("assignment", {"id": "lease", "task_id": "task", "user_id": "person", "slot": 0,
                        "state": "submitted"}),
        ("ranking", {"id": "ranking", "assignment_id": "lease", "source": "app",
                     "guidelines_version": 3, **person, **place}),
        ("ranking_entry", {"ranking_id": "ranking", "completion_id": "first", "rank": 1}),
        ("ranking_entry", {"ranking_id": "ranking", "completion_id": "second", "rank": 2}),
        ("snapshot", {"id": "snapshot", "project_id": "project"}),
        ("snapshot_ranking", {"snapshot_id": "snapshot", "ranking_id": "ranking"}),
    ]  # fmt: skip


def filler(column: Column[Any]) -> Any:
    """A value that a column takes which the test does not care about."""
    if column.nullable:
        return None
    if column.name == "completions_per_prompt":
        return 4
    if isinstance(column.type, JSON):
        return []
    values = {str: "", int: 0, bool: column.name == "current", datetime: utc_now()}
    return values[column.type.python_type]
