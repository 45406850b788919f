"""Lineage walked both ways in a browser: from a ranking to a policy, and down to its labelers."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import PHONE
from tests.registry.family import Family, make_family


@pytest.fixture
def family(live_server) -> Family:
    return make_family(live_server.database)


def stage(page, title: str):
    """One stage of what came of a ranking."""
    return page.locator(".flow-stage").filter(has=page.get_by_role("heading", name=title))


def test_one_walks_from_a_ranking_to_a_policy_and_down_to_its_labelers(page_as, family):
    page = page_as("admin")
    page.goto(f"/projects/{family.project_id}/pairs?labeler=ann")
    page.get_by_role("link", name="Lineage of the ranking by ann").first.click()
    expect(page).to_have_title(re.compile("Ranking by ann"))
    expect(page.get_by_role("heading", name="Ranking by ann")).to_be_visible()
    picture = page.get_by_role("list", name="From the ranking to all that rests on it")
    expect(picture.get_by_role("link", name="judge", exact=True)).to_be_visible()
    picture.get_by_role("link", name="child").click()
    taught = page.get_by_role("region", name="Who taught it")
    expect(taught).to_contain_text("4 rankings by 3 labelers")
    expect(taught.get_by_role("row").filter(has_text="erased")).to_have_count(1)
    taught.get_by_role("link", name="First").click()
    expect(page).to_have_url(re.compile(f"/snapshots/{family.first_snapshot}$"))
    page.go_back()
    taught.get_by_role("link", name="ann").click()
    expect(page).to_have_url(re.compile("/people/labeler"))


def test_the_stages_stand_side_by_side_and_below_each_other_on_a_phone(page_as, family):
    page = page_as("researcher")
    page.goto(f"/rankings/{family.first_revision}")
    titles = ("Ranking", "Snapshots", "Reward models", "Policies", "Rounds")
    wide = [stage(page, title).bounding_box() for title in titles]
    assert len({round(box["y"]) for box in wide}) == 1
    assert [box["x"] for box in wide] == sorted(box["x"] for box in wide)
    page.set_viewport_size(PHONE)
    narrow = [stage(page, title).bounding_box() for title in titles]
    assert len({round(box["x"]) for box in narrow}) == 1
    assert [box["y"] for box in narrow] == sorted(box["y"] for box in narrow)
    assert max(box["x"] + box["width"] for box in narrow) <= PHONE["width"]


def test_the_keyboard_walks_the_stages_in_their_order(page_as, family):
    page = page_as("researcher")
    page.goto(f"/rankings/{family.second_revision}")
    links = page.locator(".flow-name:is(a)")
    links.first.focus()
    walked = []
    for _ in range(links.count()):
        walked.append(page.evaluate("document.activeElement.textContent"))
        page.keyboard.press("Tab")
    assert walked == links.all_text_contents()
    assert walked[0] == "Revision 1"
    assert walked[-1] == "Round 2"


def test_a_ranking_in_no_snapshot_leads_to_where_one_is_frozen(page_as, family):
    page = page_as("admin")
    page.goto(f"/rankings/{family.fay}")
    expect(page.get_by_text("No snapshot holds it yet: freeze one from Pairs.")).to_be_visible()
    page.get_by_role("link", name="To the pairs").click()
    expect(page.get_by_role("region", name=re.compile("Freeze"))).to_be_in_viewport()
