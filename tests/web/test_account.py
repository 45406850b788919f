import re

from app.accounts.secrets import hash_secret
from app.accounts.sessions import SESSION_COOKIE
from tests.conftest import PASSWORD, make_client, sign_in


def test_a_token_is_shown_once_and_works_until_it_is_revoked(app, client, admin_client):
    page = admin_client.post("/account/tokens", data={"token_name": "ci"}).text
    token = re.search(r'value="(podium_[\w-]+)"', page).group(1)
    assert token not in admin_client.get("/account").text
    bearer = {"Authorization": f"Bearer {token}"}
    assert client.get("/people", headers=bearer).status_code == 200
    revoke = re.search(r'action="(/account/tokens/\w+/revoke)"', page).group(1)
    assert admin_client.post(revoke).status_code == 303
    assert client.get("/api/docs", headers=bearer).status_code == 303


def test_a_token_name_that_is_too_long_is_refused_beside_the_field(admin_client):
    page = admin_client.post("/account/tokens", data={"token_name": "x" * 101})
    assert page.status_code == 422
    assert "at most 100 characters" in page.text


def test_nobody_revokes_the_token_of_another(app, admin_client, labeler_client):
    page = admin_client.post("/account/tokens", data={"token_name": "ci"}).text
    revoke = re.search(r'action="(/account/tokens/\w+/revoke)"', page).group(1)
    assert labeler_client.post(revoke).status_code == 404


def test_a_new_password_needs_the_old_one_and_signs_out_the_others(app, make_user):
    user = make_user(email="a@example.org", password=PASSWORD)
    here, there = sign_in(app, user), sign_in(app, user)
    form = {"current_password": "wrong", "new_password": "a newer secret"}
    refused = here.post("/account/password", data=form)
    assert refused.status_code == 422
    assert "not the current password" in refused.text
    form["current_password"] = PASSWORD
    assert here.post("/account/password", data=form | {"new_password": "x"}).status_code == 422
    assert there.get("/account").status_code == 200
    assert here.post("/account/password", data=form).status_code == 303
    assert here.get("/account").status_code == 200
    assert there.get("/account").status_code == 303
    again = make_client(app).post(
        "/sign-in", data={"email": user.email, "password": "a newer secret"}
    )
    assert again.status_code == 303


def test_guessing_the_current_password_is_slowed_down(app, make_user):
    client = sign_in(app, make_user(password=PASSWORD))
    form = {"current_password": "wrong", "new_password": "a newer secret"}
    answers = [client.post("/account/password", data=form).status_code for _ in range(7)]
    assert answers[-1] == 429


def test_a_person_signs_out_their_other_browser(app, admin):
    here, there = sign_in(app, admin), sign_in(app, admin)
    other = hash_secret(there.cookies[SESSION_COOKIE])
    assert other in here.get("/account").text
    here.post("/account/sessions/end", data={"session": other})
    assert there.get("/account").status_code == 303
    assert here.get("/account").status_code == 200


def test_a_person_signs_out_every_other_browser(app, admin):
    here, *others = [sign_in(app, admin) for _ in range(3)]
    here.post("/account/sessions/end-others")
    assert here.get("/account").status_code == 200
    assert [other.get("/account").status_code for other in others] == [303, 303]


def test_nobody_signs_out_the_browser_of_another(admin_client, labeler_client):
    token_hash = hash_secret(admin_client.cookies[SESSION_COOKIE])
    assert (
        labeler_client.post("/account/sessions/end", data={"session": token_hash}).status_code
        == 404
    )
    assert admin_client.get("/account").status_code == 200


def test_the_name_is_saved_and_said_so_once(labeler_client):
    response = labeler_client.post("/account/name", data={"name": " Lena "})
    page = labeler_client.get(response.headers["location"]).text
    assert "Your name is saved." in page
    assert 'value="Lena"' in page
    assert "Your name is saved." not in labeler_client.get("/account").text


def test_the_theme_is_in_the_page_from_its_first_byte(client):
    assert "data-bs-theme" not in client.get("/sign-in").text.partition("<head>")[0]
    response = client.post("/theme", data={"theme": "dark", "next": "/sign-in"})
    assert response.headers["location"] == "/sign-in"
    assert 'data-bs-theme="dark"' in client.get("/sign-in").text.partition("<head>")[0]
    client.post("/theme", data={"theme": '"><script>'})
    assert 'data-theme-choice="auto"' in client.get("/sign-in").text


def test_every_role_has_an_account_page(admin_client, labeler_client, researcher_client, client):
    for person in (admin_client, labeler_client, researcher_client):
        assert person.get("/account").status_code == 200
    assert client.get("/account").headers["location"] == "/sign-in?next=/account"
