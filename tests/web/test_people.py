import re
from datetime import timedelta

import pytest
from sqlalchemy import update

from app.models import BrowserSession, Role, User, utc_now
from tests.conftest import PASSWORD, make_client, sign_in


def find_invite_path(html: str) -> str:
    return re.search(r"http://testserver(/invite/[\w-]+)", html).group(1)


def test_an_admin_invites_a_person_by_a_link_shown_once(app, admin_client):
    form = {"email": "New@example.org", "name": "New Person", "role": "researcher"}
    page = admin_client.post("/people", data=form)
    assert page.status_code == 200
    path = find_invite_path(page.text)
    assert path not in admin_client.get("/people").text
    guest = make_client(app)
    assert guest.post(path, data={"password": PASSWORD}).status_code == 303
    assert "researcher" in guest.get("/account").text


def test_a_second_account_of_one_address_is_refused_beside_the_field(admin_client):
    page = admin_client.post("/people", data={"email": "admin@example.org"})
    assert page.status_code == 409
    assert "Use an address that has no account." in page.text
    assert 'value="admin@example.org"' in page.text


def test_an_unknown_role_is_refused(admin_client):
    page = admin_client.post("/people", data={"email": "x@example.org", "role": "owner"})
    assert page.status_code == 422
    assert "admin, labeler, researcher" in page.text


def test_a_new_link_lets_a_person_choose_another_password(app, admin_client, make_user):
    user = make_user(email="l@example.org", password=PASSWORD)
    path = find_invite_path(admin_client.post(f"/people/{user.id}/invite").text)
    assert make_client(app).post(path, data={"password": "a newer secret"}).status_code == 303
    form = {"email": user.email, "password": "a newer secret"}
    assert make_client(app).post("/sign-in", data=form).status_code == 303


def test_a_disabled_person_is_out_with_the_next_click(app, admin_client, make_user):
    user = make_user(Role.RESEARCHER)
    theirs = sign_in(app, user)
    assert theirs.get("/account").status_code == 200
    admin_client.post(f"/people/{user.id}/disable")
    assert theirs.get("/account").status_code == 303
    assert "disabled" in admin_client.get("/people").text
    admin_client.post(f"/people/{user.id}/enable")
    assert theirs.get("/account").status_code == 303


def test_a_changed_role_counts_with_the_next_click(app, admin_client, make_user):
    user = make_user(Role.LABELER)
    theirs = sign_in(app, user)
    assert theirs.get("/people").status_code == 403
    admin_client.post(f"/people/{user.id}/role", data={"role": "admin"})
    assert theirs.get("/people").status_code == 200


def test_the_last_admin_cannot_step_down(admin_client, admin):
    response = admin_client.post(f"/people/{admin.id}/role", data={"role": "labeler"})
    assert response.status_code == 409
    assert "last admin" in response.text
    assert admin_client.post(f"/people/{admin.id}/disable").status_code == 409
    assert admin_client.get("/people").status_code == 200


def test_simulated_labelers_are_marked_and_cannot_be_invited(admin_client, make_user):
    user = make_user(email="rule@simulated", simulation_rule="longest first")
    page = admin_client.get("/people").text
    assert "simulated</span>" in page
    assert "rule longest first" in page
    assert admin_client.post(f"/people/{user.id}/invite").status_code == 409


def test_names_of_people_are_escaped(admin_client, make_user):
    make_user(name="<script>alert(1)</script>")
    page = admin_client.get("/people").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_the_audit_log_tells_who_did_what_and_pages_back(admin_client, admin, make_user):
    for number in range(60):
        user = make_user(email=f"p{number}@example.org")
        admin_client.post(f"/people/{user.id}/disable")
    page = admin_client.get("/people/audit").text
    assert page.count("user.disable") == 50
    assert "p59@example.org" in page
    older = re.search(r'href="(/people/audit\?before=\w+)"', page).group(1)
    assert admin_client.get(older).text.count("user.disable") == 10


def test_an_unknown_person_is_not_found(admin_client):
    for action in ("role", "disable", "enable", "invite"):
        assert (
            admin_client.post(f"/people/nobody/{action}", data={"role": "admin"}).status_code == 404
        )


@pytest.mark.parametrize("path", ["/people", "/people/audit"])
def test_people_are_for_admins(request, path, client, labeler_client, researcher_client):
    assert client.get(path).headers["location"] == f"/sign-in?next={path}"
    for other in (labeler_client, researcher_client):
        assert other.get(path).status_code == 403


def test_no_change_of_people_is_open_to_others(client, labeler_client, researcher_client, admin):
    paths = [
        "/people",
        *(f"/people/{admin.id}/{a}" for a in ("role", "disable", "enable", "invite")),
    ]
    for path in paths:
        assert client.post(path, data={"role": "admin"}).status_code == 401
        for other in (labeler_client, researcher_client):
            assert other.post(path, data={"role": "admin"}).status_code == 403


def test_last_seen_is_kept_by_visits(app, admin_client, make_user):
    user = make_user(name="Visitor")
    theirs = sign_in(app, user)
    with app.state.database.write() as session:
        long_ago = utc_now() - timedelta(days=3)
        session.execute(update(BrowserSession).values(last_seen_at=long_ago))
    theirs.get("/account")
    with app.state.database.read() as session:
        assert utc_now() - session.get(User, user.id).last_seen_at < timedelta(minutes=1)
        mine = session.query(BrowserSession).filter_by(user_id=user.id).one()
        assert utc_now() - mine.last_seen_at < timedelta(minutes=1)
