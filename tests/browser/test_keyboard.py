"""Whole paths through the app with the keyboard alone: nothing here points, clicks or fills in."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect
from sqlalchemy import select

from app.models import Project, Prompt, Ranking, RankingEntry, User
from tests.conftest import PASSWORD
from tests.labeling.factory import make_project, make_tasks

MOST_TABS = 120


def tab_to(page: Page, target: Locator, *, key: str = "Tab") -> None:
    """Press Tab until the target has the focus, as a person does who sees where it is."""
    for _ in range(MOST_TABS):
        if target.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press(key)
    raise AssertionError(f"Tab does not lead to {target}")


def type_into(page: Page, label: str, text: str) -> None:
    tab_to(page, page.get_by_label(label, exact=True))
    page.keyboard.type(text)


def activate(page: Page, role: str, name: str | re.Pattern[str]) -> None:
    """Press Enter on what has this role and name."""
    exact = isinstance(name, str)
    tab_to(page, page.get_by_role(role, name=name, exact=exact).first)
    page.keyboard.press("Enter")


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def sign_in(page: Page, email: str) -> None:
    page.goto("/sign-in")
    type_into(page, "E-mail address", email)
    type_into(page, "Password", PASSWORD)
    page.keyboard.press("Enter")


def sign_out(page: Page) -> None:
    tab_to(page, page.get_by_label(re.compile("^Account of")))
    page.keyboard.press("Enter")
    activate(page, "button", "Sign out")
    expect(page.get_by_text("You are signed out.")).to_be_visible()


@pytest.fixture
def rankings(live_server):
    """Every revision, oldest first: ranks in the order shown, comment and flags."""

    def read() -> list[tuple[list[int], str, list[str]]]:
        with live_server.database.read() as session:
            found = []
            for ranking in session.scalars(select(Ranking).order_by(Ranking.id)):
                entries = {
                    entry.completion_id: entry
                    for entry in session.scalars(
                        select(RankingEntry).where(RankingEntry.ranking_id == ranking.id)
                    )
                }
                shown = [entries[one] for one in ranking.shown_order]
                flags = [flag for entry in shown for flag in entry.flags]
                found.append(([entry.rank for entry in shown], ranking.comment, flags))
            return found

    return read


def test_a_labeler_ranks_with_the_keyboard_alone(page_as, make_person, live_server, rankings):
    make_person("labeler", email="lena@example.org", password=PASSWORD)
    with live_server.database.write() as session:
        make_tasks(session, make_project(session), 3)
    page = page_as(None)
    said = page.locator("#rank-said")

    sign_in(page, "lena@example.org")
    activate(page, "button", re.compile("^Start ranking"))
    page.wait_for_url(re.compile("/assignments/"))
    expect(page.locator("form[data-ready]")).to_be_attached()
    press(page, "?")
    keys = page.get_by_role("dialog")
    expect(keys).to_contain_text("Tie with the one above")
    press(page, "Escape")
    expect(keys).to_have_count(0)

    press(page, "c", "a")
    expect(said).to_have_text("A has rank 2. 1 left to place.")
    press(page, "t", "b")
    expect(said).to_have_text(re.compile("^B has rank 2. All placed"))
    tab_to(page, page.locator("summary", has_text="Comment"))
    press(page, "Enter")
    type_into(page, "Comment on this ranking", "A and C say the same.")
    tab_to(page, page.locator("article[data-letter=B] summary"), key="Shift+Tab")
    press(page, "Enter")
    tab_to(page, page.locator("article[data-letter=B]").get_by_label("Wrong facts"))
    press(page, "Space")
    first = page.url
    activate(page, "button", "Submit")
    page.wait_for_url(lambda url: url != first)
    expect(said).to_have_text("Next task. 3 completions.")
    expect(page.locator("#prompt-title")).to_be_focused()
    assert rankings() == [([1, 2, 1], "A and C say the same.", ["wrong_facts"])]

    second = page.url
    activate(page, "link", "Edit my last ranking")
    expect(page.locator("[data-submit]")).to_have_text("Save changes")
    expect(page.locator("form[data-ready]")).to_be_attached()
    press(page, "b", "1")
    activate(page, "button", "Save changes")
    page.wait_for_url(second)
    assert rankings()[1][0] != [1, 2, 1]

    expect(page.locator("form[data-ready]")).to_be_attached()
    press(page, "s")
    tab_to(page, page.locator("input[name=reason]").first)
    press(page, "ArrowDown")
    activate(page, "button", "Skip and go on")
    page.wait_for_url(lambda url: url != second)
    expect(page.locator("#prompt-title")).to_be_focused()
    sign_out(page)


def test_single_keys_can_be_turned_off(page_as, live_server):
    """WCAG 2.1.4: who speaks to the computer must not rank by accident."""
    with live_server.database.write() as session:
        make_tasks(session, make_project(session), 1)
    page = page_as("labeler")
    page.goto("/queue")
    activate(page, "button", re.compile("^Start ranking"))
    page.wait_for_url(re.compile("/assignments/"))
    expect(page.locator("form[data-ready]")).to_be_attached()
    activate(page, "button", re.compile("^Keys"))
    tab_to(page, page.get_by_label("Letters and digits act as keys"))
    press(page, "Space", "Escape", "a", "b", "?", "s", "1")
    placed = page.locator("[data-placed] > li")
    expect(placed).to_have_count(0)
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.reload()
    expect(page.locator("form[data-ready]")).to_be_attached()
    press(page, "a")
    expect(placed).to_have_count(0)
    activate(page, "button", re.compile("^Keys"))
    tab_to(page, page.get_by_label("Letters and digits act as keys"))
    press(page, "Space", "Escape", "a")
    expect(placed).to_have_count(1)


def test_an_admin_sets_a_project_up_with_the_keyboard_alone(page_as, make_person, live_server):
    make_person("admin", email="ada@example.org", password=PASSWORD)
    page = page_as(None)
    sign_in(page, "ada@example.org")
    activate(page, "link", re.compile("^New project"))
    page.wait_for_url("**/projects/new")
    type_into(page, "Name", "By keys")
    type_into(page, "Guidelines", "Prefer what is **true**.")
    activate(page, "button", "Preview guidelines")
    expect(page.locator("#guidelines-preview strong")).to_have_text("true")
    activate(page, "button", "Create project")
    expect(page.get_by_role("heading", level=1)).to_have_text("By keys")

    activate(page, "link", "Add prompts")
    page.wait_for_url("**/prompts")
    activate(page, "link", "Add prompts")
    page.wait_for_url("**/prompts/add")
    tab_to(page, page.get_by_label("Prompts", exact=True))
    page.keyboard.type("Why is the sky blue?\nWhy do cats purr?")
    activate(page, "button", re.compile("^Preview what was pasted"))
    expect(page.locator(".preview-counts")).to_contain_text("2 new prompts")
    activate(page, "button", "Import")
    expect(page.locator(".report-counts > div").first).to_have_text(re.compile(r"Created\s*2"))

    activate(page, "link", "Settings")
    page.wait_for_url("**/settings")
    tab_to(page, page.get_by_label("Name", exact=True))
    press(page, "End")
    page.keyboard.type(" alone")
    activate(page, "button", "Save")
    expect(page.get_by_text("Saved.")).to_be_visible()

    activate(page, "link", "People")
    page.wait_for_url("**/people")
    type_into(page, "E-mail address", "lena@example.org")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Invitation")).to_have_value(re.compile("/invite/"))
    sign_out(page)
    with live_server.database.read() as session:
        assert session.scalars(select(Project.name)).all() == ["By keys alone"]
        assert len(session.scalars(select(Prompt)).all()) == 2
        assert "lena@example.org" in session.scalars(select(User.email)).all()
