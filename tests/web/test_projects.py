import re
from collections.abc import Callable
from html import unescape

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select

from app.models import AuditEvent, Job, Membership, Model, Project, Task, User
from tests.projects.loop_states import (
    add_job,
    add_model,
    add_project,
    add_prompts,
    add_ranking,
    add_round,
    add_worker,
)


def text_of(html: str) -> str:
    """What a reader reads: tags away, spaces single."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def primary_buttons(html: str) -> list[tuple[str, str]]:
    return re.findall(r'<a class="btn btn-primary" href="([^"]+)"[^>]*>([^<]+)</a>', html)


@pytest.fixture
def project(app: FastAPI) -> Project:
    with app.state.database.write() as session:
        return add_project(session)


def test_an_admin_creates_a_project_and_lands_on_its_loop(
    app: FastAPI, admin_client: TestClient
) -> None:
    form = {"name": "  Calm   answers ", "guidelines": "Be **calm**."}
    answer = admin_client.post("/projects/new", data=form)
    assert answer.status_code == 303
    page = admin_client.get(answer.headers["location"])
    assert "Calm answers" in page.text
    with app.state.database.read() as session:
        event = session.scalars(select(AuditEvent)).all()[-1]
    assert event.action == "project.create"


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [("", 422, "needs a name"), ("x" * 201, 422, "too long"), ("Short answers", 409, "already")],
)
def test_a_refused_name_gives_the_form_back_with_what_was_typed(
    admin_client: TestClient, project: Project, name: str, status: int, words: str
) -> None:
    form = {"name": name, "guidelines": "Long <b>typed</b> text"}
    page = admin_client.post("/projects/new", data=form)
    assert page.status_code == status
    assert words in page.text
    assert "Long &lt;b&gt;typed&lt;/b&gt; text" in page.text
    assert 'aria-invalid="true"' in page.text


def test_the_preview_renders_the_guidelines_safely_and_stores_nothing(
    app: FastAPI, admin_client: TestClient, project: Project
) -> None:
    form = {"name": "New", "guidelines": "Be **calm**. <script>alert(1)</script>"}
    for url in ("/projects/new/preview", f"/projects/{project.id}/settings/preview"):
        page = admin_client.post(url, data=form)
        assert page.status_code == 200
        preview = page.text.split('id="guidelines-preview"')[1]
        assert "<strong>calm</strong>" in preview
        assert "<script>alert" not in preview
    with app.state.database.read() as session:
        assert session.scalars(select(Project.name)).all() == ["Short answers"]


@pytest.mark.parametrize("path", ["", "/loop"])
def test_the_loop_is_for_researchers_and_admins(
    project: Project,
    path: str,
    admin_client: TestClient,
    researcher_client: TestClient,
    labeler_client: TestClient,
    client: TestClient,
) -> None:
    url = f"/projects/{project.id}{path}"
    assert admin_client.get(url).status_code == 200
    assert researcher_client.get(url).status_code == 200
    assert labeler_client.get(url).status_code == 403
    assert client.get(url).status_code in (303, 401)
    assert admin_client.get(f"/projects/nothing{path}").status_code == 404


@pytest.mark.parametrize("url", ["/projects/new", "/projects/{id}/settings"])
def test_forms_of_a_project_are_for_admins(
    project: Project, url: str, researcher_client: TestClient
) -> None:
    url = url.format(id=project.id)
    assert researcher_client.get(url).status_code == 403
    assert researcher_client.post(url, data={"name": "x"}).status_code == 403


def test_every_state_of_the_loop_has_exactly_one_primary_button(
    app: FastAPI, admin_client: TestClient, project: Project
) -> None:
    """Step by step round the loop, with where each button leads."""
    base = f"/projects/{project.id}"
    database = app.state.database

    def button() -> tuple[str, str]:
        page = admin_client.get(base)
        assert page.status_code == 200, page.text
        (only,) = primary_buttons(page.text)
        assert page.text.count(' station-next"') == 1
        return unescape(only[0]), only[1]

    assert button() == (f"{base}/prompts", "Add prompts")
    with database.write() as session:
        add_model(session, "v0")
        prompts = add_prompts(session, project, 2)
    assert button() == (f"{base}/rounds/new", "Start a round")
    with database.write() as session:
        tasks = add_round(session, project, prompts, ["v0"])
    assert button() == (f"{base}/rank", "Rank completions")
    with database.write() as session:
        for task in tasks:
            add_ranking(session, session.get_one(Task, task.id), [2, 1])
    assert button() == (f"{base}/jobs/new?kind=reward_model", "Train a reward model")
    with database.write() as session:
        job = add_job(session, project, "reward_model", "running")
    assert button() == (f"/jobs/{job.id}", "Watch it learn")
    with database.write() as session:
        session.get_one(Job, job.id).state = "succeeded"
        add_model(session, "rm1", kind="reward_model", project_id=project.id)
    assert button() == (f"{base}/jobs/new?kind=ppo&reward_model=rm1", "Tune the policy")
    with database.write() as session:
        add_model(
            session,
            "v1",
            project_id=project.id,
            kind="policy",
            parent_id="v0",
            reward_model_id="rm1",
        )
        tuned = session.get_one(Model, "v1").job_id
    assert button() == (f"/jobs/{tuned}/evaluation", "Ask people")


def test_simulated_rankings_are_marked_on_the_station(
    app: FastAPI, admin_client: TestClient, project: Project
) -> None:
    with app.state.database.write() as session:
        add_model(session, "v0")
        prompts = add_prompts(session, project, 3)
        tasks = add_round(session, project, prompts, ["v0"])
        add_ranking(session, tasks[0], [2, 1])
        add_ranking(session, tasks[1], [2, 1], labeler="simulated-1", source="simulated")
    text = text_of(admin_client.get(f"/projects/{project.id}").text)
    assert "2 rankings 1 still wanted 1 of them simulated" in text
    assert "1 simulated" in text_of(admin_client.get("/projects").text)


def test_a_running_job_shows_its_stage_progress_and_time_left(
    app: FastAPI, admin_client: TestClient, project: Project
) -> None:
    with app.state.database.write() as session:
        add_model(session, "v0")
        add_round(
            session,
            project,
            add_prompts(session, project, 4),
            ["v0"],
            state="generating",
            finished=1,
        )
        add_job(
            session,
            project,
            "generation",
            "running",
            progress=0.25,
            stage="1 of 4 prompts",
            eta_seconds=42.0,
        )
        add_worker(session)
    page = admin_client.get(f"/projects/{project.id}/loop").text
    assert "1 of 4 prompts 25%" in text_of(page)
    assert "About 42 s left" in text_of(page)
    assert "2 of 8 in this round" in text_of(page)
    assert 'value="25"' in page
    assert "No worker is running" not in page


def test_a_job_without_a_worker_says_what_to_start(
    app: FastAPI, admin_client: TestClient, project: Project
) -> None:
    with app.state.database.write() as session:
        add_job(session, project, "reward_model", "queued")
        add_worker(session, silent_seconds=3600)
    assert "podium worker" in admin_client.get(f"/projects/{project.id}").text


def test_a_failed_job_shows_its_reason_and_leads_to_it(
    app: FastAPI, admin_client: TestClient, project: Project
) -> None:
    with app.state.database.write() as session:
        job = add_job(session, project, "ppo", "failed", reason="The reward was not finite")
    page = admin_client.get(f"/projects/{project.id}").text
    assert "Last job failed: The reward was not finite" in page
    assert f'href="/jobs/{job.id}"' in page


def test_a_policy_without_a_reward_and_the_way_to_dpo(
    app: FastAPI, admin_client: TestClient, project: Project
) -> None:
    with app.state.database.write() as session:
        add_model(session, "v0")
        (task,) = add_round(session, project, add_prompts(session, project, 1), ["v0"])
        add_ranking(session, task, [1, 2])
        measured = {"reward_mean": None, "kl": 3.25}
        add_model(
            session,
            "v1",
            kind="policy",
            project_id=project.id,
            parent_id="v0",
            metrics={"before": measured, "after": measured},
        )
    page = admin_client.get(f"/projects/{project.id}").text
    assert f'href="/projects/{project.id}/jobs/new?kind=dpo"' in page
    assert "KL to the old policy 3.2 nats" in text_of(page)
    assert "Ready" in text_of(page)


def test_polling_is_quick_beside_a_job_gentle_while_people_rank_and_stops(
    app: FastAPI, admin_client: TestClient, project: Project
) -> None:
    database = app.state.database

    def trigger() -> str | None:
        page = admin_client.get(f"/projects/{project.id}/loop").text
        found = re.search(r'hx-trigger="([^"]*)"', page)
        return found.group(1) if found else None

    assert trigger() is None
    with database.write() as session:
        add_model(session, "v0")
        (task,) = add_round(session, project, add_prompts(session, project, 1), ["v0"])
    assert trigger() == "every 10s, refresh"
    with database.write() as session:
        job = add_job(session, project, "generation", "running")
    assert trigger() == "every 3s, refresh"
    with database.write() as session:
        session.get_one(Job, job.id).state = "succeeded"
        add_ranking(session, session.get_one(Task, task.id), [1, 2])
    assert trigger() is None


def test_the_fragment_is_the_same_inside_the_page_and_alone(
    admin_client: TestClient, project: Project
) -> None:
    page = admin_client.get(f"/projects/{project.id}").text
    fragment = admin_client.get(f"/projects/{project.id}/loop").text
    assert fragment.strip() in page
    assert "<html" not in fragment


def test_a_researcher_sees_the_loop_without_an_admins_buttons(
    app: FastAPI, researcher_client: TestClient, project: Project
) -> None:
    with app.state.database.write() as session:
        add_prompts(session, project, 2)
    page = researcher_client.get(f"/projects/{project.id}").text
    assert primary_buttons(page) == []
    assert "An admin takes this step." in page
    assert f"/projects/{project.id}/settings" not in page


def test_every_link_of_the_loop_may_be_followed_by_whoever_sees_it(
    app: FastAPI, admin_client: TestClient, researcher_client: TestClient, project: Project
) -> None:
    with app.state.database.write() as session:
        add_model(session, "v0")
        prompts = add_prompts(session, project, 2)
        tasks = add_round(session, project, prompts, ["v0"])
        add_ranking(session, tasks[0], [2, 1])
        add_model(session, "rm1", kind="reward_model", project_id=project.id)
        add_job(session, project, "reward_model", "failed", reason="out of memory")
        add_model(
            session,
            "v1",
            project_id=project.id,
            kind="policy",
            parent_id="v0",
            reward_model_id="rm1",
        )
        for task in add_round(session, project, prompts, ["v0", "v1"]):
            add_ranking(session, task, [2, 1])
    for client in (admin_client, researcher_client):
        page = client.get(f"/projects/{project.id}").text
        urls = {unescape(url) for url in re.findall(r'<a [^>]*href="(/[^"]+)"', page)}
        assert f"/projects/{project.id}/pairs" in urls
        assert {url: client.get(url).status_code for url in urls} == dict.fromkeys(urls, 200)


def test_settings_change_name_guidelines_and_members_together(
    app: FastAPI,
    admin_client: TestClient,
    project: Project,
    make_user: Callable[..., User],
) -> None:
    ann, bob = make_user("labeler", name="Ann"), make_user("labeler", name="Bob")
    url = f"/projects/{project.id}/settings"
    form = {"name": "Renamed", "guidelines": "New ones.", "restricted": "true"}
    answer = admin_client.post(url, data={**form, "members": [ann.id, bob.id]})
    assert answer.status_code == 303
    answer = admin_client.post(url, data={**form, "members": [bob.id]})
    with app.state.database.read() as session:
        saved = session.get_one(Project, project.id)
        assert (saved.name, saved.guidelines, saved.restricted) == ("Renamed", "New ones.", True)
        assert saved.guidelines_version == 2
        assert session.scalars(select(Membership.user_id)).all() == [bob.id]
    page = admin_client.get(url).text
    assert re.search(rf'value="{bob.id}" checked', page)
    assert not re.search(rf'value="{ann.id}" checked', page)


def test_refused_settings_keep_what_was_typed_and_change_nothing(
    app: FastAPI, admin_client: TestClient, project: Project
) -> None:
    url = f"/projects/{project.id}/settings"
    page = admin_client.post(url, data={"name": " ", "guidelines": "Typed at length."})
    assert page.status_code == 422
    assert "Typed at length." in page.text
    with app.state.database.read() as session:
        assert session.get_one(Project, project.id).guidelines != "Typed at length."


def test_an_archived_project_leaves_the_list_and_comes_back(
    admin_client: TestClient, project: Project
) -> None:
    assert admin_client.post(f"/projects/{project.id}/archive").status_code == 303
    admin_client.get("/account")  # has the message of the redirect shown and gone
    assert "Short answers" not in admin_client.get("/projects").text
    assert "Short answers" in admin_client.get("/projects?archived=true").text
    assert "archived" in admin_client.get(f"/projects/{project.id}").text
    assert admin_client.post(f"/projects/{project.id}/restore").status_code == 303
    assert "Short answers" in admin_client.get("/projects").text


def test_the_first_project_is_explained(
    admin_client: TestClient, researcher_client: TestClient
) -> None:
    assert "podium demo" in admin_client.get("/projects").text
    assert "An admin creates the first one" in researcher_client.get("/projects").text
