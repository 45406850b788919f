"""Migrations: the tables they make are the tables of the models, on both databases."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, inspect

from app.db import Database
from app.models import Base
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
