"""What a labeler receives of an A/B round: nothing that tells which policy wrote what."""

import re
from collections.abc import Callable
from itertools import pairwise, product
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select

from app.evaluation.opening import open_ab_round
from app.models import Assignment, Completion, Job, Prompt, Ranking, Role, Task, User
from tests.conftest import sign_in
from tests.evaluation.contests import fill_round, make_contest, settings_in

OLD, NEW = "quokka-before", "quokka-after"
TELLING = ("quokka", "candidate", "baseline")
TASKS = 40
LEAST, MOST = 6, 34
"""Of 40 fair coins, fewer heads than 6 or more than 34 come once in 700,000 times."""


@pytest.fixture
def contest(app: FastAPI, tmp_path: Any) -> dict[str, list[str]]:
    """An open A/B round; ids of all there is, by what the paths of REST call them."""
    with app.state.database.write() as session:
        made = make_contest(session, prompts=TASKS, held_out=TASKS, old=OLD, new=NEW)
        job = session.get_one(Job, made.job_id)
        round_ = open_ab_round(session, None, settings_in(tmp_path), job, prompts=TASKS)
        rewards = {OLD: 0.5, NEW: 1.5}
        tasks = fill_round(session, round_, lambda policy, task: f"Answer {len(policy)}", rewards)
        return {
            "project_id": [made.project_id],
            "round_id": [round_.id],
            "job_id": [made.job_id],
            "model_id": [OLD, NEW],
            "task_id": [tasks[0].id],
            "prompt_id": [session.scalars(select(Prompt.id)).first() or ""],
        }


@pytest.fixture
def labeler(app: FastAPI, make_user: Callable[..., User]) -> TestClient:
    return sign_in(app, make_user(Role.LABELER))


def work(labeler: TestClient, project_id: str, tasks: int) -> list[dict[str, Any]]:
    """Lease and rank so many; the leases as they came."""
    leases = []
    for _ in range(tasks):
        lease = labeler.post(f"/api/v1/projects/{project_id}/assignments").json()
        ranks = {one["id"]: place for place, one in enumerate(lease["completions"], 1)}
        path = f"/api/v1/assignments/{lease['id']}/ranking"
        assert labeler.put(path, json={"ranks": ranks}).status_code == 200
        leases.append(lease)
    return leases


def crawl(client: TestClient, starts: list[str]) -> dict[str, str]:
    """Every page that can be reached over links, with its source."""
    pages: dict[str, str] = {}
    ahead = list(starts)
    while ahead:
        path = ahead.pop()
        if path in pages:
            continue
        answer = client.get(path, follow_redirects=True)
        pages[path] = answer.text if answer.status_code == 200 else ""
        links = re.findall(r'(?:href|hx-get|action|src)="(/[^"#]*)', pages[path])
        ahead += [one for one in links if not one.startswith(("/static", "/sign-out", "/api"))]
    return pages


def test_no_page_and_no_answer_names_a_policy(
    app: FastAPI, labeler: TestClient, contest: dict[str, list[str]]
) -> None:
    [project_id] = contest["project_id"]
    work(labeler, project_id, 3)
    labeler.post(f"/projects/{project_id}/rank", follow_redirects=True)
    with app.state.database.read() as session:
        contest["assignment_id"] = list(session.scalars(select(Assignment.id)))
        contest["ranking_id"] = list(session.scalars(select(Ranking.id)))
        task_id = session.scalars(select(Assignment.task_id)).first()
        texts = session.scalars(select(Completion.text).where(Completion.task_id == task_id))
        assert set(texts) == {f"Answer {len(OLD)}", f"Answer {len(NEW)}"}

    pages = crawl(labeler, ["/", f"/projects/{project_id}/rank", "/my-rankings"])
    assert any("Answer 12" in source for source in pages.values()), "a task was shown"
    answers = {}
    for path, operations in app.openapi()["paths"].items():
        names = re.findall(r"{(\w+)}", path)
        if "get" not in operations or not all(name in contest for name in names):
            continue
        for ids in product(*(contest[name] for name in names)):
            address = path.format(**dict(zip(names, ids, strict=True)))
            answer = labeler.get(address)
            answers[address] = answer.text if answer.status_code == 200 else ""
    assert any("completions" in text for text in answers.values()), "an assignment was read"
    for address, text in {**pages, **answers}.items():
        for word in TELLING:
            assert word not in text.lower(), f"{address} says {word}"


def test_neither_place_nor_id_nor_order_of_coming_tells_a_policy(
    app: FastAPI, labeler: TestClient, contest: dict[str, list[str]]
) -> None:
    leases = work(labeler, contest["project_id"][0], TASKS)
    with app.state.database.read() as session:
        policies = dict(session.execute(select(Completion.id, Completion.model_id)).all())
        made = {
            task: number
            for number, task in enumerate(session.scalars(select(Task.id).order_by(Task.id)))
        }
    shown = [[one["id"] for one in lease["completions"]] for lease in leases]
    firsts = [policies[ids[0]] == NEW for ids in shown]
    assert sum(firsts) == TASKS // 2, "each stands first equally often"
    assert LEAST <= sum(policies[min(ids)] == NEW for ids in shown) <= MOST
    assert LEAST <= sum(one == other for one, other in pairwise(firsts)) <= MOST
    # Whoever puts the tasks in the order in which they were made learns nothing either.
    coming = sorted(range(TASKS), key=lambda place: made[leases[place]["task_id"]])
    by_making = [firsts[place] for place in coming]
    assert LEAST <= sum(one == place % 2 for place, one in enumerate(by_making)) <= MOST
    assert all(set(one) == {"id", "text"} for lease in leases for one in lease["completions"])
