"""The report of a reward model in a browser: its mistakes are read side by side."""

from collections.abc import Callable

from playwright.sync_api import Page, expect
from sqlalchemy import select

from app.models import ModelKind, Ranking
from tests.browser.conftest import LiveServer
from tests.preferences.conftest import load_rankings, make_project, ranking
from tests.projects.rounds_factory import make_model
from tests.registry.reward_reports import make_report


def test_what_differs_in_a_mistake_is_marked_and_leads_to_its_ranking(
    live_server: LiveServer, page_as: Callable[..., Page]
) -> None:
    texts = [
        f"The answer to this question is that the {word} door opens." for word in ("new", "old")
    ]
    lines = [
        ranking(prompt=f"Question {number}?", texts=texts, ranks=[1, 2], labeler="ann")
        for number in range(3)
    ]
    project_id = make_project(live_server.database)
    load_rankings(live_server.database, project_id, lines)
    with live_server.database.write() as session:
        rankings = session.scalars(select(Ranking)).all()
        metrics = make_report(session, rankings, noise=0.0, spread=-1.0)
        make_model(session, "judge", ModelKind.REWARD_MODEL, project_id=project_id, metrics=metrics)
    page = page_as("admin")
    page.goto("/models/judge")
    page.get_by_role("link", name="Read the report").click()
    expect(page.get_by_role("heading", name="Report", level=1)).to_be_visible()
    expect(page.locator("[data-pair] ins").first).to_have_text("new")
    expect(page.locator("[data-pair] del").first).to_have_text("old")
    page.get_by_label("Show differences").uncheck()
    expect(page.locator("[data-pair] ins")).to_have_count(0)
    page.get_by_role("link", name="Ranking by ann").first.click()
    expect(page).to_have_url(
        f"{live_server.url}/rankings/{metrics['worst_mistakes'][0]['ranking_id']}"
    )
