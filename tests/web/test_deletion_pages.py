import re

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from app.models import Base, Job, JobState, Model, Prompt, Ranking, Round, RoundState, Task
from app.preferences.snapshots import create_snapshot
from tests.web.crowd import Person, seed_crowd

ODD = 'a/b?c&d é "x" <b>'


@pytest.fixture
def project_id(app: FastAPI) -> str:
    crowd = [Person(name="ada", noise=0.3), Person(name=ODD, account=False, share=0.5)]
    with app.state.database.write() as session:
        return seed_crowd(session, crowd, tasks=20, skip_share=0.1).id


def freeze(app: FastAPI, project_id: str, name: str = "First week") -> str:
    with app.state.database.write() as session:
        return create_snapshot(session, None, project_id, name=name).id


def count(app: FastAPI, table: type[Base], *conditions: object) -> int:
    with app.state.database.read() as session:
        found = select(func.count()).select_from(table).where(*conditions)  # type: ignore[arg-type]
        return session.scalar(found) or 0


def erase_page(client: TestClient, project_id: str, name: str) -> str:
    address = f"/projects/{project_id}/people/labeler/erase"
    answer = client.get(address, params={"name": name})
    assert answer.status_code == 200
    return answer.text


def test_the_page_says_what_goes_and_what_stays(
    app: FastAPI, admin_client: TestClient, project_id: str
) -> None:
    page = erase_page(admin_client, project_id, "ada")
    assert "No snapshot holds any of them" in page
    snapshot_id = freeze(app, project_id)
    with app.state.database.write() as session:
        session.add(
            Model(id="rm", name="RM", kind="reward_model", source="job", snapshot_id=snapshot_id)
        )
    rankings = count(app, Ranking, Ranking.labeler == "ada")
    page = erase_page(admin_client, project_id, "ada")
    assert f"<strong>{rankings} rankings</strong>" in page
    assert "in 1 snapshot" in page
    assert '<a href="/models/rm">' in page
    labeler = admin_client.get(
        f"/projects/{project_id}/people/labeler", params={"name": "ada"}
    ).text
    assert "/people/labeler/erase?name=ada" in labeler


@pytest.mark.parametrize("name", ["ada", ODD])
def test_erasing_asks_for_the_name_and_then_leaves_nothing_of_it(
    app: FastAPI, admin_client: TestClient, project_id: str, name: str
) -> None:
    snapshot_id = freeze(app, project_id)
    address = f"/projects/{project_id}/people/labeler/erase"
    wrong = admin_client.post(address, data={"name": name, "confirm": "somebody"})
    assert wrong.status_code == 422
    assert "The two names differ" in wrong.text
    assert 'value="somebody"' in wrong.text
    assert count(app, Ranking, Ranking.erased_at.is_not(None)) == 0
    done = admin_client.post(address, data={"name": name, "confirm": name})
    assert (done.status_code, done.headers["location"]) == (303, f"/projects/{project_id}/people")
    assert "tombstones in 1 snapshot" in admin_client.get(done.headers["location"]).text
    assert count(app, Ranking, Ranking.labeler == name) == 0
    snapshot = admin_client.get(f"/snapshots/{snapshot_id}").text
    assert "were erased, because their labelers’ data had to go" in snapshot
    assert "on the day it was frozen" in snapshot
    assert admin_client.get(address, params={"name": name}).status_code == 404
    people = admin_client.get(f"/projects/{project_id}/people").text
    assert "erased-" not in people


def test_a_snapshot_of_which_all_is_erased_has_a_page_and_downloads(
    app: FastAPI, admin_client: TestClient, project_id: str
) -> None:
    snapshot_id = freeze(app, project_id)
    address = f"/projects/{project_id}/people/labeler/erase"
    for name in ("ada", ODD):
        admin_client.post(address, data={"name": name, "confirm": name})
    page = admin_client.get(f"/snapshots/{snapshot_id}")
    assert page.status_code == 200
    assert "all of them were erased" in page.text
    for path in ("pairs", "pairs?format=parquet", "rankings", "card", "dataset"):
        answer = admin_client.get(f"/api/v1/snapshots/{snapshot_id}/{path}")
        assert answer.status_code == 200, path
    diff = admin_client.get(f"/snapshots/{snapshot_id}/diff?against={snapshot_id}")
    assert diff.status_code == 200


def test_a_job_that_reads_them_is_named_on_the_page(
    app: FastAPI, admin_client: TestClient, project_id: str
) -> None:
    snapshot_id = freeze(app, project_id)
    with app.state.database.write() as session:
        config = {"snapshot_id": snapshot_id}
        session.add(
            Job(kind="reward_model", project_id=project_id, state=JobState.RUNNING, config=config)
        )
    address = f"/projects/{project_id}/people/labeler/erase"
    answer = admin_client.post(address, data={"name": "ada", "confirm": "ada"})
    assert answer.status_code == 409
    assert "A job is learning from these rankings right now" in answer.text


def test_only_admins_erase(
    researcher_client: TestClient, labeler_client: TestClient, project_id: str
) -> None:
    address = f"/projects/{project_id}/people/labeler/erase"
    for client in (researcher_client, labeler_client):
        assert client.get(address, params={"name": "ada"}).status_code == 403
        answer = client.post(address, data={"name": "ada", "confirm": "ada"})
        assert answer.status_code == 403


def test_a_prompt_is_deleted_from_its_list_which_stays_as_it_was(
    app: FastAPI, admin_client: TestClient, researcher_client: TestClient, project_id: str
) -> None:
    page = admin_client.get(f"/projects/{project_id}/prompts?query=e").text
    action = re.search(r'action="(/prompts/[^"]+/delete)"', page)
    assert action
    assert 'name="query" value="e"' in page
    before = count(app, Prompt)
    done = admin_client.post(action[1], data={"query": "e", "page": "1"})
    assert done.headers["location"] == f"/projects/{project_id}/prompts?query=e"
    assert count(app, Prompt) == before - 1
    listed = researcher_client.get(f"/projects/{project_id}/prompts").text
    assert "/delete" not in listed


def test_a_round_says_why_it_stays_until_it_may_go(
    app: FastAPI, admin_client: TestClient, project_id: str
) -> None:
    with app.state.database.write() as session:
        round_ = session.scalars(select(Round)).one()
        round_.state = RoundState.OPEN
    path = f"/rounds/{round_.id}"
    assert "Close it first" in admin_client.get(path).text
    refused = admin_client.post(f"{path}/delete")
    assert refused.headers["location"] == path
    assert "Close it first" in admin_client.get(path).text
    with app.state.database.write() as session:
        session.get_one(Round, round_.id).state = RoundState.CLOSED
    snapshot_id = freeze(app, project_id)
    page = admin_client.get(path).text
    assert f'<a href="/snapshots/{snapshot_id}">First week</a>' in page
    assert f'action="{path}/delete"' not in page
    admin_client.post(f"/snapshots/{snapshot_id}/delete")
    assert f'action="{path}/delete"' in admin_client.get(path).text
    done = admin_client.post(f"{path}/delete")
    assert done.headers["location"] == f"/projects/{project_id}/rounds"
    assert [count(app, table) for table in (Round, Task, Ranking)] == [0, 0, 0]


def test_a_ranking_is_deleted_from_its_page_or_says_which_snapshot_holds_it(
    app: FastAPI, admin_client: TestClient, project_id: str
) -> None:
    snapshot_id = freeze(app, project_id)
    with app.state.database.read() as session:
        ranking_id = session.scalars(select(Ranking.id).where(Ranking.current)).first()
    path = f"/rankings/{ranking_id}"
    assert f'action="{path}/delete"' not in admin_client.get(path).text
    refused = admin_client.post(f"{path}/delete")
    assert refused.headers["location"] == path
    assert "“First week”" in admin_client.get(path).text
    admin_client.post(f"/snapshots/{snapshot_id}/delete")
    assert f'action="{path}/delete"' in admin_client.get(path).text
    done = admin_client.post(f"{path}/delete")
    assert done.headers["location"] == f"/projects/{project_id}/pairs?view=rankings"
    assert admin_client.get(path).status_code == 404
