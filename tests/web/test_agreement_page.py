import re

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select

from app.models import Round
from tests.preferences.conftest import load_rankings, make_project, ranking
from tests.web.crowd import Person, seed_crowd

ODD = 'a/b?c&d é "x" <b>'
CROWD = [
    Person(name="ada", noise=0.4),
    Person(name="kim", noise=3.0, seconds=9, first_bias=1.5),
    Person(name="rule", noise=0.2, rule="plain-words"),
    Person(name=ODD, account=False),
]


@pytest.fixture
def project_id(app: FastAPI) -> str:
    with app.state.database.write() as session:
        return seed_crowd(session, CROWD, tasks=60, repeat_share=0.3).id


def read(client: TestClient, project_id: str, **query: str) -> str:
    answer = client.get(f"/projects/{project_id}/agreement", params=query)
    assert answer.status_code == 200
    return answer.text


def value_of(page: str, name: str) -> str:
    card = page.split(f">{name}</h3>")[1].split("</article>")[0]
    found = re.search(r'stat-value">([^<]*)<', card)
    assert found
    return found[1]


def test_project_without_rankings_says_how_agreement_comes(
    app: FastAPI, admin_client: TestClient
) -> None:
    page = read(admin_client, make_project(app.state.database, "Empty"))
    assert "No rankings yet" in page
    assert "2 or more labelers per task" in page


def test_tasks_ranked_once_each_say_what_is_missing(app: FastAPI, admin_client: TestClient) -> None:
    project_id = make_project(app.state.database, "Single")
    load_rankings(
        app.state.database,
        project_id,
        [ranking(labeler="ann"), ranking(prompt="Who?", labeler="bob")],
    )
    page = read(admin_client, project_id)
    assert "Agreement needs tasks that two or more people ranked" in page
    assert f"/projects/{project_id}/rounds/new" in page
    assert "Do labelers agree?" not in page
    assert "Nothing to measure it on yet." in page


def test_figures_come_with_interval_n_and_meaning(
    admin_client: TestClient, project_id: str
) -> None:
    page = read(admin_client, project_id)
    assert re.fullmatch(r"\d\d%", value_of(page, "Pairwise agreement"))
    for name in ("Kendall’s τ-b", "Kendall’s W", "Krippendorff’s α"):
        assert re.fullmatch(r"0\.\d\d", value_of(page, name))
    assert len(re.findall(r"95% interval [\d.%]+ to [\d.%]+ · n [\d,]+ \w+", page)) == 8
    for title in ("Everyone against everyone", "Wins by place on the page", "Agreement by week"):
        assert title in page
    assert page.count('href="/api/v1/projects/') == 4
    assert "never the default" in page
    assert "style=" not in page


def test_figures_are_those_of_the_service_by_hand(app: FastAPI, admin_client: TestClient) -> None:
    """Of three pairs two labelers say the same of two: (2, 1, 3) against (1, 2, 3)."""
    project_id = make_project(app.state.database, "Hand")
    lines = [ranking(labeler="ann"), ranking(labeler="bob", ranks=[1, 2, 3])]
    load_rankings(app.state.database, project_id, lines)
    page = read(admin_client, project_id)
    assert value_of(page, "Pairwise agreement") == "67%"
    assert "n 3 pairs" in page
    assert value_of(page, "Kendall’s τ-b") == "0.33"


def test_filters_choose_round_and_people(
    app: FastAPI, admin_client: TestClient, project_id: str
) -> None:
    everyone = read(admin_client, project_id)
    people = read(admin_client, project_id, simulated="none")
    assert "4 labelers" in everyone
    assert "3 labelers" in people
    assert "simulated=false" in people
    with app.state.database.read() as session:
        round_id = session.scalars(select(Round.id).where(Round.project_id == project_id)).one()
    assert "4 labelers" in read(admin_client, project_id, round_id=round_id)
    nobody = admin_client.get(f"/projects/{project_id}/agreement", params={"round_id": "none"})
    assert nobody.status_code == 404


def test_filters_that_nothing_fits_offer_to_clear(app: FastAPI, admin_client: TestClient) -> None:
    project_id = make_project(app.state.database, "People")
    load_rankings(app.state.database, project_id, [ranking(labeler="ann")])
    assert "No ranking fits these filters" in read(admin_client, project_id, simulated="only")


def test_odd_names_are_text_and_their_links_lead_to_them(
    admin_client: TestClient, project_id: str
) -> None:
    page = read(admin_client, project_id)
    assert "<b>" not in page
    assert "a/b?c&amp;d é &#34;x&#34; &lt;b&gt;" in page
    hrefs = {
        one.replace("&amp;", "&") for one in re.findall(r'href="([^"]*people/labeler[^"]*)"', page)
    }
    assert len(hrefs) == 4
    for href in hrefs:
        assert admin_client.get(href).status_code == 200


def test_only_admins_see_agreement_and_its_tab(
    app: FastAPI, labeler_client: TestClient, researcher_client: TestClient, project_id: str
) -> None:
    for client in (labeler_client, researcher_client):
        assert client.get(f"/projects/{project_id}/agreement").status_code == 403
    pairs = researcher_client.get(f"/projects/{project_id}/pairs").text
    assert f"/projects/{project_id}/agreement" not in pairs
    assert f"/projects/{project_id}/people" not in pairs


def test_unknown_project_is_not_found(admin_client: TestClient) -> None:
    assert admin_client.get("/projects/none/agreement").status_code == 404
