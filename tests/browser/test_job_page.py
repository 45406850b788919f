"""A job's page in a browser: it follows the job by itself, and works without JavaScript."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from app.jobs.relay import upsert_metrics
from app.jobs.service import finish_job, lock_job, record_state
from app.models import Job, JobEvent, JobState, utc_now
from app.projects.service import create_project
from app.registry.service import ensure_starters
from tests.browser.conftest import PHONE, LiveServer

OpenPage = Callable[..., Page]


@pytest.fixture
def job_id(live_server: LiveServer, make_person: Callable[..., Any]) -> str:
    """A running PPO job that has reported three steps."""
    admin = make_person("admin", name="Ada Admin")
    with live_server.database.write() as session:
        ensure_starters(session)
        project = create_project(session, admin, name="Kind answers", guidelines="Be kind.")
        job = Job(
            kind="ppo",
            project_id=project.id,
            config={"policy": "smollm2-135m-instruct", "iterations": 10, "kl_coef": 0.05},
            state=JobState.RUNNING,
            progress=0.3,
            stage="Iteration 4: sampling",
            started_at=utc_now(),
            log_tail="Tuning 460,800 weights\n",
            created_by=admin.id,
        )
        session.add(job)
        session.flush()
        record_state(session, job)
    for step in (1, 2, 3):
        add_step(live_server, job.id, step)
    return job.id


def add_step(live_server: LiveServer, job_id: str, step: int, *names: str) -> None:
    names = names or ("reward_mean", "kl", "policy_loss", "value_loss", "train_seconds")
    with live_server.database.write() as session:
        rows = [
            {"job_id": job_id, "name": name, "step": step, "value": step / 8, "at": utc_now()}
            for name in names
        ]
        upsert_metrics(session, rows)
        sample = {"prompt": "Why?", "completion": f"Because of {step}.", "reward": step - 2.0}
        payload = {"step": step, "rows": [sample]}
        session.add(JobEvent(job_id=job_id, kind="samples", payload=payload))


def change(live_server: LiveServer, job_id: str, **columns: Any) -> None:
    with live_server.database.write() as session:
        job = lock_job(session, job_id)
        for name, value in columns.items():
            setattr(job, name, value)


def test_progress_charts_samples_and_log_follow_the_job_without_a_reload(
    live_server: LiveServer, page_as: OpenPage, job_id: str
) -> None:
    page = page_as("admin")
    page.goto(f"/jobs/{job_id}")
    page.evaluate("window.sameDocument = true")
    reward = page.locator('[data-chart="reward"]')
    expect(reward.locator("canvas")).to_be_visible()
    expect(reward.locator("[data-value]")).to_have_text("0.375")
    expect(page.locator("#job-samples")).to_contain_text("Because of 3.")

    change(
        live_server, job_id, progress=0.4, stage="Iteration 5: training", log_tail="One more line\n"
    )
    add_step(live_server, job_id, 4)
    expect(page.locator('[data-live="stage"]')).to_have_text("Iteration 5: training")
    expect(page.locator('[data-live="percent"]')).to_have_text("40%")
    expect(page.locator('[data-live="log"]')).to_contain_text("One more line")
    expect(reward.locator("[data-value]")).to_have_text("0.5")
    expect(page.locator("#job-samples")).to_contain_text("Because of 4.")

    add_step(live_server, job_id, 5, "entropy")
    expect(page.locator('[data-chart="entropy"] canvas')).to_be_visible()

    with live_server.database.write() as session:
        job = lock_job(session, job_id)
        finish_job(session, job, JobState.FAILED, kind=None, reason="The rewards are not finite.")
    expect(page.locator("#job-status")).to_contain_text("The rewards are not finite.")
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    assert page.evaluate("window.sameDocument")


def test_whether_the_reward_is_exploited_is_said_anew_with_every_look(
    live_server: LiveServer, page_as: OpenPage, job_id: str
) -> None:
    page = page_as("admin")
    page.goto(f"/jobs/{job_id}")
    panel = page.get_by_role("region", name="Is the reward being exploited?")
    expect(page.locator('[data-chart="reward"] canvas')).to_be_visible()
    expect(panel).to_be_hidden()
    add_step(live_server, job_id, 4, "eval_reward_mean", "eval_length_mean")
    expect(panel.locator("canvas")).to_have_count(2)
    expect(panel.get_by_role("status")).to_have_text(
        "One look so far; the next one shows where it goes."
    )
    add_step(live_server, job_id, 8, "eval_reward_mean", "eval_length_mean")
    expect(panel.get_by_role("status")).to_contain_text(
        "Perhaps: since step 4 the held-out reward rose by 0.5 while completions grew"
    )


def test_the_page_follows_by_polling_where_no_stream_comes_through(
    live_server: LiveServer, page_as: OpenPage, job_id: str
) -> None:
    page = page_as("admin")
    page.route("**/events*", lambda route: route.abort())
    page.goto(f"/jobs/{job_id}")
    change(live_server, job_id, stage="Iteration 6: sampling")
    add_step(live_server, job_id, 4)
    expect(page.locator('[data-live="stage"]')).to_have_text("Iteration 6: sampling")
    expect(page.locator('[data-chart="reward"] [data-value]')).to_have_text("0.5")


def test_the_crosshair_reads_every_chart_at_the_same_step(page_as: OpenPage, job_id: str) -> None:
    page = page_as("admin")
    page.goto(f"/jobs/{job_id}")
    over = page.locator('[data-chart="reward"] .u-over')
    over.hover(position={"x": 2, "y": 40})
    expect(page.locator('[data-chart="reward"] .job-tip')).to_contain_text("Step 1")
    expect(page.locator('[data-chart="losses"] [data-step]')).to_have_text("step 1")
    expect(page.locator('[data-chart="losses"] .job-tip')).to_be_hidden()
    page.mouse.move(2, 2)
    expect(page.locator('[data-chart="losses"] [data-step]')).to_have_text("step 3")


def test_a_chosen_step_of_samples_stays_while_the_job_goes_on(
    live_server: LiveServer, page_as: OpenPage, job_id: str
) -> None:
    page = page_as("admin")
    page.goto(f"/jobs/{job_id}")
    page.get_by_label("Step", exact=True).select_option("2")
    expect(page.locator("#job-samples")).to_contain_text("Because of 2.")
    add_step(live_server, job_id, 4)
    expect(page.get_by_label("Step", exact=True)).to_contain_text("Step 4")
    expect(page.locator("#job-samples")).to_contain_text("Because of 2.")
    expect(page.locator('[data-chart="reward"] canvas')).to_be_visible()


def test_samples_are_leafed_through_step_by_step(page_as: OpenPage, job_id: str) -> None:
    page = page_as("admin")
    page.goto(f"/jobs/{job_id}")
    page.evaluate("window.sameDocument = true")
    steps = page.get_by_role("navigation", name="Steps")
    steps.get_by_role("link", name="Step 2").click()
    expect(page.locator("#job-samples")).to_contain_text("Because of 2.")
    expect(page.get_by_label("Step", exact=True)).to_have_value("2")
    steps.get_by_role("link", name="Step 1").click()
    expect(page.locator("#job-samples")).to_contain_text("Because of 1.")
    expect(steps.get_by_role("link")).to_have_count(1)
    assert page.evaluate("window.sameDocument")


def test_cancel_asks_first(live_server: LiveServer, page_as: OpenPage, job_id: str) -> None:
    page = page_as("admin")
    page.goto(f"/jobs/{job_id}")
    page.get_by_role("button", name="Cancel job").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel job").click()
    expect(page.get_by_role("button", name="Cancel job")).to_have_count(0)
    with live_server.database.read() as session:
        assert session.get_one(Job, job_id).cancel_requested_at is not None


def test_the_page_says_all_of_it_without_javascript(page_as: OpenPage, job_id: str) -> None:
    page = page_as("admin", java_script_enabled=False)
    page.goto(f"/jobs/{job_id}")
    page.locator('[data-chart="reward"] summary').click()
    expect(page.locator('[data-chart="reward"] tbody tr').first).to_contain_text("0.375")
    page.get_by_label("Step", exact=True).select_option("1")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#job-samples")).to_contain_text("Because of 1.")
    page.get_by_role("link", name="Reload").click()
    expect(page.locator("#job-status")).to_contain_text("Iteration 4: sampling")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_pages_of_jobs_are_accessible_and_fit_a_phone(
    live_server: LiveServer,
    page_as: OpenPage,
    axe: Callable[[Page], list[str]],
    job_id: str,
    theme: str,
) -> None:
    with live_server.database.read() as session:
        project_id = session.get_one(Job, job_id).project_id
    page = page_as("admin", theme=theme, viewport=PHONE)
    for path in (
        "/jobs",
        f"/jobs?project={project_id}",
        f"/jobs/{job_id}",
        f"/projects/{project_id}/jobs/new",
        f"/projects/{project_id}/jobs/new?kind=ppo",
    ):
        page.goto(path)
        assert axe(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
