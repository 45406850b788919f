import re

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select

from app.labeling.rankings import store_ranking
from app.models import Completion, Project, Round, RoundState, Task, TaskPurpose
from tests.labeling.factory import make_project, make_tasks


@pytest.fixture
def task_id(app: FastAPI) -> str:
    with app.state.database.write() as session:
        project = make_project(session)
        return make_tasks(session, project, 1, texts=("**bold**", "<script>x", "third"))[0].id


def completions_of(app: FastAPI, task_id: str) -> list[str]:
    with app.state.database.read() as session:
        found = select(Completion.id).where(Completion.task_id == task_id)
        return list(session.scalars(found.order_by(Completion.position)))


def fields(app: FastAPI, task_id: str, *ranks: str) -> dict[str, str]:
    ids = completions_of(app, task_id)
    return {f"rank_{name}": rank for name, rank in zip(ids, ranks, strict=True)}


def load(app: FastAPI, task_id: str) -> Task:
    with app.state.database.read() as session:
        return session.get_one(Task, task_id)


def chosen(page: str) -> list[str]:
    """The rank chosen in each select, in the order of the page."""
    selects = re.findall(r"<select.*?</select>", page, re.S)
    return ["".join(re.findall(r'value="(\d)" selected', one)) for one in selects]


def test_an_admin_makes_a_gold_task_with_plain_selects_and_takes_it_back(
    app: FastAPI, admin_client: TestClient, task_id: str
) -> None:
    path = f"/tasks/{task_id}/gold"
    page = admin_client.get(path).text
    assert "every labeler of the project is given this task, unmarked" in " ".join(page.split())
    assert "<strong>bold</strong>" in page
    assert "&lt;script&gt;x" in page
    assert chosen(page)[-3:] == ["", "", ""]
    assert admin_client.post(path, data=fields(app, task_id, "2", "1", "2")).status_code == 303
    task = load(app, task_id)
    assert task.purpose == TaskPurpose.GOLD
    assert sorted((task.gold_ranks or {}).values()) == [1, 2, 2]
    page = admin_client.get(path).text
    assert chosen(page)[-3:] == ["2", "1", "2"]
    assert admin_client.post(f"{path}/clear").status_code == 303
    assert load(app, task_id).purpose == TaskPurpose.ORDINARY


@pytest.mark.parametrize(
    ("ranks", "words"),
    [(("1", "1", "1"), "better than another"), (("1", "", "2"), "every completion needs a rank")],
)
def test_a_refused_order_comes_back_as_chosen(
    app: FastAPI, admin_client: TestClient, task_id: str, ranks: tuple[str, ...], words: str
) -> None:
    refused = admin_client.post(f"/tasks/{task_id}/gold", data=fields(app, task_id, *ranks))
    assert refused.status_code == 422
    assert words in refused.text
    assert chosen(refused.text)[-3:] == list(ranks)
    assert load(app, task_id).purpose == TaskPurpose.ORDINARY


def test_a_ranking_or_the_consensus_fills_the_form_in(
    app: FastAPI, admin_client: TestClient, task_id: str
) -> None:
    ids = completions_of(app, task_id)
    with app.state.database.write() as session:
        task = session.get_one(Task, task_id)
        by_labeler: dict[str, str] = {}
        for labeler, ranks in (("ada", (3, 1, 2)), ("bob", (2, 1, 3)), ("eve", (2, 1, 3))):
            given = store_ranking(
                session,
                task=task,
                labeler=labeler,
                ranks=dict(zip(ids, ranks, strict=True)),
                source="app",
            )
            by_labeler[labeler] = given.id
        project_id = task.project_id
    first = by_labeler["ada"]
    path = f"/tasks/{task_id}/gold"
    page = admin_client.get(path).text
    assert "Consensus" in page
    assert chosen(admin_client.get(f"{path}?fill={first}").text)[-3:] == ["3", "1", "2"]
    assert chosen(admin_client.get(f"{path}?fill=consensus").text)[-3:] == ["2", "1", "3"]
    assert chosen(admin_client.get(f"{path}?fill=nothing").text)[-3:] == ["", "", ""]
    pairs = admin_client.get(f"/projects/{project_id}/pairs").text
    assert f"/tasks/{task_id}/gold?fill={first}" in pairs


def test_the_page_says_what_keeps_a_gold_task_from_being_given(
    app: FastAPI, admin_client: TestClient, task_id: str
) -> None:
    with app.state.database.write() as session:
        task = session.get_one(Task, task_id)
        session.get_one(Round, task.round_id).state = RoundState.CLOSED
        session.get_one(Project, task.project_id).gold_share = 0
    page = admin_client.get(f"/tasks/{task_id}/gold").text
    assert "Its round is closed" in page
    assert "share of gold tasks is 0" in page


def test_gold_is_for_admins(
    app: FastAPI,
    task_id: str,
    labeler_client: TestClient,
    researcher_client: TestClient,
    client: TestClient,
) -> None:
    project_id = load(app, task_id).project_id
    for browser in (labeler_client, researcher_client):
        assert browser.get(f"/tasks/{task_id}/gold").status_code == 403
        assert browser.post(f"/tasks/{task_id}/gold").status_code == 403
        assert browser.post(f"/tasks/{task_id}/gold/clear").status_code == 403
        assert browser.get(f"/projects/{project_id}/gold").status_code == 403
        path = f"/api/v1/tasks/{task_id}/gold"
        assert browser.put(path, json={"ranks": {}}).status_code == 403
        assert browser.delete(path).status_code == 403
        assert browser.get(f"/api/v1/projects/{project_id}/gold").status_code == 403
    assert client.get(f"/api/v1/projects/{project_id}/gold").status_code == 401


def test_rest_makes_lists_and_clears_gold_tasks(
    app: FastAPI, admin_client: TestClient, task_id: str
) -> None:
    ids = completions_of(app, task_id)
    path = f"/api/v1/tasks/{task_id}/gold"
    made = admin_client.put(path, json={"ranks": dict(zip(ids, (9, 1, 9), strict=True))}).json()
    assert made["purpose"] == "gold"
    assert made["gold_ranks"] == dict(zip(ids, (2, 1, 2), strict=True))
    project_id = load(app, task_id).project_id
    listed = admin_client.get(f"/api/v1/projects/{project_id}/gold").json()
    assert [item["id"] for item in listed["items"]] == [task_id]
    only = admin_client.get(f"/api/v1/projects/{project_id}/gold?purpose=calibration").json()
    assert only["items"] == []
    refused = admin_client.put(path, json={"ranks": {ids[0]: 1}})
    assert refused.status_code == 422
    assert f"ranks.{ids[1]}" in refused.json()["fields"]
    assert admin_client.delete(path).json()["purpose"] == "ordinary"
    assert admin_client.put("/api/v1/tasks/nothing/gold", json={"ranks": {}}).status_code == 404


def test_the_list_links_every_check_with_how_many_ranked_it(
    app: FastAPI, admin_client: TestClient, task_id: str
) -> None:
    project_id = load(app, task_id).project_id
    path = f"/projects/{project_id}/gold"
    assert "task here yet" in admin_client.get(path).text
    admin_client.post(f"/tasks/{task_id}/gold", data=fields(app, task_id, "1", "2", "3"))
    page = admin_client.get(path).text
    assert f"/tasks/{task_id}/gold" in page
    assert "0 labelers" in page
    assert "No calibration task here yet" in admin_client.get(f"{path}?purpose=calibration").text
    assert "1 gold task" in admin_client.get(f"/projects/{project_id}/settings").text


def test_nothing_a_labeler_receives_tells_a_gold_or_calibration_task(
    app: FastAPI, labeler_client: TestClient, task_id: str
) -> None:
    project_id = load(app, task_id).project_id
    assignment = labeler_client.post(f"/api/v1/projects/{project_id}/assignments").json()
    ids = completions_of(app, task_id)
    paths = (
        f"/assignments/{assignment['id']}",
        f"/api/v1/assignments/{assignment['id']}",
        "/queue",
        f"/api/v1/projects/{project_id}",
    )

    def received() -> list[str]:
        moving = re.compile(r'"?lease[^"]*"[^,>]*|\d{4}-\d\d-\d\d[T ][\d:.]+\S*|\d+ (s|min) ago')
        answers = [labeler_client.get(path) for path in paths]
        assert {answer.status_code for answer in answers} == {200}
        return [moving.sub("", answer.text) for answer in answers]

    ordinary = received()
    for purpose, gold_ranks in (
        (TaskPurpose.CALIBRATION, None),
        (TaskPurpose.GOLD, dict(zip(ids, (1, 2, 3), strict=True))),
    ):
        with app.state.database.write() as session:
            task = session.get_one(Task, task_id)
            task.purpose, task.gold_ranks = purpose, gold_ranks
        assert received() == ordinary
