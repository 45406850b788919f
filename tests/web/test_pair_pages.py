import json
import re

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select

from app.models import Model, Ranking, utc_now
from tests.preferences.conftest import load_rankings, make_project, ranking


@pytest.fixture
def project_id(app: FastAPI) -> str:
    project_id = make_project(app.state.database)
    lines = [
        ranking(labeler="ann", texts=["**bold** a", "<script>b", "c"], comment="Hard & close"),
        ranking(labeler="bot", prompt="Simulated?", simulated=True),
        ranking(prompt="Twice?", texts=["x", "x"], ranks=[1, 2], labeler="bob"),
    ]
    assert load_rankings(app.state.database, project_id, lines).created == 3
    return project_id


def test_project_without_rankings_explains_pairs(app: FastAPI, admin_client: TestClient) -> None:
    project_id = make_project(app.state.database, "Empty")
    page = admin_client.get(f"/projects/{project_id}/pairs")
    assert page.status_code == 200
    assert "No rankings yet" in page.text
    assert "No snapshot yet" in admin_client.get(f"/projects/{project_id}/snapshots").text


def test_pairs_stand_side_by_side_with_counts_and_marks(
    researcher_client: TestClient, project_id: str
) -> None:
    page = researcher_client.get(f"/projects/{project_id}/pairs").text
    assert page.count('aria-label="Chosen"') == page.count('aria-label="Rejected"') == 6
    assert "1 pair of identical texts left out" in page
    assert "This ranking gives no pair" in page
    assert page.count(">simulated</span>") == 1
    assert "<strong>bold</strong>" in page
    assert "&lt;script&gt;b" in page
    assert "Hard &amp; close" in page
    assert "Freeze" not in page.split('id="export"')[1]


def test_filters_narrow_pairs_counts_and_downloads(
    admin_client: TestClient, project_id: str
) -> None:
    path = f"/projects/{project_id}/pairs"
    page = admin_client.get(path, params={"simulated": "none", "labeler": "ann"}).text
    assert page.count('aria-label="Chosen"') == 3
    assert ">simulated</span>" not in page
    links = re.findall(r'href="(/api/v1/projects/[^"]+)" download', page)
    assert len(links) == 13
    for link in links:
        answer = admin_client.get(link.replace("&amp;", "&"))
        assert answer.status_code == 200
        assert "simulated=false" in link
    assert len(admin_client.get(links[0].replace("&amp;", "&")).text.splitlines()) == 3
    assert "No ranking fits" in admin_client.get(path, params={"model": "none"}).text
    assert admin_client.get(path, params={"created_after": "soon"}).status_code == 422
    export = admin_client.get(f"{path}/export?labeler=ann")
    assert export.headers["location"] == f"{path}?labeler=ann#export"


def test_rankings_show_best_first(researcher_client: TestClient, project_id: str) -> None:
    page = researcher_client.get(f"/projects/{project_id}/pairs?view=rankings&labeler=bot").text
    ranks = re.findall(r"Rank </span>(\d)", page)
    texts = re.findall(r'<p dir="auto">([abc])</p>', page)
    assert (ranks, texts) == (["1", "2", "3"], ["b", "a", "c"])


def test_snapshot_is_made_shown_and_downloaded(
    app: FastAPI, admin_client: TestClient, researcher_client: TestClient, project_id: str
) -> None:
    path = f"/projects/{project_id}/snapshots"
    made = admin_client.post(path, data={"name": "People <1>", "simulated": "none"})
    assert made.status_code == 303
    with app.state.database.write() as session:
        snapshot_id = made.headers["location"].rsplit("/", 1)[1]
        model = Model(id="rm", name="Judge", kind="reward_model", source="job")
        model.snapshot_id = snapshot_id
        session.add(model)
        ann = session.scalars(select(Ranking).where(Ranking.labeler == "ann")).one()
        ann.revoked_at = utc_now()
    page = researcher_client.get(made.headers["location"]).text
    assert "People &lt;1&gt;" in page
    assert "people only" in page
    assert "Judge" in page
    assert "1 ranking in this snapshot was revoked" in page
    links = re.findall(r'href="(/api/v1/snapshots/[^"]+)" download', page)
    assert len(links) == 12
    answer = researcher_client.get(links[3].replace("&amp;", "&"))
    assert list(json.loads(answer.text.splitlines()[0])) == ["prompt", "chosen", "rejected"]
    assert "People &lt;1&gt;" in researcher_client.get(path).text


def test_nothing_to_freeze_is_said_on_the_page(admin_client: TestClient, project_id: str) -> None:
    path = f"/projects/{project_id}/snapshots"
    answer = admin_client.post(path, data={"labeler": "nobody"})
    assert answer.status_code == 422
    assert "There is no pair to freeze" in answer.text


def test_labelers_see_neither_pairs_nor_snapshots(
    labeler_client: TestClient, researcher_client: TestClient, project_id: str
) -> None:
    for page in ("pairs", "snapshots"):
        assert labeler_client.get(f"/projects/{project_id}/{page}").status_code == 403
    assert researcher_client.post(f"/projects/{project_id}/snapshots").status_code == 403
