"""What differs between two completions, word by word."""

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import DESKTOP
from tests.browser.ranking.acts import card, order, press, start

PARIS = "Paris is **the** capital of France."
CITY = "Paris is **a** city of France, in the north."
LYON = "Lyon is a city."


@pytest.fixture
def open_page(page_as, seed):
    """A labeler on a task with these texts."""

    def open_(*texts: str, **options) -> Page:
        seed(tasks=1, texts=texts)
        page = page_as("labeler", **options)
        start(page)
        return page

    return open_


def letter_of(page: Page, text: str) -> str:
    """The letter of the completion that was written so."""
    texts = page.request.get(page.url + "/texts").json()["texts"]
    found = next(completion for completion, written in texts.items() if written == text)
    return page.locator(f'article[data-completion="{found}"]').get_attribute("data-letter")


def compare(page: Page, first: str, second: str) -> Locator:
    """The dialog with these two texts in it."""
    letters = [letter_of(page, text) for text in (first, second)]
    dialog = page.get_by_role("dialog", name="What differs")
    if not dialog.is_visible():
        page.get_by_role("button", name="Differences").click()
    dialog.get_by_label("From").select_option(label=letters[0])
    dialog.get_by_label("to", exact=True).select_option(label=letters[1])
    expect(dialog.locator("[data-difference-said]")).to_contain_text(letters[1])
    return dialog


def marked(dialog: Locator, tag: str) -> list[str]:
    return [words.strip() for words in dialog.locator(f".difference-text {tag}").all_inner_texts()]


def test_words_of_only_one_text_are_marked_in_the_texts_as_written(open_page):
    page = open_page(PARIS, CITY, LYON)
    dialog = compare(page, PARIS, CITY)
    assert marked(dialog, "del") == ["the", "capital"]
    assert marked(dialog, "ins") == ["a", "city", ", in the north"]
    panes = dialog.locator(".difference-text").all_inner_texts()
    assert panes == [PARIS, CITY]
    first, second = letter_of(page, PARIS), letter_of(page, CITY)
    expect(dialog.locator("[data-difference-said]")).to_have_text(
        f"Only in {first}: 2 words. Only in {second}: 5 words."
    )
    dialog.get_by_label("in one text").check()
    assert dialog.locator(".difference-text").count() == 1
    assert (len(marked(dialog, "del")), len(marked(dialog, "ins"))) == (2, 3)
    dialog.get_by_role("button", name="The other way round").click()
    assert marked(dialog, "ins") == ["the", "capital"]


def test_marks_do_not_rest_on_colour_alone(open_page):
    dialog = compare(open_page(PARIS, CITY), PARIS, CITY)
    lines = [
        dialog.locator(f".difference-text {tag}").first.evaluate(
            "part => getComputedStyle(part).textDecorationLine"
        )
        for tag in ("del", "ins")
    ]
    assert lines == ["line-through", "underline"]


def test_scripts_without_latin_letters_are_compared_by_word(open_page):
    chinese = ("我喜欢苹果。", "我喜欢香蕉。")
    arabic = ("هذا كتاب جديد", "هذا قلم جديد")
    page = open_page(*chinese, *arabic)
    dialog = compare(page, *chinese)
    assert (marked(dialog, "del"), marked(dialog, "ins")) == (["苹果"], ["香蕉"])
    compare(page, *arabic)
    assert (marked(dialog, "del"), marked(dialog, "ins")) == (["كتاب"], ["قلم"])


def test_equal_texts_and_those_that_differ_in_spaces_are_called_so(open_page):
    page = open_page("one two", "one two", "one\n\ntwo")
    said = page.locator("[data-difference-said]")
    letters = "ABC"
    texts = page.request.get(page.url + "/texts").json()["texts"]
    written = [texts[card(page, one).get_attribute("data-completion")] for one in letters]
    spaced = letters[written.index("one\n\ntwo")]
    first, second = (one for one in letters if one != spaced)
    press(page, "d")
    dialog = page.get_by_role("dialog", name="What differs")
    dialog.get_by_label("From").select_option(label=first)
    dialog.get_by_label("to", exact=True).select_option(label=second)
    expect(said).to_have_text(f"{first} and {second} are the same.")
    dialog.get_by_label("to", exact=True).select_option(label=spaced)
    expect(said).to_have_text(f"{first} and {spaced} differ in spaces and signs only.")


def test_the_key_is_d_or_shift_d_where_a_completion_is_called_d(open_page):
    page = open_page(PARIS, CITY, LYON, "A fourth.")
    dialog = page.get_by_role("dialog", name="What differs")
    press(page, "d")
    assert order(page) == ["1 D"]
    expect(dialog).to_be_hidden()
    press(page, "Shift+D")
    expect(dialog).to_be_visible()
    assert dialog.get_by_label("From").evaluate("one => one.selectedOptions[0].label") == "D"
    press(page, "Escape")
    expect(dialog).to_be_hidden()
    expect(card(page, "D").locator("[data-text]")).to_be_focused()


def test_it_begins_with_the_focused_completion_and_the_one_above_it(open_page):
    page = open_page(PARIS, CITY, LYON)
    press(page, "a", "b", "c", "b", "d")
    dialog = page.get_by_role("dialog", name="What differs")
    chosen = dialog.locator("select").evaluate_all(
        "all => all.map((one) => one.selectedOptions[0].label)"
    )
    assert chosen == ["B", "A"]
    press(page, "1", "Escape")
    assert order(page) == ["1 A", "2 B", "3 C"]


def test_without_the_server_it_says_so(open_page):
    page = open_page(PARIS, CITY)
    page.route("**/texts", lambda route: route.abort())
    press(page, "d")
    said = page.locator("[data-difference-said]")
    expect(said).to_contain_text("could not be had")
    press(page, "Escape")
    page.unroute("**/texts")
    press(page, "d")
    expect(said).to_contain_text("Only in")


@pytest.mark.parametrize(
    ("theme", "viewport"), [("light", {"width": 320, "height": 900}), ("dark", DESKTOP)]
)
def test_the_dialog_passes_the_accessibility_check(open_page, axe, theme, viewport):
    page = open_page(PARIS, CITY, theme=theme, viewport=viewport)
    dialog = compare(page, PARIS, CITY)
    assert axe(page) == []
    dialog.get_by_label("in one text").check()
    assert axe(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
