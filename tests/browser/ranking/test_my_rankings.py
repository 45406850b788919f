"""A labeler's home and their own rankings, in a browser."""

import pytest
from playwright.sync_api import expect
from sqlalchemy import select

from app.labeling.pauses import pause_labeler
from app.labeling.revocation import revoke_rankings
from app.models import Project, Ranking, User
from tests.browser.conftest import DESKTOP
from tests.browser.ranking.acts import card, order, press, start


@pytest.fixture
def ranked_page(page_as, seed):
    """A labeler who ranked two of three tasks and edited the first."""
    seed(tasks=3)
    page = page_as("labeler")
    start(page)
    for keys in ("abc", "cab"):
        address = page.url
        press(page, *keys, "Enter")
        page.wait_for_url(lambda url, address=address: url != address)
        expect(page.locator("[data-submit]")).to_have_text("3 left to place")
    return page


def test_looking_back_and_editing_an_earlier_ranking(ranked_page, stored):
    ranked_page.get_by_role("link", name="My rankings").click()
    items = ranked_page.locator(".mine-item")
    expect(items).to_have_count(2)
    given = items.get_by_role("img")
    expect(given.first).to_have_accessible_name("C, then A, then B")
    items.nth(1).get_by_role("link", name="Edit").click()
    expect(ranked_page.locator("form[data-ready]")).to_be_visible()
    assert order(ranked_page) == ["1 A", "2 B", "3 C"]
    press(ranked_page, "b", "t", "Enter")
    expect(ranked_page.locator("[data-submit]")).to_have_text("3 left to place")
    assert {"A": 1, "B": 1, "C": 2} in stored()
    ranked_page.goto("/my-rankings")
    expect(items.first.get_by_role("img").last).to_have_accessible_name("A tied with B, then C")
    items.first.get_by_text("1 earlier revision").click()
    expect(items.first.locator(".mine-earlier")).to_contain_text("revision 1")


def test_the_home_shows_today_the_pace_and_the_last_days(ranked_page, live_server):
    with live_server.database.write() as session:
        for ranking, active_ms in zip(
            session.scalars(select(Ranking)).all(), (40_000, 50_000), strict=True
        ):
            ranking.active_ms = active_ms
    ranked_page.goto("/queue")
    figures = ranked_page.locator(".stat").all_inner_texts()
    assert figures[0].split("\n") == ["Ranked today", "2"]
    assert figures[1].split("\n") == [
        "Usual time", "45 s", "median active time of 2 rankings in 14 days"
    ]  # fmt: skip
    assert figures[2].split("\n")[:2] == ["Per active hour", "80"]
    expect(ranked_page.locator(".plot-bar")).to_have_count(1)
    expect(ranked_page.locator(".plot-finding")).to_contain_text("2 rankings")
    expect(ranked_page.locator(".queue-item")).to_contain_text("You have a task in hand")


@pytest.mark.parametrize(
    ("theme", "viewport"), [("light", {"width": 320, "height": 2000}), ("dark", DESKTOP)]
)
def test_both_pages_pass_the_accessibility_check(page_as, seed, axe, live_server, theme, viewport):
    project_id = seed(tasks=4)
    page = page_as("labeler", theme=theme, viewport=viewport)
    start(page)
    for keys in ("abc", "cab"):
        address = page.url
        press(page, *keys, "Enter")
        page.wait_for_url(lambda url, address=address: url != address)
        expect(page.locator("[data-submit]")).to_have_text("3 left to place")
    page.go_back()
    expect(page.locator("[data-submit]")).to_have_text("Save changes")
    expect(page.locator("form[data-ready]")).to_be_visible()
    press(page, "a", "t", "Enter")
    expect(page.locator("[data-submit]")).to_have_text("3 left to place")
    page.goto("/queue")
    assert axe(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    page.goto("/my-rankings")
    page.locator(".mine-earlier summary").first.click()
    assert axe(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    with live_server.database.write() as session:
        user = session.scalars(select(User)).one()
        revoke_rankings(session, None, project_id, user.handle, reason="careless")
        pause_labeler(session, None, project_id, user, reason="Read the guidelines first.")
    for path in ("/my-rankings", "/queue", f"/projects/{project_id}/rank"):
        page.goto(path)
        assert axe(page) == []


def test_changed_guidelines_are_marked_though_they_are_folded(page_as, seed, live_server):
    project_id = seed(tasks=3)
    page = page_as("labeler")
    start(page)
    press(page, "a", "b", "c", "Enter")
    expect(page.locator("[data-submit]")).to_have_text("3 left to place")
    expect(page.locator(".rank-changed")).to_have_count(0)
    with live_server.database.write() as session:
        session.get_one(Project, project_id).guidelines_version = 2
    press(page, "r")
    page.reload()
    expect(page.get_by_text("changed", exact=True)).to_be_visible()
    press(page, "a", "b", "c")
    expect(card(page, "C").locator("[data-text]")).to_be_focused()
    press(page, "Enter")
    expect(page.locator("[data-submit]")).to_have_text("3 left to place")
    expect(page.locator(".rank-changed")).to_have_count(0)
