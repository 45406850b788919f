"""The agreement and people pages in a browser: accessible in light and dark, narrow and wide, and
erasing, revoking and pausing without JavaScript."""

import zipfile
from collections.abc import Callable
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from app.preferences.snapshots import create_snapshot
from tests.browser.conftest import LiveServer
from tests.web.crowd import Person, seed_crowd

ODD = 'a/b?c&d é "x" <b>'
CROWD = [
    Person(name="ada", noise=0.3),
    Person(name="ben", noise=0.4),
    Person(name="kim", noise=4.0, seconds=6, first_bias=3.0),
    Person(name="rule", noise=0.2, rule="plain-words"),
    Person(name=ODD, account=False, share=0.5),
]


@pytest.fixture
def project_id(live_server: LiveServer) -> str:
    with live_server.database.write() as session:
        return seed_crowd(session, CROWD, tasks=60, skip_share=0.1).id


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_are_accessible_and_fit_a_narrow_phone(
    page_as: Callable[..., Page],
    axe: Callable[..., list[str]],
    project_id: str,
    theme: str,
) -> None:
    page = page_as("admin", theme=theme)
    for path in (
        "agreement",
        "people",
        "people/labeler?name=kim",
        "people/labeler/revoke?name=kim",
        "people/labeler/erase?name=kim",
    ):
        for width in (1280, 320):
            page.set_viewport_size({"width": width, "height": 900})
            page.goto(f"/projects/{project_id}/{path}")
            for summary in page.locator(".plot-behind > summary").all():
                summary.click()
            assert axe(page) == [], (path, width)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (path, width)


def test_letters_of_plots_stay_readable_on_a_phone(
    page_as: Callable[..., Page], project_id: str
) -> None:
    page = page_as("admin", viewport={"width": 320, "height": 800})
    page.goto(f"/projects/{project_id}/people")
    sizes = page.evaluate(
        """() => [...document.querySelectorAll(".plot text, .forest-note, .people-note")]
             .filter((one) => getComputedStyle(one).display !== "none")
             .map((one) => parseFloat(getComputedStyle(one).fontSize))"""
    )
    assert sizes
    assert min(sizes) >= 11
    ticks = page.locator(".plot-tick:visible").first.bounding_box()
    assert ticks
    assert ticks["height"] >= 11


def test_dots_lead_to_the_labeler_by_keyboard(
    page_as: Callable[..., Page], project_id: str
) -> None:
    page = page_as("admin")
    page.goto(f"/projects/{project_id}/people")
    dot = page.get_by_role("link", name="kim: ")
    dot.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("kim")


def test_pausing_and_revoking_need_no_javascript(
    page_as: Callable[..., Page], project_id: str
) -> None:
    page = page_as("admin", java_script_enabled=False)
    page.goto(f"/projects/{project_id}/people")
    page.get_by_role("link", name="kim", exact=True).first.click()
    page.get_by_label("Reason, which they will read").fill("Please slow down")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("They read: “Please slow down”")).to_be_visible()
    page.get_by_role("button", name="Let them go on").click()
    expect(page.get_by_text("They read:")).to_have_count(0)
    page.get_by_role("link", name="Revoke…").click()
    expect(page.get_by_role("heading", name="What it does")).to_be_visible()
    page.get_by_role("textbox", name="Reason").fill("Clicked through")
    page.get_by_role("button", name="Revoke").click()
    expect(page.get_by_text("of theirs are revoked")).to_be_visible()
    expect(page.get_by_text("They read: “Clicked through”")).to_be_visible()
    page.get_by_role("button", name="Restore").click()
    expect(page.get_by_text("of theirs are revoked")).to_have_count(0)


@pytest.mark.parametrize("javascript", [True, False])
def test_erasing_asks_for_the_name_and_says_what_it_did(
    page_as: Callable[..., Page],
    live_server: LiveServer,
    axe: Callable[..., list[str]],
    project_id: str,
    javascript: bool,
) -> None:
    with live_server.database.write() as session:
        snapshot_id = create_snapshot(session, None, project_id, name="First week").id
    page = page_as("admin", java_script_enabled=javascript)
    page.goto(f"/projects/{project_id}/people/labeler?{urlencode({'name': ODD})}")
    page.get_by_role("link", name="Erase…").click()
    expect(page.get_by_role("heading", name="What stays")).to_be_visible()
    expect(page.get_by_text("in 1 snapshot")).to_be_visible()
    page.get_by_label("to confirm").fill("somebody else")
    page.get_by_role("button", name="Erase for good").click()
    expect(page.get_by_role("alert")).to_contain_text("The two names differ")
    expect(page.get_by_label("to confirm")).to_have_value("somebody else")
    page.get_by_label("to confirm").fill(ODD)
    page.get_by_role("button", name="Erase for good").click()
    expect(page.get_by_text("tombstones in 1 snapshot")).to_be_visible()
    expect(page.get_by_role("link", name=ODD, exact=True)).to_have_count(0)
    page.goto(f"/snapshots/{snapshot_id}")
    expect(page.get_by_role("note").filter(has_text="were erased")).to_be_visible()
    if javascript:
        assert axe(page) == []
    with page.expect_download() as download:
        page.get_by_role("link", name="Dataset folder (ZIP)").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        card = archive.read("README.md").decode()
    assert "had to be erased since" in card
    assert ODD not in card
