import pytest
from fastapi import Query
from fastapi.testclient import TestClient
from pydantic import BaseModel, Field

from app.dependencies import CurrentUser
from app.errors import Conflict, Invalid
from tests.conftest import SAME_ORIGIN


class Body(BaseModel):
    count: int = Field(ge=2, le=9)
    names: list[str]


@pytest.fixture
def failing_client(app, admin_client) -> TestClient:
    """An app with routes that fail in every way, inside and outside of the API."""

    def conflict() -> None:
        raise Conflict("It moved on.", code="moved_on", headers={"X-Extra": "1"})

    def invalid() -> None:
        raise Invalid("Look again.", fields={"name": "Up to <9> letters."})

    def crash() -> None:
        raise RuntimeError("a secret of the inside")

    def take(body: Body) -> None: ...

    def search(limit: int = Query(ge=1)) -> None: ...

    def private(user: CurrentUser) -> None: ...

    for prefix in ("/api/v1/test", "/test"):
        app.get(f"{prefix}/conflict")(conflict)
        app.get(f"{prefix}/invalid")(invalid)
        app.get(f"{prefix}/crash")(crash)
        app.post(f"{prefix}/take")(take)
        app.get(f"{prefix}/search")(search)
        app.api_route(f"{prefix}/private", methods=["GET", "POST"])(private)
    return TestClient(
        app, headers=SAME_ORIGIN, follow_redirects=False, raise_server_exceptions=False
    )


def test_problems_have_every_member_and_a_stable_code(failing_client):
    response = failing_client.get("/api/v1/test/conflict")
    assert response.status_code == 409
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-extra"] == "1"
    assert response.json() == {
        "type": "about:blank",
        "title": "Conflict",
        "status": 409,
        "detail": "It moved on.",
        "code": "moved_on",
        "instance": "/api/v1/test/conflict",
    }


def test_pages_say_the_same_in_words_escaped_and_marked_for_scripts(failing_client):
    response = failing_client.get("/test/invalid")
    assert response.status_code == 422
    assert response.headers["podium-error"] == "invalid"
    assert "Look again." in response.text
    assert "Up to &lt;9&gt; letters." in response.text


def test_bad_input_names_the_field_and_what_is_accepted(failing_client):
    response = failing_client.post("/api/v1/test/take", json={"count": 12, "names": ["a", 3]})
    assert response.status_code == 422
    problem = response.json()
    assert problem["code"] == "invalid"
    assert problem["fields"]["count"] == "Input should be less than or equal to 9"
    assert "string" in problem["fields"]["names.1"]
    assert "count" in problem["detail"]
    query = failing_client.get("/api/v1/test/search?limit=0").json()
    assert list(query["fields"]) == ["limit"]


def test_broken_json_is_said_to_be_so(failing_client):
    response = failing_client.post(
        "/api/v1/test/take", content=b'{"count": ', headers={"Content-Type": "application/json"}
    )
    assert response.status_code == 422
    assert "JSON" in response.json()["fields"]["body"]


def test_a_crash_tells_nothing_of_the_inside(failing_client, caplog):
    for path in ("/test/crash", "/api/v1/test/crash"):
        response = failing_client.get(path)
        assert response.status_code == 500
        assert "secret" not in response.text
        assert "internal_error" in (response.text + response.headers.get("podium-error", ""))
    assert "a secret of the inside" in caplog.text


def test_unknown_addresses_and_methods_have_both_shapes(failing_client):
    assert failing_client.get("/api/v1/nowhere").json()["code"] == "not_found"
    assert "nothing at this address" in failing_client.get("/nowhere").text
    response = failing_client.delete("/api/v1/test/conflict")
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
    assert "GET" in response.headers["allow"]


def test_strangers_are_sent_to_sign_in_from_pages_and_told_so_by_the_api(failing_client):
    response = failing_client.get("/test/private?a=1&b=2")
    assert response.status_code == 303
    assert response.headers["location"] == "/sign-in?next=/test/private%3Fa%3D1%26b%3D2"
    response = failing_client.get("/api/v1/test/private")
    assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert failing_client.post("/test/private").status_code == 401
    fragment = failing_client.get("/test/private", headers={"HX-Request": "true"})
    assert fragment.status_code == 401


def test_every_answer_carries_the_security_headers(failing_client):
    for path in ("/sign-in", "/nowhere", "/api/v1/nowhere", "/test/crash", "/static/css/app.css"):
        headers = failing_client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy, path
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
