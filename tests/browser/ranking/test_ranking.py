"""The ranking page, by every way of ranking."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import PHONE
from tests.browser.ranking.acts import (
    LONG,
    card,
    order,
    press,
    start,
)


def submit_by_button(page: Page) -> None:
    address = page.url
    page.locator("[data-submit]").click()
    page.wait_for_url(lambda url: url != address)


def test_ranking_by_keys_alone(task_page, stored):
    address = task_page.url
    press(task_page, "ArrowDown", "2", "ArrowDown", "1", "ArrowDown", "3")
    assert order(task_page) == ["1 B", "2 A", "3 C"]
    press(task_page, "Enter")
    task_page.wait_for_url(lambda url: url != address and "/assignments/" in url)
    assert stored() == [{"A": 2, "B": 1, "C": 3}]


def test_letters_place_best_to_worst(task_page, stored):
    press(task_page, "c", "a", "b", "Enter")
    expect(task_page.locator("[data-placed] > li")).to_have_count(0)
    assert stored() == [{"A": 2, "B": 3, "C": 1}]


def test_keys_move_tie_remove_and_undo(task_page):
    press(task_page, "a", "b", "c")
    assert order(task_page) == ["1 A", "2 B", "3 C"]
    press(task_page, "Shift+ArrowUp")
    assert order(task_page) == ["1 A", "2 C", "3 B"]
    press(task_page, "Alt+ArrowDown")
    assert order(task_page) == ["1 A", "2 B", "3 C"]
    press(task_page, "t")
    assert order(task_page) == ["1 A", "2 B", "2 C"]
    press(task_page, "t")
    assert order(task_page) == ["1 A", "2 B", "3 C"]
    press(task_page, "0")
    assert order(task_page) == ["1 A", "2 B"]
    press(task_page, "u")
    assert order(task_page) == ["1 A", "2 B", "3 C"]
    press(task_page, *"uuuuu")
    assert order(task_page) == ["1 A", "2 B"]


def test_ranking_by_the_buttons_on_the_cards_and_in_the_list(task_page, stored):
    card(task_page, "A").get_by_role("button", name="Rank 1").click()
    card(task_page, "B").get_by_role("button", name="Rank 2").click()
    card(task_page, "C").get_by_role("button", name="Rank 3").click()
    task_page.get_by_role("button", name="Move C up").click()
    assert order(task_page) == ["1 A", "2 C", "3 B"]
    task_page.get_by_role("button", name="Tie C with the one above").click()
    assert order(task_page) == ["1 A", "1 C", "2 B"]
    submit_by_button(task_page)
    assert stored() == [{"A": 1, "B": 2, "C": 1}]


def test_ranking_by_dragging(task_page, stored):
    drag(task_page, "B", task_page.locator("[data-placed]"))
    assert order(task_page) == ["1 B"]
    for letter in "AC":
        drag(task_page, letter, task_page.locator("[data-placed] > li").last, below=True)
    assert order(task_page) == ["1 B", "2 A", "3 C"]
    drag(task_page, "C", task_page.locator("[data-placed] > li").first)
    assert order(task_page) == ["1 C", "2 B", "3 A"]
    submit_by_button(task_page)
    assert stored() == [{"A": 3, "B": 2, "C": 1}]


def drag(page: Page, letter: str, target: Locator, *, below: bool = False) -> None:
    chip = page.locator("li.chip").filter(has=page.get_by_text(letter, exact=True))
    start_box = chip.locator("[data-handle]").bounding_box()
    end_box = target.bounding_box()
    page.mouse.move(start_box["x"] + 6, start_box["y"] + start_box["height"] / 2)
    page.mouse.down()
    end_y = end_box["y"] + (end_box["height"] - 3 if below else 3)
    for share in (0.2, 0.6, 0.9, 1, 1):
        page.mouse.move(
            start_box["x"] + 12,
            start_box["y"] + (end_y - start_box["y"]) * share,
            steps=4,
        )
    page.mouse.up()


def test_ranking_by_selects_without_javascript(page_as, seed, stored):
    seed()
    page = page_as("labeler", java_script_enabled=False)
    start(page)
    first = page.url
    page.locator("select").nth(0).select_option("2")
    page.get_by_role("button", name="Submit").click()
    assert page.get_by_role("alert").is_visible()
    assert page.locator("select").nth(0).input_value() == "2"
    assert page.locator("select").nth(1).get_attribute("aria-invalid") == "true"
    assert stored() == []
    page.locator("select").nth(1).select_option("1")
    page.locator("select").nth(2).select_option("2")
    page.get_by_role("button", name="Submit").click()
    assert stored() == [{"A": 2, "B": 1, "C": 2}]
    assert "/assignments/" in page.url
    assert page.url != first
    page.get_by_role("button", name="Three side by side").click()
    assert page.locator("form[data-ranking]").get_attribute("data-layout") == "three"


def test_nothing_is_placed_and_nothing_can_be_sent_until_the_person_placed_all(task_page, stored):
    button = task_page.locator("[data-submit]")
    expect(button).to_be_disabled()
    expect(button).to_have_text("3 left to place")
    press(task_page, "Enter")
    press(task_page, "a", "b")
    expect(button).to_have_text("1 left to place")
    press(task_page, "Enter")
    expect(task_page.locator("#rank-said")).to_have_text("1 not placed yet: C.")
    assert stored() == []
    press(task_page, "c")
    expect(button).to_be_enabled()


def test_the_next_task_comes_without_a_page_load(task_page):
    task_page.evaluate("window.survives = true")
    first = task_page.url
    press(task_page, "a", "b", "c", "Enter")
    task_page.wait_for_url(lambda url: url != first and "/assignments/" in url)
    expect(task_page.locator("#prompt-title")).to_be_focused()
    expect(task_page.locator("#rank-said")).to_have_text("Next task. 3 completions.")
    press(task_page, "a", "b", "c", "Enter")
    expect(task_page.get_by_role("heading", name="Nothing is waiting")).to_be_focused()
    assert task_page.evaluate("window.survives")
    assert re.search(r"/projects/\w+/rank$", task_page.url)


@pytest.mark.parametrize("size", range(2, 10))
def test_any_number_of_completions_is_ranked_by_keys(page_as, seed, stored, size):
    seed(tasks=1, texts=tuple(f"text {number}" for number in range(size)))
    page = page_as("labeler")
    start(page)
    letters = "ABCDEFGHI"[:size]
    for place, _ in enumerate(letters, 1):
        press(page, "ArrowDown", str(size + 1 - place))
    press(page, "Enter")
    expect(page.get_by_role("heading", name="Nothing is waiting")).to_be_visible()
    assert stored() == [{letter: size - place for place, letter in enumerate(letters)}]


def test_nine_completions_are_ranked_by_selects_and_by_touch(page_as, seed, stored):
    seed(tasks=4, texts=tuple(f"text {number}" for number in range(9)))
    plain = page_as("labeler", java_script_enabled=False)
    start(plain)
    for place in range(9):
        plain.locator("select").nth(place).select_option(str(9 - place))
    plain.get_by_role("button", name="Submit").click()
    phone = page_as("labeler", viewport=PHONE, has_touch=True, is_mobile=True)
    start(phone)
    for place, letter in enumerate("ABCDEFGHI", 1):
        card(phone, letter).get_by_role("button", name=f"Rank {10 - place}").tap()
    phone.locator("[data-submit]").tap()
    expect(phone.locator("[data-submit]")).to_have_text("9 left to place")
    assert stored() == [{letter: 9 - place for place, letter in enumerate("ABCDEFGHI")}] * 2


def test_typing_a_comment_ranks_nothing(task_page):
    task_page.get_by_text("Comment", exact=True).click()
    task_page.get_by_label("Comment on this ranking").press_sequentially("abc 123 t?")
    assert order(task_page) == []
    expect(task_page.locator("dialog[open]")).to_have_count(0)


def swipe(page: Page, start: Locator, distance: float) -> None:
    """Put a finger on something and draw it up (negative) or down."""
    client = page.context.new_cdp_session(page)
    box = start.bounding_box()
    point = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    client.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [point]})
    for part in range(1, 13):
        moved = {**point, "y": point["y"] + distance * part / 12}
        client.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [moved]})
        page.wait_for_timeout(16)
    client.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_scrolling_a_phone_never_ranks_and_the_handle_drags(page_as, seed):
    seed(tasks=1, texts=LONG)
    page = page_as("labeler", viewport=PHONE, has_touch=True, is_mobile=True)
    start(page)
    first, last = (page.locator("[data-tray] > li").nth(place) for place in (0, 2))
    first.evaluate("chip => chip.scrollIntoView({block: 'center'})")
    before = page.evaluate("scrollY")
    swipe(page, first.locator(".chip-words"), 240)
    page.wait_for_function("before => scrollY < before - 100", arg=before)
    assert order(page) == []
    page.wait_for_timeout(500)  # until the page has come to rest
    last.evaluate("chip => chip.scrollIntoView({block: 'center'})")
    top = page.locator("[data-placed]").bounding_box()["y"]
    swipe(page, last.locator("[data-handle]"), top + 10 - last.bounding_box()["y"])
    assert order(page) == ["1 C"]
