import threading
from datetime import timedelta

import pytest
from sqlalchemy import update

from app.accounts import links, users
from app.errors import NotFound
from app.models import AccountLink, Role, utc_now


def test_a_setup_link_exists_only_while_nobody_has_an_account(database):
    with database.write() as session:
        assert links.create_setup_link(session)
        users.create_user(session, email="a@example.org", role=Role.ADMIN)
        assert links.create_setup_link(session) is None


def test_simulated_labelers_do_not_take_the_place_of_the_first_admin(sqlite_database):
    with sqlite_database.write() as session:
        users.create_user(session, email="r@simulated", role=Role.LABELER, simulation_rule="length")
        assert links.create_setup_link(session)


def test_a_setup_link_works_once_and_a_newer_one_ends_it(database):
    with database.write() as session:
        first = links.create_setup_link(session)
        second = links.create_setup_link(session)
    with database.write() as session:
        with pytest.raises(NotFound):
            links.use_link(session, first, "setup")
        links.use_link(session, second, "setup")
        with pytest.raises(NotFound):
            links.use_link(session, second, "setup")


def test_a_setup_link_dies_when_somebody_has_an_account_by_another_way(database):
    with database.write() as session:
        token = links.create_setup_link(session)
        users.create_user(session, email="a@example.org", role=Role.ADMIN)
    with pytest.raises(NotFound), database.read() as session:
        links.get_link(session, token, "setup")


def test_links_end_by_themselves_and_serve_one_purpose(database):
    with database.write() as session:
        setup = links.create_setup_link(session)
    with pytest.raises(NotFound), database.read() as session:
        links.get_link(session, setup, "invite")
    with database.write() as session:
        session.execute(update(AccountLink).values(expires_at=utc_now() - timedelta(seconds=1)))
    with pytest.raises(NotFound), database.read() as session:
        links.get_link(session, setup, "setup")


def test_of_two_people_with_one_link_at_the_same_moment_one_gets_it(database):
    with database.write() as session:
        token = links.create_setup_link(session)
    start, outcomes = threading.Barrier(2), []

    def take() -> None:
        start.wait()
        try:
            with database.write() as session:
                links.use_link(session, token, "setup")
            outcomes.append("got it")
        except NotFound:
            outcomes.append("gone")

    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["gone", "got it"]
