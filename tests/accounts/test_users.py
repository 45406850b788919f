"""People and what may happen to their accounts, on both kinds of database."""

import threading

import pytest
from sqlalchemy import select

from app.accounts import audit, links, sessions, tokens, users
from app.accounts.secrets import hash_secret
from app.db import Database
from app.errors import Conflict, Invalid, NotFound
from app.models import AccountLink, ApiToken, BrowserSession, Role, User, utc_now

PASSWORD = "correct horse battery"


@pytest.fixture
def admin(database: Database) -> User:
    with database.write() as session:
        return users.create_user(
            session, email="Ada@Example.org", role=Role.ADMIN, password=PASSWORD
        )


def test_addresses_are_kept_in_lower_case_and_belong_to_one_person(database, admin):
    assert admin.email == "ada@example.org"
    with pytest.raises(Conflict, match="account"), database.write() as session:
        users.create_user(session, email="ADA@example.org", role=Role.LABELER)


@pytest.mark.parametrize("email", ["", "ada", "a b@c", "@x", "x@", "a@b\n", "a" * 400 + "@b.c"])
def test_what_is_no_address_is_refused_by_name(sqlite_database, email):
    with pytest.raises(Invalid) as caught, sqlite_database.write() as session:
        users.create_user(session, email=email.replace("\n", "\x0bx"), role=Role.LABELER)
    assert "email" in caught.value.fields


def test_an_unknown_role_is_refused_with_the_ones_there_are(sqlite_database):
    with pytest.raises(Invalid) as caught, sqlite_database.write() as session:
        users.create_user(session, email="x@example.org", role="owner")
    assert "labeler" in caught.value.fields["role"]


@pytest.mark.parametrize("password", ["short", "aaaaaaaaaaaa", "x" * 1001, "x@example.org"])
def test_weak_passwords_are_refused(sqlite_database, password):
    with pytest.raises(Invalid) as caught, sqlite_database.write() as session:
        users.create_user(session, email="x@example.org", role=Role.ADMIN, password=password)
    assert "password" in caught.value.fields


def test_a_handle_tells_neither_name_nor_address(database, admin):
    assert admin.handle.startswith("labeler-")
    assert "ada" not in admin.handle


def test_simulated_labelers_are_called_so(sqlite_database):
    with sqlite_database.write() as session:
        user = users.create_user(
            session, email="rule@simulated", role=Role.LABELER, simulation_rule="length"
        )
    assert user.simulated
    assert user.handle.startswith("simulated-")


def test_only_the_right_password_lets_in(database, admin):
    with database.read() as session:
        assert users.authenticate(session, " ADA@example.org", PASSWORD).id == admin.id
        assert users.authenticate(session, admin.email, PASSWORD + "x") is None
        assert users.authenticate(session, "nobody@example.org", PASSWORD) is None


def test_an_account_without_password_lets_nobody_in(database):
    with database.write() as session:
        user = users.create_user(session, email="new@example.org", role=Role.LABELER)
    with database.read() as session:
        for guess in ("", "a decoy that no sign-in can match \x00"):
            assert users.authenticate(session, user.email, guess) is None


def test_passwords_and_secrets_are_stored_as_hashes_only(database, admin):
    with database.write() as session:
        cookie = sessions.create_session(session, admin)
        token = tokens.create_token(session, admin, "ci")
        link = links.create_invite_link(session, admin)
    with database.read() as session:
        assert session.get(User, admin.id).password_hash.startswith("$argon2id$")
        assert session.scalars(select(BrowserSession.token_hash)).all() == [hash_secret(cookie)]
        assert session.scalars(select(ApiToken.token_hash)).all() == [hash_secret(token)]
        assert session.scalars(select(AccountLink.token_hash)).all() == [hash_secret(link)]
        stored = session.scalars(select(ApiToken)).one()
        assert token.startswith(stored.prefix)
        assert len(stored.prefix) < 20


def test_disabling_ends_sessions_tokens_and_links_at_once(database, admin):
    with database.write() as session:
        user = users.create_user(
            session, email="l@example.org", role=Role.LABELER, password=PASSWORD
        )
        cookie = sessions.create_session(session, user)
        token = tokens.create_token(session, user)
        link = links.create_invite_link(session, user)
    with database.write() as session:
        users.disable_user(session, admin, user.id)
    with database.read() as session:
        assert sessions.find_session(session, cookie) is None
        assert tokens.find_token(session, token) is None
        assert users.authenticate(session, user.email, PASSWORD) is None
        with pytest.raises(NotFound):
            links.get_link(session, link, "invite")
    with database.write() as session:
        users.enable_user(session, admin, user.id)
    with database.read() as session:
        assert users.authenticate(session, user.email, PASSWORD) is not None
        assert sessions.find_session(session, cookie) is None
        assert tokens.find_token(session, token) is None


def test_the_last_admin_stays_one(database, admin):
    for attempt in (
        lambda session: users.disable_user(session, admin, admin.id),
        lambda session: users.change_role(session, admin, admin.id, Role.LABELER),
    ):
        with pytest.raises(Conflict) as caught, database.write() as session:
            attempt(session)
        assert caught.value.code == "last_admin"


def test_a_disabled_admin_does_not_count_as_another(database, admin):
    with database.write() as session:
        other = users.create_user(session, email="b@example.org", role=Role.ADMIN)
        users.disable_user(session, admin, other.id)
    with pytest.raises(Conflict), database.write() as session:
        users.change_role(session, admin, admin.id, Role.RESEARCHER)


def test_two_admins_cannot_disable_each_other_at_the_same_moment(database, admin):
    with database.write() as session:
        other = users.create_user(session, email="b@example.org", role=Role.ADMIN)
    outcomes: list[str] = []
    start = threading.Barrier(2)

    def disable(actor: User, target: User) -> None:
        start.wait()
        try:
            with database.write() as session:
                users.disable_user(session, actor, target.id)
            outcomes.append("done")
        except Conflict as error:
            outcomes.append(error.code)

    pairs = [(admin, other), (other, admin)]
    threads = [threading.Thread(target=disable, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["done", "last_admin"]


def test_changes_of_people_are_in_the_audit_log(database, admin):
    with database.write() as session:
        user = users.create_user(session, email="l@example.org", role=Role.LABELER)
        users.change_role(session, admin, user.id, Role.RESEARCHER)
        users.disable_user(session, admin, user.id)
    with database.read() as session:
        events = audit.list_events(session)
    assert [(event.action, actor.id) for event, actor in events] == [
        ("user.disable", admin.id),
        ("user.role", admin.id),
    ]
    assert events[1][0].details == {"before": "labeler", "after": "researcher"}


def test_a_new_password_ends_every_other_session(database, admin):
    with database.write() as session:
        here, there = (
            sessions.create_session(session, admin),
            sessions.create_session(session, admin),
        )
    with database.write() as session:
        users.set_password(
            session, users.get_user(session, admin.id), "another good one", keep_token=here
        )
    with database.read() as session:
        assert sessions.find_session(session, here) is not None
        assert sessions.find_session(session, there) is None


def test_nobody_can_end_another_persons_session_or_token(database, admin):
    with database.write() as session:
        user = users.create_user(session, email="l@example.org", role=Role.LABELER)
        cookie = sessions.create_session(session, admin)
        tokens.create_token(session, admin)
        token_id = session.scalars(select(ApiToken.id)).one()
    with pytest.raises(NotFound), database.write() as session:
        sessions.end_session_of(session, user, hash_secret(cookie))
    with pytest.raises(NotFound), database.write() as session:
        tokens.revoke_token(session, user, token_id)
    with database.read() as session:
        assert sessions.find_session(session, cookie) is not None


def test_sessions_and_tokens_end_by_themselves(database, admin):
    with database.write() as session:
        cookie = sessions.create_session(session, admin, days=0)
        token = tokens.create_token(session, admin, expires_at=utc_now())
    with database.read() as session:
        assert sessions.find_session(session, cookie) is None
        assert tokens.find_token(session, token) is None
