"""What a labeler does is kept: drafts, edits, skips, time, whatever the connection does."""

import re

from playwright.sync_api import Page, expect
from sqlalchemy import select

from app.models import Assignment, AssignmentState, Ranking, utc_now
from tests.browser.ranking.acts import (
    card,
    order,
    press,
    start,
    wait_saved,
)


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
