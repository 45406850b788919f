"""The ranking page, by every way of ranking."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect
from sqlalchemy import select

from app.models import Assignment, AssignmentState, Project, Ranking, User, utc_now
from tests.browser.conftest import DESKTOP, PHONE
from tests.browser.ranking.acts import (
    CONVERSATION,
    LONG,
    RICH,
    TEXTS,
    card,
    order,
    press,
    start,
    wait_saved,
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


def test_going_back_shows_the_ranking_to_edit(task_page, stored):
    first = task_page.url
    press(task_page, "a", "b", "c", "Enter")
    task_page.wait_for_url(lambda url: url != first and "/assignments/" in url)
    task_page.go_back()
    expect(task_page.locator("[data-submit]")).to_have_text("Save changes")
    expect(task_page.locator("form[data-ready]")).to_be_visible()
    press(task_page, "c", "Shift+ArrowUp", "Enter")
    expect(task_page.locator("[data-submit]")).to_have_text("3 left to place")
    assert stored() == [{"A": 1, "B": 3, "C": 2}]


def test_a_draft_is_restored_after_a_reload_and_on_another_device(page_as, seed, make_person):
    seed(tasks=1)
    person = make_person()
    page = page_as(user=person)
    start(page)
    press(page, "b", "a", "t")
    card(page, "A").get_by_text("Rate and flag").click()
    card(page, "A").get_by_label("6", exact=True).check()
    card(page, "A").get_by_label("Unsafe").check()
    page.get_by_text("Comment", exact=True).click()
    page.get_by_label("Comment on this ranking").fill("close call")
    wait_saved(page)
    for again in (page, page_as(user=person)):
        again.goto(page.url)
        assert order(again) == ["1 A", "1 B"]
        expect(card(again, "A").get_by_label("6", exact=True)).to_be_checked()
        expect(card(again, "A").get_by_label("Unsafe")).to_be_checked()
        expect(again.get_by_label("Comment on this ranking")).to_have_value("close call")


def test_a_lost_connection_is_said_and_loses_nothing(task_page):
    task_page.route("**/draft", lambda route: route.abort())
    press(task_page, "c", "a")
    expect(task_page.locator("[data-status]")).to_contain_text("Not saved")
    task_page.reload()
    assert order(task_page) == ["1 C", "2 A"]
    expect(task_page.locator("[data-status]")).to_contain_text("Not saved")
    task_page.unroute("**/draft")
    wait_saved(task_page)


def test_a_submission_without_connection_is_sent_again(task_page, stored):
    task_page.route("**/ranking", lambda route: route.abort())
    first = task_page.url
    press(task_page, "a", "b", "c", "Enter")
    expect(task_page.locator("[data-status]")).to_contain_text("Not submitted")
    task_page.unroute("**/ranking")
    task_page.wait_for_url(lambda url: url != first)
    assert stored() == [{"A": 1, "B": 2, "C": 3}]


def test_the_last_ranking_can_be_edited_and_the_earlier_one_is_kept(task_page, stored, live_server):
    press(task_page, "a", "b", "c", "Enter")
    task_page.get_by_role("link", name="Edit my last ranking").click()
    expect(task_page.locator("[data-submit]")).to_have_text("Save changes")
    expect(task_page.locator("form[data-ready]")).to_be_visible()
    assert order(task_page) == ["1 A", "2 B", "3 C"]
    press(task_page, "c", "1", "a", "3", "Enter")
    task_page.wait_for_url(re.compile("/assignments/"))
    expect(task_page.locator("[data-submit]")).to_have_text("3 left to place")
    assert stored() == [{"A": 3, "B": 2, "C": 1}]
    with live_server.database.read() as session:
        assert session.scalars(select(Ranking.revision).order_by(Ranking.revision)).all() == [1, 2]


def test_skipping_needs_a_reason_and_brings_the_next_task(task_page, live_server):
    first = task_page.url
    press(task_page, "s")
    task_page.get_by_label("I do not know enough about this").check()
    task_page.get_by_placeholder("Details").fill("chemistry")
    task_page.get_by_role("button", name="Skip and go on").click()
    task_page.wait_for_url(lambda url: url != first and "/assignments/" in url)
    with live_server.database.read() as session:
        reason = session.scalar(
            select(Assignment.skip_reason).where(Assignment.state == AssignmentState.SKIPPED)
        )
        assert reason == "not_my_field: chemistry"


def test_active_time_is_measured_and_sent(task_page, live_server):
    task_page.wait_for_timeout(400)
    press(task_page, "a", "b", "c", "Enter")
    expect(task_page.locator("[data-submit]")).to_have_text("3 left to place")
    with live_server.database.read() as session:
        assert 300 < session.scalars(select(Ranking.active_ms)).one() < 20_000


def test_active_time_stops_while_the_page_is_hidden_or_left_alone(page_as, seed):
    seed(tasks=1)
    page = page_as("labeler")
    page.clock.install()
    start(page)
    page.clock.pause_at(page.evaluate("Date.now()") + 1000)
    begun = active_seconds(page, "a")
    page.clock.fast_forward("00:20")
    used = active_seconds(page, "b")
    assert 19 <= used - begun <= 21
    hide(page, hidden=True)
    page.clock.fast_forward("10:00")
    hide(page, hidden=False)
    assert active_seconds(page, "c") - used < 1
    page.clock.fast_forward("30:00")
    idle = active_seconds(page, "u") - used
    assert 59 <= idle <= 61


def active_seconds(page: Page, key: str) -> float:
    """What the form would send right after a change by this key."""
    press(page, key)
    return page.evaluate(
        "document.querySelector('form[data-ranking]').elements.active_ms.value / 1000"
    )


def hide(page: Page, *, hidden: bool) -> None:
    """As a browser does with a tab that another one covers."""
    page.evaluate(
        """(hidden) => {
          const state = hidden ? "hidden" : "visible";
          Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
          Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


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


def test_a_task_that_cannot_be_ranked_is_skipped_with_the_first_reason(task_page, live_server):
    first = task_page.url
    press(task_page, "s")
    choice = task_page.get_by_label("Cannot be ranked")
    expect(choice).to_be_focused()
    choice.check()
    task_page.get_by_placeholder("Details").fill("all three are empty")
    task_page.get_by_role("button", name="Skip and go on").click()
    task_page.wait_for_url(lambda url: url != first and "/assignments/" in url)
    with live_server.database.read() as session:
        reasons = session.scalars(select(Assignment.skip_reason)).all()
        assert "cannot_be_ranked: all three are empty" in reasons


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


def test_a_lease_that_went_to_others_is_said(page_as, seed, live_server):
    seed(tasks=1)
    slow, quick = page_as("labeler"), page_as("labeler")
    start(slow)
    slow.wait_for_load_state("networkidle")
    with live_server.database.write() as session:
        session.query(Assignment).update({"lease_expires_at": utc_now().replace(year=2020)})
    start(quick)
    press(slow, "a", "b", "c")
    expect(slow.locator("[data-lease-lost]")).to_be_visible()
    press(slow, "Enter")
    expect(slow.get_by_text("This task is no longer yours.")).to_be_visible()
    assert order(slow) == ["1 A", "2 B", "3 C"]


def test_typing_a_comment_ranks_nothing(task_page):
    task_page.get_by_text("Comment", exact=True).click()
    task_page.get_by_label("Comment on this ranking").press_sequentially("abc 123 t?")
    assert order(task_page) == []
    expect(task_page.locator("dialog[open]")).to_have_count(0)


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
