"""The pairs browser: filters that count as they are set, differences, plots, and the keyboard."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PHONE
from tests.preferences.conftest import load_rankings, make_project, ranking

CHOSEN = "The sky is **blue** because short waves scatter most in the air."
REJECTED = "The sky is green because long waves scatter most in the air."
UNLIKE = "Paint."


@pytest.fixture
def project_id(live_server) -> str:
    project_id = make_project(live_server.database)
    lines = [
        ranking(
            prompt="Why?",
            texts=[CHOSEN, REJECTED, UNLIKE],
            ranks=[1, 2, 3],
            labeler=name,
            tags=[tag],
        )
        for name, tag in (("ann", "sky"), ("bob", "sky"))
    ]
    lines.append(ranking(prompt="Short?", texts=["long text", "b"], ranks=[2, 1], labeler="cleo"))
    assert load_rankings(live_server.database, project_id, lines).created == 3
    return project_id


def pairs_of(page: Page):
    """The number of pairs the page says there are."""
    return page.locator("#pair-counts .stat-value").first


def test_counts_follow_the_filters_and_the_address_keeps_them(page_as, project_id):
    page = page_as("researcher")
    page.goto(f"/projects/{project_id}/pairs")
    expect(pairs_of(page)).to_have_text("7")
    page.get_by_label("Labeler").select_option("ann")
    expect(pairs_of(page)).to_have_text("3")
    page.get_by_label("Length").select_option("longer")
    expect(page.get_by_role("list", name="Filters that are set").get_by_role("link")).to_have_count(
        3
    )
    page.get_by_text("More filters").click()
    page.get_by_label("Chosen longer by at least, characters").fill("40")
    expect(pairs_of(page)).to_have_text("2")
    expect(page.locator("[data-pair-status]")).to_have_text("2 pairs of 1 ranking.")
    expect(page).to_have_url(re.compile("labeler=ann&length=longer&min_length_difference=40$"))
    page.reload()
    expect(pairs_of(page)).to_have_text("2")
    expect(page.get_by_label("Chosen longer by at least, characters")).to_be_visible()
    page.get_by_role("link", name="Take away: labeler ann").click()
    expect(pairs_of(page)).to_have_text("4")
    page.go_back()
    expect(pairs_of(page)).to_have_text("2")


def test_a_condition_on_metadata_waits_until_it_is_whole(page_as, project_id):
    page = page_as("researcher")
    page.goto(f"/projects/{project_id}/pairs")
    page.get_by_text("More filters").click()
    metadata = page.get_by_label("Metadata of the prompt")
    metadata.press_sequentially("source", delay=5)
    page.wait_for_timeout(500)
    expect(pairs_of(page)).to_have_text("7")
    metadata.press_sequentially("=web", delay=5)
    metadata.press("Enter")
    expect(page.get_by_text("No ranking fits these filters", exact=True)).to_be_visible()
    expect(page.locator("[data-toast=danger]")).to_have_count(0)


def test_filters_work_without_scripts(page_as, project_id):
    page = page_as("researcher", java_script_enabled=False)
    page.goto(f"/projects/{project_id}/pairs")
    page.locator("#filter-labeler").select_option("cleo")
    page.get_by_role("button", name="Filter").click()
    expect(pairs_of(page)).to_have_text("1")
    page.locator("summary", has_text="Plots of these pairs").click()
    page.get_by_role("link", name="Show them on a page of their own").click()
    expect(page.get_by_text("1 pair, ")).to_be_visible()


def test_words_of_one_side_alone_are_marked_in_the_text_as_shown(page_as, project_id):
    page = page_as("researcher")
    page.goto(f"/projects/{project_id}/pairs?labeler=ann")
    first = page.locator("[data-pair]").first
    expect(first.locator("ins")).to_have_text(["blue", "short"])
    expect(first.locator("del")).to_have_text(["green", "long"])
    expect(first.locator("strong ins")).to_have_text("blue")
    underlined = first.locator("ins").first.evaluate(
        "(one) => getComputedStyle(one).textDecoration"
    )
    assert "underline" in underlined
    assert first.locator(".pair-chosen [data-pair-text]").inner_text() == CHOSEN.replace("**", "")


def test_unlike_texts_are_marked_only_when_asked_for(page_as, project_id):
    page = page_as("researcher")
    page.goto(f"/projects/{project_id}/pairs?labeler=ann")
    unlike = page.locator("[data-pair]").nth(1)
    expect(unlike.locator("[data-pair-said]")).to_contain_text("Little in common: 0% of the words")
    expect(unlike.locator("ins, del")).to_have_count(0)
    unlike.get_by_role("button", name="Mark the differences").press("Enter")
    expect(unlike.locator("del")).to_contain_text(["Paint"])
    expect(unlike.locator(".pair-chosen [data-pair-text]")).to_be_focused()


def test_the_switch_of_differences_is_remembered(page_as, project_id):
    page = page_as("researcher")
    page.goto(f"/projects/{project_id}/pairs?labeler=ann")
    expect(page.locator("[data-pair] ins").first).to_be_visible()
    before = page.locator("[data-pair-text]").all_inner_texts()
    switch = page.get_by_role("switch", name="Show differences")
    switch.focus()
    switch.press("Space")
    expect(page.locator("[data-pair] :is(ins, del)")).to_have_count(0)
    assert page.locator("[data-pair-text]").all_inner_texts() == before
    expect(page.get_by_text("only in the chosen")).to_be_hidden()
    page.reload()
    expect(switch).not_to_be_checked()
    page.get_by_label("Labeler").select_option("bob")
    expect(page.locator("article.ranking")).to_have_attribute("aria-label", "Ranking by bob")
    expect(page.locator("[data-pair] :is(ins, del)")).to_have_count(0)
    page.get_by_role("switch", name="Show differences").check()
    expect(page.locator("[data-pair] ins").first).to_be_visible()


def test_plots_come_when_opened_stay_open_and_follow_the_filters(page_as, project_id):
    page = page_as("researcher")
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"/projects/{project_id}/pairs")
    expect(pairs_of(page)).to_have_text("7")
    assert not [url for url in asked if "/pairs/plots" in url]
    summary = page.locator("summary", has_text="Plots of these pairs")
    summary.focus()
    summary.press("Enter")
    plots = page.locator("#pair-plots")
    expect(plots.get_by_text("7 pairs, ")).to_be_visible()
    page.get_by_label("Labeler").select_option("cleo")
    expect(plots.get_by_text("1 pair, ")).to_be_visible()
    page.reload()
    expect(plots.get_by_text("1 pair, ")).to_be_visible()


def test_pairs_stand_one_below_the_other_on_a_phone(page_as, project_id):
    page = page_as("researcher", viewport=PHONE)
    page.goto(f"/projects/{project_id}/pairs")
    pair = page.locator("[data-pair]").first
    chosen, rejected = (
        pair.locator(f".pair-{side}").bounding_box() for side in ("chosen", "rejected")
    )
    assert chosen["x"] == rejected["x"]
    assert rejected["y"] >= chosen["y"] + chosen["height"]


def test_the_chooser_of_downloads_offers_what_there_is_and_leads_to_it(page_as, project_id):
    page = page_as("researcher")
    page.goto(f"/projects/{project_id}/pairs?labeler=ann")
    page.get_by_label("Format").select_option("csv")
    page.get_by_label("Schema").select_option("rankings.nectar")
    expect(page.get_by_label("Format")).to_have_value("jsonl")
    expect(page.get_by_label("Format").locator("option[value=csv]")).to_be_disabled()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert len(download.value.path().read_text().splitlines()) == 1


def test_freezing_from_the_filters_says_that_it_is_busy(page_as, project_id):
    page = page_as("admin")
    page.goto(f"/projects/{project_id}/pairs?labeler=ann")
    form = page.get_by_role("form", name="Freeze pairs in a snapshot")
    expect(form.get_by_label("Seed")).to_be_hidden()
    form.get_by_label("Name").fill("Of Ann")
    form.get_by_label("Licence").fill("CC0-1.0")
    form.get_by_label("Split").select_option("labeler")
    expect(form.get_by_label("Seed")).to_be_visible()
    form.get_by_label("Split").select_option("")
    # Held back, for nothing can be looked at while a page is on its way.
    page.evaluate(
        """() => document.querySelector("[data-freeze]")
             .addEventListener("submit", (event) => event.preventDefault())"""
    )
    form.get_by_role("button", name="Freeze").press("Enter")
    expect(form.get_by_role("status")).to_contain_text("Freezing…")
    expect(form.get_by_role("button", name="Freeze")).to_be_disabled()
    page.evaluate("() => document.querySelector('[data-freeze]').submit()")
    expect(page.get_by_role("heading", name="Of Ann")).to_be_visible()
    expect(page.get_by_text("labeler ann, without A/B rounds", exact=True)).to_be_visible()
    page.get_by_role("button", name="Copy").click()
    expect(page.locator("[data-toast]").last).to_be_visible()


def test_deleting_a_snapshot_asks_first(page_as, project_id):
    page = page_as("admin")
    page.goto(f"/projects/{project_id}/snapshots")
    page.get_by_label("Name").fill("Mistake")
    page.get_by_role("button", name="Freeze").click()
    page.get_by_role("button", name="Delete the snapshot").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("heading", name="Mistake")).to_be_visible()
    page.get_by_role("button", name="Delete the snapshot").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("Mistake is deleted.")).to_be_visible()
    expect(page.get_by_text("No snapshot yet")).to_be_visible()
