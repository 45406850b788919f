"""The shell and the account pages in a real browser."""

import pytest
from playwright.sync_api import Page, expect

from app.accounts.links import create_setup_link
from tests.conftest import PASSWORD

SMALLEST = {"width": 320, "height": 640}
LARGEST = {"width": 3840, "height": 2160}
PAGES = ["/account", "/people", "/people/audit", "/api/docs", "/nowhere"]


def overflow(page: Page) -> int:
    """Pixels by which the page is wider than its window."""
    return page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_of_the_shell_is_accessible(page_as, axe, theme):
    page = page_as("admin", theme=theme)
    for path in PAGES:
        page.goto(path)
        assert axe(page) == [], path
    stranger = page_as(None, theme=theme)
    stranger.goto("/sign-in")
    assert axe(stranger) == []


@pytest.mark.parametrize("size", [SMALLEST, LARGEST], ids=["320px", "4K"])
def test_no_page_scrolls_sideways(page_as, axe, size):
    page = page_as("admin", viewport=size)
    for path in PAGES:
        page.goto(path)
        assert overflow(page) <= 0, path
    page.goto("/people")
    assert axe(page) == []


def test_the_first_admin_sets_up_and_invites_without_scripts(page_as, live_server):
    with live_server.database.write() as session:
        token = create_setup_link(session)
    page = page_as(None, java_script_enabled=False)
    page.goto(f"/setup/{token}")
    page.get_by_label("E-mail address").fill("ada@example.org")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Create the account").click()
    page.goto("/people")
    page.get_by_label("E-mail address").fill("lena@example.org")
    page.get_by_role("button", name="Create the invitation").click()
    invitation = page.get_by_label("Invitation").input_value()

    guest = page_as(None, java_script_enabled=False)
    guest.goto(invitation)
    guest.get_by_label("Password").fill(PASSWORD)
    guest.get_by_role("button", name="Save and sign in").click()
    guest.goto("/account")
    expect(guest.get_by_role("definition").first).to_have_text("lena@example.org")

    row = page.get_by_role("row").filter(has_text="lena@example.org")
    row.get_by_role("combobox").select_option("researcher")
    row.get_by_role("button", name="Set").click()
    expect(page.get_by_text("lena@example.org is now researcher.")).to_be_visible()


def test_signing_in_leads_on_and_signing_out_ends_it(page_as, make_person):
    make_person("admin", email="ada@example.org", password=PASSWORD)
    page = page_as(None)
    page.goto("/people")
    page.get_by_label("E-mail address").fill("ada@example.org")
    page.get_by_label("Password").fill("wrong password")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("The address or the password is wrong.")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("People")
    page.get_by_label("Account of ada@example.org").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("You are signed out.")).to_be_visible()
    page.goto("/people")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_the_theme_follows_the_system_until_one_is_chosen_and_is_kept(page_as):
    page = page_as("labeler", theme="dark")
    page.goto("/account")
    root = page.locator("html")
    expect(root).to_have_attribute("data-bs-theme", "dark")
    page.emulate_media(color_scheme="light")
    expect(root).to_have_attribute("data-bs-theme", "light")
    page.locator("summary[title=Theme]").click()
    with page.expect_response("**/theme"):
        page.get_by_role("button", name="Dark").click()
    expect(root).to_have_attribute("data-bs-theme", "dark")
    page.reload()
    assert page.content().partition("<head>")[0].count('data-bs-theme="dark"') == 1
    page.emulate_media(color_scheme="dark")
    page.emulate_media(color_scheme="light")
    expect(root).to_have_attribute("data-bs-theme", "dark")


def test_what_is_hard_to_take_back_asks_first_and_cancel_does_nothing(page_as, make_person):
    make_person("labeler", email="lena@example.org")
    page = page_as("admin")
    page.goto("/people")
    disable = page.get_by_role("button", name="Disable lena@example.org")
    disable.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    disable.click()
    dialog.get_by_role("button", name="Disable").click()
    expect(page.get_by_text("lena@example.org is disabled")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="lena@")).to_contain_text("disabled")


def test_a_role_is_changed_by_choosing_it(page_as, make_person):
    make_person("labeler", email="lena@example.org")
    page = page_as("admin")
    page.goto("/people")
    page.get_by_label("Role of lena@example.org").select_option("researcher")
    expect(page.get_by_text("lena@example.org is now researcher.")).to_be_visible()


def test_menus_open_by_keyboard_and_close_by_escape_and_elsewhere(page_as):
    page = page_as("labeler")
    page.goto("/account")
    summary = page.get_by_label("Account of labeler1@example.org")
    summary.focus()
    page.keyboard.press("Enter")
    sign_out = page.get_by_role("button", name="Sign out", exact=True)
    expect(sign_out).to_be_visible()
    page.keyboard.press("Escape")
    expect(sign_out).to_be_hidden()
    expect(summary).to_be_focused()
    summary.click()
    page.get_by_role("heading", level=1).click()
    expect(sign_out).to_be_hidden()


def test_the_skip_link_is_the_first_stop_and_leads_to_the_content(page_as):
    page = page_as("labeler")
    page.goto("/account")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


def test_an_error_of_a_fragment_becomes_a_note_and_leaves_the_page_alone(page_as):
    page = page_as("labeler")
    page.goto("/account")
    page.evaluate(
        """() => {
             const button = document.createElement("button");
             button.textContent = "Load";
             button.id = "load";
             button.setAttribute("hx-get", "/people");
             button.setAttribute("hx-target", "#password");
             document.querySelector("main").append(button);
             htmx.process(button);
           }"""
    )
    page.get_by_role("button", name="Load").click()
    expect(page.locator("#toasts")).to_contain_text("Only an admin may do this.")
    expect(page.locator("#password")).to_contain_text("Current password")


def test_markdown_of_models_is_drawn_as_it_should_be(page_as, axe):
    """MathML, code, tables and right-to-left text survive the policy and pass the check."""
    from app.web.rendering import render_markdown

    text = (
        "Sum $\\sum_{i=1}^n i$ and\n\n$$\\frac{a}{b}$$\n\n```python\n# say hi\nprint('hi', 1)\n```"
        "\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nשלום [x](https://example.org)\n\n> quoted"
    )
    for theme in ("light", "dark"):
        page = page_as("labeler", theme=theme)
        page.goto("/account")
        page.evaluate(
            "html => { const box = document.createElement('div'); box.className = 'markdown card';"
            " box.innerHTML = html; document.querySelector('.page-body').prepend(box); }",
            str(render_markdown(text)),
        )
        assert axe(page) == []
        assert page.locator("math mfrac").bounding_box()["height"] > 10
        direction = page.locator("p", has_text="שלום").evaluate(
            "e => getComputedStyle(e).direction"
        )
        assert direction == "rtl"
