"""The ranking page as it is read: layouts, screens, directions, keys, what it hides."""

import pytest
from playwright.sync_api import expect
from sqlalchemy import select

from app.models import Project, User
from tests.browser.conftest import DESKTOP
from tests.browser.ranking.acts import (
    CONVERSATION,
    LONG,
    RICH,
    TEXTS,
    card,
    press,
    start,
)


@pytest.mark.parametrize("width", [320, 390, 1280, 1920, 3840])
def test_every_layout_fits_every_screen_with_lines_that_can_be_read(page_as, seed, width):
    seed(tasks=1, texts=RICH, messages=CONVERSATION)
    page = page_as("labeler", viewport={"width": width, "height": 1000})
    start(page)
    for layout in ("stacked", "two", "three", "one"):
        page.locator("form[data-ranking]").evaluate(
            "(form, layout) => form.dataset.layout = layout", layout
        )
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        widest = page.locator(".completion-text p").evaluate_all(
            """all => Math.max(...all.map((one) => {
              const ruler = document.createElement("span");
              ruler.textContent = "0".repeat(80);
              ruler.style.cssText = "position: absolute; white-space: nowrap";
              one.append(ruler);
              const most = ruler.getBoundingClientRect().width;
              ruler.remove();
              return one.getBoundingClientRect().width / most;
            }))"""
        )
        assert widest <= 1.02
    if width == 3840:
        prompt = page.locator(".rank-top").bounding_box()
        texts = page.locator("[data-completions]").bounding_box()
        assert prompt["x"] + prompt["width"] < texts["x"]
        assert abs(prompt["y"] - texts["y"]) < 2


def test_right_to_left_text_keeps_to_its_side(page_as, seed):
    seed(tasks=1, texts=RICH)
    page = page_as("labeler", viewport={"width": 1920, "height": 1000})
    start(page)
    page.get_by_role("button", name="One below the other").click()
    texts = page.locator(".completion-text")
    arabic = next(one for one in texts.all() if "هذا" in one.inner_text())
    box, line = arabic.bounding_box(), arabic.locator("p").first.bounding_box()
    assert arabic.locator("p").first.evaluate("one => getComputedStyle(one).direction") == "rtl"
    assert box["x"] + box["width"] - (line["x"] + line["width"]) < 20


def test_nothing_on_the_page_reveals_who_wrote_what(task_page):
    sent = task_page.request.get(task_page.url).text() + task_page.content()
    assert "secret-policy" not in sent
    assert "secret-reason" not in sent


def test_a_sheet_lists_the_keys_and_guidelines_are_one_key_away(task_page, live_server):
    press(task_page, "?")
    expect(task_page.get_by_role("dialog")).to_contain_text("Tie with the one above")
    press(task_page, "Escape", "r")
    expect(task_page.locator("[data-guidelines]")).not_to_have_attribute("open", "")
    task_page.wait_for_load_state("networkidle")
    with live_server.database.read() as session:
        assert session.scalars(select(User.preferences)).one()["guidelines"] == "closed"


def test_the_layout_is_remembered(task_page):
    with task_page.expect_response("**/ranking-view"):
        task_page.get_by_role("button", name="One below the other").click()
    left = [card(task_page, letter).bounding_box()["x"] for letter in "AB"]
    assert left[0] == left[1]
    task_page.reload()
    pressed = task_page.get_by_role("button", name="One below the other")
    expect(pressed).to_have_attribute("aria-pressed", "true")


@pytest.mark.parametrize(
    ("theme", "size"), [("light", "desktop"), ("dark", "desktop"), ("light", "narrow")]
)
def test_the_labelers_pages_pass_the_accessibility_check(page_as, seed, axe, theme, size):
    # Narrow and so high that nothing lies half under the submit bar, which axe would call small.
    viewport = DESKTOP if size == "desktop" else {"width": 320, "height": 3000}
    seed(tasks=1, texts=(*(LONG if size == "desktop" else TEXTS), TEXTS[1]), messages=CONVERSATION)
    page = page_as("labeler", theme=theme, viewport=viewport)
    page.goto("/queue")
    assert axe(page) == []
    start(page)
    assert axe(page) == []
    press(page, "a", "b", "t", "s")
    card(page, "A").get_by_text("Rate and flag").click()
    assert axe(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    press(page, "?")
    assert axe(page) == []
    press(page, "Escape")
    page.evaluate("document.activeElement.blur()")
    press(page, "c", "d", "Enter")
    expect(page.get_by_role("heading", name="Nothing is waiting")).to_be_visible()
    assert axe(page) == []
    page.get_by_role("link", name="Edit my last ranking").click()
    assert axe(page) == []


def test_an_empty_queue_says_why(page_as, live_server):
    page = page_as("labeler")
    page.goto("/queue")
    expect(page.get_by_text("No project is open to you")).to_be_visible()
    with live_server.database.write() as session:
        session.add(Project(name="Fresh"))
    page.reload()
    expect(page.get_by_text("No round has been started yet.")).to_be_visible()
