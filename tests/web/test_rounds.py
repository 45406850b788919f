import html
import re
from collections.abc import Callable

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select

from app.jobs.kinds import generation
from app.jobs.service import finish_job, get_job
from app.labeling.rankings import store_ranking
from app.models import Completion, JobState, ModelKind, Project, RankingSource, Round, User
from app.projects.rounds import create_round, open_task_if_ready, settle_round
from tests.conftest import sign_in
from tests.projects.rounds_factory import make_model, make_project, tasks_of

FORM = {
    "policies": ["first"],
    "completions_per_prompt": "3",
    "labelers_per_task": "2",
    "prompt_limit": "2",
    "temperature": "0.7",
    "top_p": "0.9",
    "max_new_tokens": "16",
    "seed": "",
    "calibration_percent": "50",
    "priority": "2",
}


@pytest.fixture
def project_id(app: FastAPI) -> str:
    with app.state.database.write() as session:
        make_model(session, "first")
        make_model(session, "second", simulated_labels=True)
        make_model(session, "judge", ModelKind.REWARD_MODEL)
        return make_project(session, prompts=3).id


@pytest.fixture
def round_id(app: FastAPI, project_id: str) -> str:
    """A round whose first task has its completions, and the job is still at work."""
    with app.state.database.write() as session:
        project = session.get_one(Project, project_id)
        round_ = create_round(session, None, project, policies=["first"], completions_per_prompt=2)
        task = tasks_of(session, round_.id)[0]
        for position, text in enumerate(("**bold** answer", "<script>alert(1)</script> plain")):
            session.add(Completion(task_id=task.id, position=position, text=text, model_id="first"))
        session.flush()
        open_task_if_ready(session, task, 2)
        return round_.id


def end_job(app: FastAPI, round_id: str, state: JobState = JobState.FAILED) -> None:
    with app.state.database.write() as session:
        job = get_job(session, session.get_one(Round, round_id).job_id or "")
        finish_job(session, job, state, kind=generation.KIND, reason="no server answers")


def test_the_form_offers_policies_and_starts_the_round(
    app: FastAPI, admin_client: TestClient, project_id: str
) -> None:
    page = admin_client.get(f"/projects/{project_id}/rounds/new?policies=second,first").text
    assert re.search(r'value="first" checked', page)
    assert re.search(r'value="second" checked', page)
    assert "judge" not in page
    assert "3 prompts" in page
    sent = admin_client.post(f"/projects/{project_id}/rounds", data=FORM)
    assert sent.status_code == 303
    with app.state.database.read() as session:
        round_ = session.scalars(select(Round)).one()
        assert (round_.completions_per_prompt, round_.labelers_per_task) == (3, 2)
        assert (round_.prompt_limit, round_.sampling["temperature"]) == (2, 0.7)
        assert (round_.calibration_share, round_.priority) == (0.5, 2)
        purposes = sorted(task.purpose for task in tasks_of(session, round_.id))
        assert purposes == ["calibration", "ordinary"]
    assert sent.headers["location"] == f"/rounds/{round_.id}"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"policies": []}, "Choose at least one policy"),
        ({"policies": ["nobody"]}, "no model"),
        ({"completions_per_prompt": "12"}, "From 2 to 9"),
        ({"completions_per_prompt": "x"}, "From 2 to 9"),
        ({"temperature": "9"}, "from 0 to 2"),
        ({"temperature": "hot"}, "from 0 to 2"),
        ({"seed": "-1"}, "from 0 to"),
        ({"prompt_limit": "0"}, "At least 1"),
        ({"priority": "10"}, "From 1 (first) to 9"),
        ({"calibration_percent": "101"}, "From 0 to 100"),
        ({"calibration_percent": "some"}, "From 0 to 100"),
    ],
)
def test_a_bad_form_comes_back_filled_in_with_the_reason(
    app: FastAPI,
    admin_client: TestClient,
    project_id: str,
    change: dict[str, object],
    says: str,
) -> None:
    answer = admin_client.post(f"/projects/{project_id}/rounds", data={**FORM, **change})
    assert answer.status_code == 422
    assert says in answer.text
    assert 'value="16"' in answer.text, "what was right is still there"
    with app.state.database.read() as session:
        assert session.scalars(select(Round)).all() == []


def test_the_estimate_follows_the_values(admin_client: TestClient, project_id: str) -> None:
    path = f"/projects/{project_id}/rounds/estimate"
    few = admin_client.get(path, params={**FORM, "prompt_limit": "1"}).text
    assert "1 prompt" in few
    assert "3 completions" in few
    assert "2 rankings" in few
    assert "1 calibration task for everybody" in few
    assert "Nothing to make" in admin_client.get(path, params={"completions_per_prompt": "x"}).text


def test_a_live_round_polls_and_a_finished_one_stops(
    app: FastAPI, admin_client: TestClient, round_id: str
) -> None:
    live = admin_client.get(f"/rounds/{round_id}").text
    assert 'hx-trigger="every 2s' in live
    assert "No worker is running" in live
    assert "Latest completions" in live
    assert "<strong>bold</strong> answer" in live
    assert "<script>alert" not in live
    end_job(app, round_id)
    failed = admin_client.get(f"/rounds/{round_id}").text
    assert "no server answers" in failed
    assert "Make what is missing" in failed
    assert "Go on with what there is" in failed
    admin_client.post(f"/rounds/{round_id}/close")
    assert "hx-trigger" not in admin_client.get(f"/rounds/{round_id}").text


def test_problems_are_listed_with_what_to_do(
    app: FastAPI, admin_client: TestClient, round_id: str
) -> None:
    end_job(app, round_id)
    with app.state.database.write() as session:
        settle_round(session, session.get_one(Round, round_id))
    page = admin_client.get(f"/rounds/{round_id}?state=short").text
    assert "2 problems" in page
    assert "Fewer than two completions were made." in page
    assert "only what is missing is asked for" in page
    assert page.count("round-task-prompt") == 2, "the filter leaves the open task out"


def test_simulated_rankings_are_marked(
    app: FastAPI, admin_client: TestClient, project_id: str, round_id: str
) -> None:
    with app.state.database.write() as session:
        task = tasks_of(session, round_id)[0]
        completions = session.scalars(select(Completion.id).where(Completion.task_id == task.id))
        ranks = {completion: rank for rank, completion in enumerate(completions, start=1)}
        store_ranking(
            session, task=task, labeler="rule", ranks=ranks, source=RankingSource.SIMULATED
        )
    assert "1 simulated" in admin_client.get(f"/rounds/{round_id}").text
    assert "simulated" in admin_client.get(f"/projects/{project_id}/rounds").text


def test_buttons_retry_accept_close_and_reopen(
    app: FastAPI, admin_client: TestClient, round_id: str
) -> None:
    assert admin_client.post(f"/rounds/{round_id}/close").status_code == 409
    end_job(app, round_id)
    states = []
    for step in ("accept", "close", "reopen", "retry"):
        assert admin_client.post(f"/rounds/{round_id}/{step}").status_code == 303
        with app.state.database.read() as session:
            states.append(session.get_one(Round, round_id).state)
    assert states == ["open", "closed", "open", "generating"]


def test_tasks_come_a_page_at_a_time(app: FastAPI, admin_client: TestClient) -> None:
    with app.state.database.write() as session:
        make_model(session, "first")
        project = make_project(session, prompts=25)
        round_id = create_round(session, None, project, policies=["first"]).id
    end_job(app, round_id)
    first = admin_client.get(f"/rounds/{round_id}").text
    assert first.count("round-task-prompt") == 20
    following = re.search(r'rel="next" href="([^"]+)"', first)
    assert following
    href = html.unescape(following.group(1))
    assert admin_client.get(href).text.count("round-task-prompt") == 5


def test_a_round_changes_while_people_rank(
    app: FastAPI, admin_client: TestClient, round_id: str
) -> None:
    path = f"/rounds/{round_id}"
    assert 'action="/rounds/' in admin_client.get(path).text
    form = {"priority": "1", "labelers_per_task": "3", "calibration_percent": "100"}
    assert admin_client.post(path, data=form).status_code == 303
    with app.state.database.read() as session:
        round_ = session.get_one(Round, round_id)
        assert (round_.priority, round_.labelers_per_task, round_.calibration_share) == (1, 3, 1.0)
        tasks = tasks_of(session, round_id)
        assert {(task.priority, task.rankings_wanted, task.purpose) for task in tasks} == {
            (1, 3, "calibration")
        }
    page = admin_client.get(f"{path}?purpose=calibration").text
    assert page.count("round-task-prompt") == 3
    assert admin_client.get(f"{path}?purpose=gold").text.count("round-task-prompt") == 0
    for change, words in (
        ({"priority": "0"}, "From 1 (first) to 9"),
        ({"labelers_per_task": "x"}, "From 1 to 100"),
        ({"calibration_percent": "101"}, "From 0 to 100"),
    ):
        refused = admin_client.post(path, data=form | change)
        assert refused.status_code == 422
        assert words in refused.text
        assert "hx-trigger" not in refused.text, "what was typed is not polled away"


def test_rankings_beyond_are_counted_on_their_own(
    app: FastAPI, admin_client: TestClient, project_id: str, round_id: str
) -> None:
    end_job(app, round_id)
    with app.state.database.write() as session:
        task = tasks_of(session, round_id)[0]
        task.purpose = "calibration"
        session.flush()
        completions = session.scalars(select(Completion.id).where(Completion.task_id == task.id))
        ranks = {completion: rank for rank, completion in enumerate(completions, start=1)}
        for labeler in ("ada", "bob", "eve"):
            store_ranking(session, task=task, labeler=labeler, ranks=ranks, source="app")
    page = admin_client.get(f"/rounds/{round_id}").text
    assert "+2 beyond: calibration" in page
    assert 'max="3" value="1"' in page
    assert "1 of 1 ranked, 2 beyond" in page
    assert "+2 beyond" in admin_client.get(f"/projects/{project_id}/rounds").text


def test_researchers_look_and_labelers_do_not(
    app: FastAPI,
    researcher_client: TestClient,
    make_user: Callable[..., User],
    project_id: str,
    round_id: str,
) -> None:
    page = researcher_client.get(f"/rounds/{round_id}")
    assert page.status_code == 200
    assert "Cancel job" not in page.text
    assert researcher_client.get(f"/projects/{project_id}/rounds").status_code == 200
    assert researcher_client.get(f"/projects/{project_id}/rounds/new").status_code == 403
    assert researcher_client.post(f"/rounds/{round_id}/close").status_code == 403
    assert researcher_client.post(f"/rounds/{round_id}").status_code == 403
    assert "Change this round" not in page.text
    assert "Make gold" not in page.text
    labeler = sign_in(app, make_user("labeler"))
    for path in (f"/rounds/{round_id}", f"/projects/{project_id}/rounds"):
        assert labeler.get(path).status_code == 403, "labelers must not learn who wrote what"
