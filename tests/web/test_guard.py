import pytest

from app.main import create_app
from app.models import ApiToken
from app.settings import Settings
from app.web.guard import origin_of
from tests.conftest import sign_in


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://testserver.evil.example"},
        {"Origin": "http://testserver:81"},
        {"Origin": "https://testserver"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Referer": "https://evil.example/http://testserver/"},
    ],
)
def test_unsafe_requests_from_elsewhere_are_refused(admin_client, headers):
    del admin_client.headers["Origin"]
    response = admin_client.post("/people", data={"email": "x@example.org"}, headers=headers)
    assert response.status_code == 403
    assert "did not come from a page of this site" in response.text
    assert "x@example.org" not in admin_client.get("/people").text


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://testserver"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Referer": "http://testserver/people"},
        {"Origin": "http://testserver:80"},
    ],
)
def test_requests_of_our_own_pages_pass(admin_client, headers):
    del admin_client.headers["Origin"]
    response = admin_client.post("/people", data={"email": "x@example.org"}, headers=headers)
    assert response.status_code == 200


def test_reading_needs_no_origin(admin_client):
    del admin_client.headers["Origin"]
    assert admin_client.get("/people").status_code == 200


def test_the_public_address_of_a_proxy_is_our_own(sqlite_database, tmp_path, admin_client, admin):
    app = create_app(
        Settings(
            data_dir=tmp_path / "d",
            database_url=sqlite_database.url,
            public_url="https://podium.example/",
        )
    )
    client = sign_in(app, admin)
    client.headers["Origin"] = "https://podium.example"
    assert client.post("/people", data={"email": "y@example.org"}).status_code == 200
    app.state.database.dispose()


def test_a_bearer_token_needs_no_origin_and_a_wrong_one_no_cookie_makes_good(
    app, client, admin_client, admin_token
):
    del admin_client.headers["Origin"]
    token = {"Authorization": f"Bearer {admin_token}"}
    assert admin_client.post("/account/tokens", headers=token).status_code == 200
    wrong = {"Authorization": "Bearer podium_wrong"}
    assert admin_client.post("/account/tokens", headers=wrong).status_code == 401
    with app.state.database.read() as session:
        assert session.query(ApiToken).count() == 2


def test_the_api_answers_with_a_problem_document(admin_client):
    del admin_client.headers["Origin"]
    response = admin_client.post("/api/v1/projects", json={"name": "x"})
    assert response.status_code == 403
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == "cross_origin"


def test_origins_are_compared_without_default_ports_and_case():
    assert origin_of("HTTPS://Podium.Example:443/x?y") == "https://podium.example"
    assert origin_of("http://[::1]:8000/") == "http://[::1]:8000"
    assert origin_of("nonsense") is None
    assert origin_of("http://a:notaport") is None
