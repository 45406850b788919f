import pytest
from sqlalchemy.orm import Session

from app.db import Database
from app.errors import Conflict, Invalid, NotFound
from app.models import Role, User
from app.projects.service import (
    add_member,
    archive_project,
    create_project,
    get_project,
    list_members,
    list_projects,
    remove_member,
    restore_project,
    update_project,
)


def person(session: Session, handle: str, role: Role) -> User:
    user = User(email=f"{handle}@example.org", handle=handle, role=role)
    session.add(user)
    session.flush()
    return user


def test_labeler_sees_open_projects_and_those_they_are_a_member_of(database: Database) -> None:
    with database.write() as session:
        admin = person(session, "ada", Role.ADMIN)
        labeler = person(session, "lee", Role.LABELER)
        open_one = create_project(session, admin, name="Open", guidelines="")
        closed = create_project(session, admin, name="Closed", guidelines="")
        update_project(session, None, closed, restricted=True)
        assert [project.id for project in list_projects(session, labeler)] == [open_one.id]
        with pytest.raises(NotFound):
            get_project(session, closed.id, labeler)
        add_member(session, closed, labeler)
        add_member(session, closed, labeler)
        assert list_members(session, closed) == [labeler]
        assert get_project(session, closed.id, labeler) is closed
        remove_member(session, closed, labeler)
        with pytest.raises(NotFound):
            get_project(session, closed.id, labeler)
        assert get_project(session, closed.id, admin) is closed


def test_archived_project_is_hidden_from_labelers_and_from_lists(database: Database) -> None:
    with database.write() as session:
        admin = person(session, "ada", Role.ADMIN)
        labeler = person(session, "lee", Role.LABELER)
        project = create_project(session, admin, name="Old", guidelines="")
        archive_project(session, project)
        assert list_projects(session, admin) == []
        assert list_projects(session, admin, include_archived=True) == [project]
        with pytest.raises(NotFound):
            get_project(session, project.id, labeler)
        restore_project(session, project)
        assert list_projects(session, labeler) == [project]


def test_only_guidelines_that_changed_get_a_new_version(database: Database) -> None:
    with database.write() as session:
        admin = person(session, "ada", Role.ADMIN)
        project = create_project(session, admin, name="P", guidelines="Be kind.\r\n")
        assert (project.guidelines, project.guidelines_version) == ("Be kind.", 1)
        update_project(session, None, project, guidelines="Be kind.\n", name="Renamed")
        assert (project.name, project.guidelines_version) == ("Renamed", 1)
        update_project(session, None, project, guidelines="Be exact.")
        assert project.guidelines_version == 2


def test_names_are_needed_and_unique(database: Database) -> None:
    with database.write() as session:
        admin = person(session, "ada", Role.ADMIN)
        create_project(session, admin, name="One", guidelines="")
        other = create_project(session, admin, name="Two", guidelines="")
        with pytest.raises(Conflict) as taken:
            create_project(session, admin, name=" One ", guidelines="")
        assert "name" in taken.value.fields
        with pytest.raises(Conflict):
            update_project(session, None, other, name="One")
        for bad in ("", "   ", "x" * 201, "a\x00b"):
            with pytest.raises(Invalid):
                create_project(session, admin, name=bad, guidelines="")
