"""The people's verdict in a browser: from the button to the promotion, live, with differences."""

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from app.models import Round
from tests.browser.conftest import PHONE, LiveServer
from tests.evaluation.contests import fill_round, make_contest, make_judged, rank
from tests.labeling.factory import make_user as make_labeler


def test_from_the_job_to_the_promotion(
    live_server: LiveServer, page_as: Callable[..., Page]
) -> None:
    with live_server.database.write() as session:
        contest = make_contest(session)
    page = page_as("admin")
    page.goto(f"/jobs/{contest.job_id}")
    page.get_by_role("link", name="Ask people: is it better?").click()
    page.get_by_label("Prompts").fill("2")
    page.get_by_role("button", name="Ask people").click()
    expect(page.get_by_role("heading", name="What people say", level=1)).to_be_visible()
    expect(page.locator(".verdict-sentence")).to_have_text("Nobody has ranked yet.")

    # Without a reload: the page looks again while completions are made and people rank.
    round_id = page.url.split("/rounds/")[1].split("/")[0]
    with live_server.database.write() as session:
        fill_round(session, session.get_one(Round, round_id))
    expect(page.get_by_text("The answers of both policies wait")).to_be_visible()
    with live_server.database.write() as session:
        rank(session, contest.project_id, make_labeler(session), ["new"])
    expect(page.locator(".verdict-sentence")).to_contain_text(
        "new won 100% of 1 ranking", timeout=15_000
    )

    page.get_by_role("radio", name="new (new)").check()
    page.get_by_label("Note").fill("Reads better.")
    page.get_by_role("button", name="Promote").click()
    expect(page.get_by_text("in force")).to_be_visible()
    expect(page.get_by_text("Reads better.")).to_be_visible()
    expect(page.get_by_text("new won 100% (95% interval")).to_be_visible()


def test_differences_are_marked_and_answers_filter(
    live_server: LiveServer, page_as: Callable[..., Page], tmp_path: Path
) -> None:
    judged = make_judged(
        live_server.database,
        tmp_path,
        text=lambda policy, task: f"The answer to question {task} is that the {policy} door opens.",
    )
    page = page_as("researcher")
    page.goto(f"/rounds/{judged.round_id}/evaluation")
    expect(page.locator("[data-pair] ins").first).to_have_text("new")
    expect(page.locator("[data-pair] del").first).to_have_text("old")
    page.get_by_label("Show differences").uncheck()
    expect(page.locator("[data-pair] ins")).to_have_count(0)
    page.get_by_role("navigation", name="Which rankings").get_by_role(
        "link", name="Old wins"
    ).click()
    expect(page.locator("[data-pair]")).to_have_count(1)
    expect(page.locator("#samples")).to_contain_text("ada: old")


def test_the_form_works_without_javascript(
    live_server: LiveServer, page_as: Callable[..., Page]
) -> None:
    with live_server.database.write() as session:
        contest = make_contest(session)
    page = page_as("admin", java_script_enabled=False)
    page.goto(f"/jobs/{contest.job_id}/evaluation")
    page.get_by_role("button", name="Ask people").click()
    expect(page.locator(".verdict-sentence")).to_have_text("Nobody has ranked yet.")


def test_the_form_follows_its_values(live_server: LiveServer, page_as: Callable[..., Page]) -> None:
    with live_server.database.write() as session:
        contest = make_contest(session, prompts=40, held_out=30)
    page = page_as("admin")
    page.goto(f"/jobs/{contest.job_id}/evaluation")
    plan = page.locator("#trial-plan")
    expect(plan).to_contain_text("26 points")
    page.get_by_label("Prompts").fill("16")
    expect(plan).to_contain_text("35 points")
    page.get_by_label("Labelers per prompt").fill("3")
    expect(plan).to_contain_text("48 rankings")
    expect(plan).not_to_contain_text("3 labelers per prompt")
    page.get_by_label("Completions each").fill("")
    expect(plan).to_contain_text("cannot have these values")


def test_a_number_of_the_matrix_leads_to_the_verdict_on_its_two(
    live_server: LiveServer, page_as: Callable[..., Page], tmp_path: Path
) -> None:
    judged = make_judged(
        live_server.database, tmp_path, ["new", "old", "older"] * 2, others=["older"]
    )
    page = page_as("researcher", viewport=PHONE)
    page.goto(f"/rounds/{judged.round_id}/evaluation")
    page.get_by_role("link", name="older against new:").click()
    expect(page.locator(".verdict-sentence")).to_contain_text("older won 50% of 6 rankings")
    page.get_by_role("link", name="Back to the round's own two").click()
    expect(page.locator(".verdict-sentence")).to_contain_text("new won 50% of 6 rankings")
