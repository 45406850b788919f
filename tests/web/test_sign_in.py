import re

import pytest

from app.accounts import links, users
from app.accounts.sessions import SESSION_COOKIE
from app.models import Role
from app.web.sign_in import safe_next, target_after_sign_in
from tests.conftest import PASSWORD, make_client


def post_sign_in(client, email, password=PASSWORD, **fields):
    return client.post("/sign-in", data={"email": email, "password": password, **fields})


def test_the_right_password_signs_in_and_goes_on_to_the_page_asked_for(client, make_user):
    make_user(Role.ADMIN, email="a@example.org", password=PASSWORD)
    response = post_sign_in(client, "A@example.org ", next="/people?x=1")
    assert (response.status_code, response.headers["location"]) == (303, "/people?x=1")
    cookie = response.headers["set-cookie"]
    assert re.search(rf"{SESSION_COOKIE}=\S{{40,}};.*HttpOnly.*SameSite=lax", cookie)
    assert client.get("/people").status_code == 200


def test_the_session_cookie_is_for_https_where_people_come_by_https(app, make_user):
    make_user(Role.ADMIN, email="a@example.org", password=PASSWORD)
    client = make_client(app)
    client.base_url = "https://testserver"
    client.headers["Origin"] = "https://testserver"
    assert "Secure" in post_sign_in(client, "a@example.org").headers["set-cookie"]


def test_wrong_password_and_unknown_address_read_the_same(client, make_user):
    make_user(email="a@example.org", password=PASSWORD)
    wrong = post_sign_in(client, "a@example.org", "not the password")
    unknown = post_sign_in(client, "b@example.org", "not the password")
    assert wrong.status_code == unknown.status_code == 422
    assert wrong.text.replace("a@example.org", "b@example.org") == unknown.text
    assert "address or the password is wrong" in wrong.text


def test_many_wrong_passwords_must_wait_even_with_the_right_one(client, make_user):
    make_user(email="a@example.org", password=PASSWORD)
    for _ in range(6):
        post_sign_in(client, "a@example.org", "wrong")
    response = post_sign_in(client, "a@example.org")
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) >= 1


def test_signing_out_ends_the_session_on_the_server(app, admin_client):
    token = admin_client.cookies[SESSION_COOKIE]
    assert admin_client.post("/sign-out").headers["location"] == "/sign-in"
    stolen = make_client(app)
    stolen.cookies.set(SESSION_COOKIE, token)
    assert stolen.get("/people").headers["location"] == "/sign-in?next=/people"


def test_signing_in_again_ends_the_session_before_it(app, client, make_user):
    make_user(Role.ADMIN, email="a@example.org", password=PASSWORD)
    post_sign_in(client, "a@example.org")
    before = client.cookies[SESSION_COOKIE]
    post_sign_in(client, "a@example.org")
    assert client.cookies[SESSION_COOKIE] != before
    old = make_client(app)
    old.cookies.set(SESSION_COOKIE, before)
    assert old.get("/people").status_code == 303


@pytest.mark.parametrize(
    "target",
    ["https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil.example", "/\t/evil",
     "javascript:alert(1)", "evil", "", "/\n//evil.example"],
)  # fmt: skip
def test_next_never_leads_away(target):
    assert safe_next(target) == "/"


def test_signing_in_never_leads_back_to_the_form():
    assert target_after_sign_in("/sign-in?next=/people") == "/"


def test_next_keeps_paths_of_this_site():
    assert safe_next("/projects/1/pairs?format=csv#x") == "/projects/1/pairs?format=csv#x"


def test_the_setup_link_creates_the_first_admin_once(app, client):
    with app.state.database.write() as session:
        token = links.create_setup_link(session)
    assert "Create the first admin" in client.get(f"/setup/{token}").text
    form = {"email": "first@example.org", "name": "First", "password": PASSWORD}
    response = client.post(f"/setup/{token}", data=form)
    assert response.headers["location"] == "/"
    assert client.get("/people").status_code == 200
    with app.state.database.read() as session:
        assert users.find_user_by_email(session, "first@example.org").role == Role.ADMIN
    again = make_client(app).post(f"/setup/{token}", data={**form, "email": "b@example.org"})
    assert again.status_code == 404
    assert make_client(app).get(f"/setup/{token}").status_code == 404


def test_a_refused_setup_form_leaves_the_link_alive(app, client):
    with app.state.database.write() as session:
        token = links.create_setup_link(session)
    response = client.post(f"/setup/{token}", data={"email": "a@example.org", "password": "short"})
    assert response.status_code == 422
    assert "at least 10 characters" in response.text
    assert 'value="a@example.org"' in response.text
    assert client.get(f"/setup/{token}").status_code == 200


def test_a_made_up_setup_link_is_refused(client):
    assert client.get("/setup/guess").status_code == 404
    form = {"email": "a@example.org", "password": PASSWORD}
    assert client.post("/setup/guess", data=form).status_code == 404


def test_the_sign_in_page_says_how_to_begin_while_nobody_has_an_account(client, make_user):
    assert "Nobody has an account yet" in client.get("/sign-in").text
    make_user()
    assert "Nobody has an account yet" not in client.get("/sign-in").text


def test_an_invitation_sets_the_password_once_and_signs_in(app, client, make_user):
    user = make_user(email="l@example.org")
    with app.state.database.write() as session:
        token = links.create_invite_link(session, user)
    assert "l@example.org" in client.get(f"/invite/{token}").text
    refused = client.post(f"/invite/{token}", data={"password": "short"})
    assert refused.status_code == 422
    assert client.post(f"/invite/{token}", data={"password": PASSWORD}).status_code == 303
    assert "l@example.org" in client.get("/account").text
    assert client.get(f"/invite/{token}").status_code == 404
    assert post_sign_in(make_client(app), "l@example.org").status_code == 303


@pytest.mark.parametrize(
    ("who", "where"),
    [("admin_client", "/projects"), ("researcher_client", "/projects"),
     ("labeler_client", "/queue")],
)  # fmt: skip
def test_each_role_begins_where_its_work_is(request, who, where):
    assert request.getfixturevalue(who).get("/").headers["location"] == where
