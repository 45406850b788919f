"""What a screen reader is told: names and roles of the pages people spend their day on, and what is
announced when a part of a page changes."""

import re
from collections import Counter

import pytest
from playwright.sync_api import Page, expect

from tests.browser.ranking.acts import CONVERSATION, press, start
from tests.labeling.factory import make_project, make_tasks
from tests.projects.loop_states import add_model, add_project, add_prompts, add_ranking, add_round

NAMED_ROLES = (
    "button",
    "link",
    "textbox",
    "combobox",
    "checkbox",
    "radio",
    "navigation",
    "region",
    "article",
    "list",
    "dialog",
    "progressbar",
    "img",
)
MAY_REPEAT = ("list", "radio", "checkbox")
"""Their group tells them apart; a list needs no name."""


def find_bad_names(page: Page) -> list[str]:
    """Roles without a name, and controls of one name in the same part of the page."""
    lines = page.locator("body").aria_snapshot().splitlines()
    role_and_name = re.compile(r'^(\s*)- \'?(\w+)(?: "((?:[^"\\]|\\.)*)")?')
    found, seen = [], Counter()
    part: list[tuple[int, str]] = []
    for line in lines:
        matched = role_and_name.match(line)
        if not matched:
            continue
        depth, role, name = len(matched[1]), matched[2], matched[3]
        part = [(level, words) for level, words in part if level < depth]
        if role in NAMED_ROLES and not name and role != "list":
            found.append(f"no name: {line.strip()}")
        if role in NAMED_ROLES and role not in MAY_REPEAT and name:
            seen["/".join(words for _, words in part) + f"/{role} {name}"] += 1
        if role in ("article", "group", "region", "navigation", "listitem", "list"):
            part.append((depth, f"{role} {name}"))
    found += [f"{count} times: {path}" for path, count in seen.items() if count > 1]
    return found


@pytest.fixture
def task_page(page_as, live_server) -> Page:
    """A labeler on the first of two tasks with a conversation and three completions."""
    with live_server.database.write() as session:
        make_tasks(session, make_project(session), 2, messages=CONVERSATION)
    page = page_as("labeler")
    start(page)
    expect(page.locator("form[data-ready]")).to_be_attached()
    return page


def test_the_ranking_page_says_what_everything_is(task_page: Page):
    press(task_page, "b", "a", "t")
    expect(task_page.locator("body")).to_match_aria_snapshot(
        """
        - banner:
          - link "Podium, home"
          - navigation "Main"
        - main:
          - heading "Helpfulness" [level=1]
          - form "Layout of the completions":
            - button "Two side by side" [pressed]
          - article "Completion A":
            - heading "Completion A" [level=2]
            - group "Rank of A":
              - button "Rank 1" [pressed]
              - button "Rank 2"
              - button "Rank 3"
            - region "Text of A"
          - article "Completion B":
            - group "Rank of B":
              - button "Rank 1" [pressed]
          - article "Completion C":
            - group "Rank of C":
              - button "Rank 1"
          - complementary "Your ranking":
            - heading "Your ranking" [level=2]
            - list "Placed, best first":
              - listitem:
                - button /Show A/
                - button "Tie A with the one above" [pressed]
                - button "Move A up"
                - button "Move A down"
              - listitem:
                - button /Show B/
            - list "Not placed":
              - listitem:
                - button /Show C/
            - button "1 left to place" [disabled]
        """
    )
    assert find_bad_names(task_page) == []


def test_the_queue_says_what_waits_where(page_as, live_server):
    with live_server.database.write() as session:
        make_tasks(session, make_project(session), 2)
        make_project(session, name="Quiet")
    page = page_as("labeler")
    page.goto("/queue")
    expect(page.locator("body")).to_match_aria_snapshot(
        """
        - main:
          - heading "Rank" [level=1]
          - list:
            - listitem:
              - heading "Helpfulness" [level=2]
              - button "Start ranking in Helpfulness"
            - listitem:
              - heading "Quiet" [level=2]
        """
    )
    assert find_bad_names(page) == []


def test_the_loop_says_what_is_where_and_what_is_next(page_as, live_server):
    with live_server.database.write() as session:
        project = add_project(session, "Half way")
        add_model(session, "v0")
        prompts = add_prompts(session, project, 3)
        for task in add_round(session, project, prompts, ["v0"])[:2]:
            add_ranking(session, task, [1, 2])
    page = page_as("admin")
    page.goto(f"/projects/{project.id}")
    expect(page.locator("body")).to_match_aria_snapshot(
        """
        - main:
          - navigation "Breadcrumb"
          - heading "Half way" [level=1]
          - navigation "Project":
            - list:
              - listitem:
                - link "Loop"
          - region "The loop":
            - list:
              - listitem:
                - article "Prompts":
                  - heading "Prompts" [level=2]
              - listitem:
                - article "Completions"
              - listitem:
                - article "Rankings":
                  - heading "Rankings" [level=2]
                  - progressbar /still wanted/
        """
    )
    assert find_bad_names(page) == []


def test_every_move_is_announced(task_page: Page):
    said = task_page.locator("#rank-said")
    expect(said).to_have_attribute("aria-live", "polite")
    for keys, words in (
        (["b"], "B has rank 1. 2 left to place."),
        (["a"], "A has rank 2. 1 left to place."),
        (["t"], "A has rank 1, tied with B. 1 left to place."),
        (["u"], "Undone. A has rank 2. 1 left to place."),
        (["Shift+ArrowUp"], "A has rank 1. 1 left to place."),
        (["0"], "A is not placed. 2 left to place."),
        (["ArrowDown", "Enter"], "2 not placed yet: A, C."),
    ):
        press(task_page, *keys)
        expect(said).to_have_text(words)


def test_the_next_task_is_announced_and_has_the_focus(task_page: Page):
    press(task_page, "a", "b", "c", "Enter")
    expect(task_page.locator("#rank-said")).to_have_text("Next task. 3 completions.")
    expect(task_page.locator("#prompt-title")).to_be_focused()


def test_the_preview_of_guidelines_leaves_the_focus_and_is_announced(page_as):
    page = page_as("admin")
    page.goto("/projects/new")
    page.get_by_label("Guidelines").fill("Prefer **truth**.")
    button = page.get_by_role("button", name="Preview guidelines")
    button.focus()
    page.keyboard.press("Enter")
    preview = page.locator("#guidelines-preview")
    expect(preview.locator("strong")).to_have_text("truth")
    expect(button).to_be_focused()
    expect(preview).to_have_attribute("aria-live", "polite")
