"""The ranking page as people with low vision have it: large, or in colours of their own."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.page_checks import find_keyboard_problems, find_overflow, find_overlaps
from tests.browser.ranking.acts import CONVERSATION, RICH, press, start
from tests.labeling.factory import make_project, make_tasks

ZOOMED = {"width": 320, "height": 256}
"""A window of 1280 by 1024 at 400%."""


@pytest.fixture
def task_page(page_as, live_server) -> Page:
    """A labeler on a task with long texts, code, tables and right-to-left words."""
    with live_server.database.write() as session:
        project = make_project(session)
        project.guidelines = "Prefer what **helps**.\n\n" + "More of this. " * 80
        make_tasks(session, project, 1, texts=RICH, messages=CONVERSATION)
    page = page_as("labeler")
    start(page)
    expect(page.locator("form[data-ready]")).to_be_attached()
    press(page, "b", "a")
    return page


def test_nothing_covers_what_has_the_focus_at_400_percent(task_page: Page):
    task_page.set_viewport_size(ZOOMED)
    assert find_overflow(task_page) == []
    assert find_overlaps(task_page) == []
    assert find_keyboard_problems(task_page) == []


def test_text_of_twice_the_size_fits(task_page: Page):
    task_page.evaluate("document.documentElement.style.fontSize = '200%'")
    task_page.wait_for_timeout(100)
    assert find_overflow(task_page) == []
    assert find_overlaps(task_page) == []


def test_what_is_chosen_shows_in_colours_of_the_persons_own(task_page: Page):
    task_page.emulate_media(forced_colors="active")
    place = "article[data-letter=B] .rank-button"
    task_page.locator("article[data-letter=B] summary").click()
    rating = "article[data-letter=B] .rating-choice"
    for one, other in (
        (f"{place}[aria-pressed=true]", f"{place}[aria-pressed=false]"),
        (f"{rating}:has(:checked)", f"{rating}:not(:has(:checked))"),
        ("[data-layout-form] [aria-pressed=true]", "[data-layout-form] [aria-pressed=false]"),
    ):
        chosen, rest = (
            task_page.locator(which).first.evaluate("it => getComputedStyle(it).backgroundColor")
            for which in (one, other)
        )
        assert chosen != rest, one


def test_the_focus_shows_in_colours_of_the_persons_own(task_page: Page):
    task_page.emulate_media(forced_colors="active")
    assert find_keyboard_problems(task_page) == []
