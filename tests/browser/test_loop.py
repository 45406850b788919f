"""The loop page in a real Chromium."""

import itertools
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from app.models import Completion, Job, Project, Task, TaskState
from tests.browser.conftest import DESKTOP, PHONE, LiveServer
from tests.projects.loop_states import (
    add_job,
    add_model,
    add_project,
    add_prompts,
    add_ranking,
    add_round,
    add_worker,
)

LOOKS = list(itertools.product(("light", "dark"), (PHONE, DESKTOP)))


@pytest.fixture
def midway(live_server: LiveServer) -> Project:
    """A project that is generating, being ranked and partly simulated at once."""
    with live_server.database.write() as session:
        project = add_project(session, "Half way round")
        add_model(session, "smollm2-135m-instruct")
        tasks = add_round(
            session,
            project,
            add_prompts(session, project, 6),
            ["smollm2-135m-instruct"],
            completions_per_prompt=4,
            state="generating",
            finished=4,
        )
        add_ranking(session, tasks[0], [2, 1, 3, 4])
        add_ranking(session, tasks[1], [1, 1, 2, 3], labeler="simulated-1", source="simulated")
        add_job(
            session,
            project,
            "generation",
            "running",
            progress=0.6,
            stage="4 of 6 prompts",
            eta_seconds=30.0,
        )
        add_job(session, project, "reward_model", "failed", reason="It ran out of memory")
        add_worker(session)
    return project


@pytest.fixture
def finished(live_server: LiveServer) -> Project:
    """A project that went round once and compared the new policy."""
    with live_server.database.write() as session:
        project = add_project(session, "Once round")
        add_model(session, "v0")
        prompts = add_prompts(session, project, 4)
        for task in add_round(session, project, prompts, ["v0"], completions_per_prompt=3):
            add_ranking(session, task, [2, 1, 3])
        add_model(
            session,
            "rm1",
            kind="reward_model",
            project_id=project.id,
            simulated_labels=True,
            metrics={"accuracy": 0.74, "eval_pairs": 120},
        )
        add_model(
            session,
            "v1",
            kind="policy",
            project_id=project.id,
            parent_id="v0",
            reward_model_id="rm1",
            simulated_labels=True,
            metrics={"before": {"reward_mean": -0.1}, "after": {"reward_mean": 0.8, "kl": 3.2}},
        )
        again = add_round(session, project, prompts, ["v0", "v1"], completions_per_prompt=4)
        for task in again:
            add_ranking(session, task, [3, 1, 4, 2])
    return project


@pytest.mark.parametrize(("theme", "viewport"), LOOKS)
def test_every_page_of_a_project_is_accessible(
    page_as: Callable[..., Page],
    axe: Callable[..., list[str]],
    midway: Project,
    finished: Project,
    live_server: LiveServer,
    theme: str,
    viewport: dict[str, int],
) -> None:
    with live_server.database.write() as session:
        empty = add_project(session, "Nothing yet")
    page = page_as("admin", theme=theme, viewport=viewport)
    for path in (
        "/projects",
        "/projects/new",
        f"/projects/{empty.id}",
        f"/projects/{midway.id}",
        f"/projects/{finished.id}",
        f"/projects/{midway.id}/settings",
    ):
        page.goto(path)
        assert axe(page) == [], path
        wider = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wider <= 0, f"{path} scrolls sideways by {wider} px"


def test_an_admin_walks_from_the_list_to_the_first_step(page_as: Callable[..., Page]) -> None:
    page = page_as("admin")
    page.goto("/projects")
    page.get_by_role("link", name="New project").click()
    page.get_by_label("Name").fill("My first project")
    page.get_by_label("Guidelines").fill("Prefer what is **true**.")
    page.get_by_role("button", name="Preview guidelines").click()
    expect(page.locator("#guidelines-preview strong")).to_have_text("true")
    assert page.url.endswith("/projects/new")
    page.get_by_role("button", name="Create project").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("My first project")
    expect(page.get_by_role("article")).to_have_count(8)
    expect(page.get_by_role("link", name="Add prompts")).to_be_visible()


def test_the_loop_moves_without_a_reload_and_keeps_the_focus(
    page_as: Callable[..., Page], midway: Project, live_server: LiveServer
) -> None:
    page = page_as("admin")
    page.goto(f"/projects/{midway.id}")
    page.evaluate("window.stillHere = true")
    page.locator("#next-step").focus()
    completions = page.locator("#station-completions")
    expect(completions).to_contain_text("16 completions")
    with live_server.database.write() as session:
        task = session.query(Task).filter_by(project_id=midway.id, state="pending").first()
        assert task is not None
        task.state = TaskState.OPEN
        session.add_all(
            Completion(task_id=task.id, position=place, text=f"Text {place}") for place in range(4)
        )
    expect(completions).to_contain_text("20 completions", timeout=8000)
    assert page.evaluate("window.stillHere")
    assert page.evaluate("document.activeElement.id") == "next-step"


def test_polling_ends_with_the_last_thing_that_could_change(
    page_as: Callable[..., Page], midway: Project, live_server: LiveServer
) -> None:
    page = page_as("admin")
    page.goto(f"/projects/{midway.id}")
    with live_server.database.write() as session:
        for job in session.query(Job).filter_by(project_id=midway.id, state="running"):
            job.state = "cancelled"
        for task in session.query(Task).filter_by(project_id=midway.id):
            task.state = TaskState.COMPLETE
    expect(page.locator("#station-completions")).to_contain_text("cancelled", timeout=8000)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(4000)
    assert asked == []


def test_a_hidden_tab_asks_nothing_and_asks_at_once_when_seen_again(
    page_as: Callable[..., Page], midway: Project
) -> None:
    page = page_as("admin")
    page.goto(f"/projects/{midway.id}")
    show = """hidden => {
        Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.evaluate(show, True)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(4500)
    assert asked == []
    with page.expect_request("**/loop", timeout=1500):
        page.evaluate(show, False)


def test_the_loop_works_without_javascript(page_as: Callable[..., Page], midway: Project) -> None:
    page = page_as("admin", java_script_enabled=False)
    page.goto(f"/projects/{midway.id}")
    expect(page.locator("#station-rankings")).to_contain_text("1 of them simulated")
    page.goto(f"/projects/{midway.id}/settings")
    page.get_by_label("Guidelines").fill("Prefer **truth**.")
    page.get_by_role("button", name="Preview guidelines").click()
    expect(page.locator("#guidelines-preview strong")).to_have_text("truth")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
