import subprocess
import sys

import pytest
from sqlalchemy import text

from app.web import health
from tests.conftest import make_client


@pytest.fixture
def migrated_app(app_on_any_database):
    with app_on_any_database.state.database.write() as session:
        session.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        for head in health.read_migration_heads():
            session.execute(text("INSERT INTO alembic_version VALUES (:head)"), {"head": head})
    return app_on_any_database


def test_a_live_process_says_so_without_a_database(client):
    assert client.get("/healthz").text == "ok\n"


def test_readiness_needs_the_newest_migration(migrated_app, monkeypatch):
    monkeypatch.setattr(health, "check_assets", lambda: "")
    client = make_client(migrated_app)
    response = client.get("/readyz")
    assert (response.status_code, response.json()["status"]) == (200, "ready")
    with migrated_app.state.database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = 'older'"))
    response = client.get("/readyz")
    assert response.status_code == 503
    assert "podium migrate" in response.json()["checks"]["database"]


def test_readiness_says_when_the_database_was_never_migrated(client):
    response = client.get("/readyz")
    assert response.status_code == 503
    assert "migrated" in response.json()["checks"]["database"]


def test_readiness_names_missing_assets(client, monkeypatch, tmp_path):
    monkeypatch.setattr(health, "ROOT", tmp_path)
    assert "htmx/htmx.min.js" in client.get("/readyz").json()["checks"]["assets"]


def test_metrics_count_requests_by_route_and_never_by_address(client, admin_client):
    admin_client.post("/people/some-secret-id/disable")
    client.get("/setup/some-secret-token")
    client.get("/static/css/app.css")
    page = client.get("/metrics").text
    assert (
        'podium_requests_total{method="POST",route="/people/{user_id}/disable",status="404"} 1.0'
        in page
    )
    assert 'route="/setup/{token}"' in page
    assert 'route="/static"' in page
    assert "some-secret" not in page
    assert 'podium_jobs{state="queued"} 0.0' in page
    assert "podium_request_seconds_bucket" in page


def test_two_apps_in_one_process_count_apart(app, app_on_any_database):
    make_client(app).get("/healthz")
    assert 'route="/healthz"' not in make_client(app_on_any_database).get("/metrics").text


@pytest.mark.slow
def test_the_web_process_imports_nothing_heavy():
    code = (
        "import sys; from app.main import create_app; from app.settings import Settings; "
        "create_app(Settings()); "
        "print([m for m in ('torch', 'transformers', 'dbos', 'alembic', 'pyarrow', 'scipy') "
        "if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr
