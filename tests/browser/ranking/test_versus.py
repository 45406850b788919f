"""One against one: two completions at a time until all are placed."""

import itertools
import random
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PHONE
from tests.browser.ranking.acts import LONG, card, order, press, start, wait_saved

FOUR = ("quality 1", "quality 2", "quality 3", "quality 4")


def choose_versus(page: Page) -> None:
    with page.expect_response("**/ranking-view"):
        page.get_by_role("button", name="One against one").click()


def in_sight(page: Page) -> list[str]:
    """The letters of the cards that are seen, as they stand on the page."""
    return page.locator("article[data-letter]:visible").evaluate_all(
        "cards => cards.map((card) => card.dataset.letter)"
    )


def quality(page: Page, letter: str) -> int:
    return int(card(page, letter).locator("[data-text]").inner_text().split()[1])


def left_at_most(page: Page) -> int:
    words = page.locator("[data-versus-count]").inner_text()
    return 1 if words == "Last comparison" else int(re.search(r"\d+", words).group())


def judge(page: Page, *, act: Callable[[Page, str], None]) -> None:
    """Say which of the two in sight has the higher quality."""
    left, right = (quality(page, letter) for letter in in_sight(page))
    act(page, "equal" if left == right else "left" if left > right else "right")


def by_key(page: Page, verdict: str) -> None:
    press(page, {"left": "ArrowLeft", "right": "ArrowRight", "equal": "="}[verdict])


def by_button(page: Page, verdict: str) -> None:
    page.locator(f'[data-verdict="{verdict}"]').click()


def by_letter(page: Page, verdict: str) -> None:
    left, right = in_sight(page)
    press(page, {"left": left, "right": right, "equal": "t"}[verdict].lower())


def judge_all(page: Page, *, act: Callable[[Page, str], None] = by_key) -> int:
    """Until nothing is asked any more; how many answers that took."""
    answers = 0
    while page.locator("[data-versus]").is_visible():
        most = left_at_most(page)
        judge(page, act=act)
        answers += 1
        if page.locator("[data-versus]").is_visible():
            assert left_at_most(page) < most
    return answers


@pytest.fixture
def versus_page(page_as, seed) -> Page:
    """A labeler who compares four completions, two at a time."""
    seed(texts=FOUR)
    page = page_as("labeler")
    start(page)
    choose_versus(page)
    return page


@pytest.mark.parametrize("act", [by_key, by_button, by_letter])
def test_a_whole_order_from_few_comparisons(versus_page, stored, act):
    assert len(in_sight(versus_page)) == 2
    assert left_at_most(versus_page) == 5
    assert judge_all(versus_page, act=act) <= 5
    letters = sorted("ABCD", key=lambda letter: -quality(versus_page, letter))
    assert order(versus_page) == [f"{rank} {letter}" for rank, letter in enumerate(letters, 1)]
    assert in_sight(versus_page) == list("ABCD")
    assert stored() == []
    versus_page.locator("[data-submit]").click()
    expect(versus_page.locator("[data-placed] > li")).to_have_count(0)
    assert stored() == [{letter: rank for rank, letter in enumerate(letters, 1)}]


def test_equal_ones_are_tied_and_the_next_task_is_asked_the_same_way(page_as, seed, stored):
    seed(texts=("quality 2", "quality 1", "quality 2"))
    page = page_as("labeler")
    start(page)
    choose_versus(page)
    judge_all(page)
    best = [letter for letter in "ABC" if quality(page, letter) == 2]
    press(page, "Enter")
    expect(page.locator("[data-versus]")).to_be_visible()
    assert stored() == [{letter: 1 if letter in best else 2 for letter in "ABC"}]
    assert len(in_sight(page)) == 2


def test_the_number_of_comparisons_and_the_order_are_right_for_every_size(page_as):
    page = page_as(None)
    page.goto("/sign-in")
    choose = random.Random(3)
    cases = [list(case) for case in itertools.permutations(range(4))]
    cases += [[choose.randrange(size + 2) for _ in range(size)] for size in range(2, 10)] * 2
    most = {2: 1, 3: 3, 4: 5, 5: 8, 6: 11, 7: 14, 8: 17, 9: 21}
    for qualities, (asked, first, ranks) in zip(
        cases, page.evaluate(RANK_BY_INSERTION, cases), strict=True
    ):
        assert asked <= first == most[len(qualities)]
        assert ranks == [sum(other > one for other in set(qualities)) + 1 for one in qualities]


RANK_BY_INSERTION = """async (cases) => {
  const { Insertion } = await import("/static/js/rank-insertion.js");
  const { RankingModel } = await import("/static/js/rank-model.js");
  return cases.map((qualities) => {
    const ids = qualities.map((_, place) => String(place));
    const model = new RankingModel(ids);
    const insertion = new Insertion(() => Math.random() < 0.5);
    let asked = 0;
    let first = 0;
    for (let two = insertion.ask(model); two; two = insertion.ask(model)) {
      first ||= two.atMost;
      asked += 1;
      const [left, right] = [qualities[two.left], qualities[two.right]];
      insertion.answer(model, left === right ? "equal" : left > right ? "left" : "right");
    }
    return [asked, first, ids.map((id) => model.get(id))];
  });
}"""


def test_the_one_to_place_stands_on_both_sides_equally_often(page_as):
    page = page_as(None)
    page.goto("/sign-in")
    sides = page.evaluate(
        """async () => {
          const { Versus } = await import("/static/js/rank-versus.js");
          const form = document.createElement("form");
          return Array.from({ length: 400 }, () => new Versus(form, null).insertion.chooseLeft());
        }"""
    )
    assert sum(sides) == 200
    assert 60 < sum(first != second for first, second in itertools.pairwise(sides)) < 399
    firsts = sides[::2]
    assert 60 < sum(firsts) < 140


def test_undo_goes_back_through_every_answer(versus_page):
    judge(versus_page, act=by_key)
    after_first = (in_sight(versus_page), left_at_most(versus_page), order(versus_page))
    judge(versus_page, act=by_key)  # finds the place of the third, or narrows it down
    judge(versus_page, act=by_key)
    press(versus_page, "u", "u")
    assert (in_sight(versus_page), left_at_most(versus_page), order(versus_page)) == after_first
    press(versus_page, "u")
    assert (left_at_most(versus_page), order(versus_page)) == (5, [])
    judge_all(versus_page)
    assert len(order(versus_page)) == 4


def test_the_placed_part_is_restored_in_the_middle(versus_page):
    while len(order(versus_page)) < 3:
        judge(versus_page, act=by_key)
    placed = order(versus_page)
    wait_saved(versus_page)
    versus_page.reload()
    assert order(versus_page) == placed
    assert "D" in in_sight(versus_page)
    assert left_at_most(versus_page) == 2


def test_other_ways_of_ranking_go_on_working_between_comparisons(versus_page):
    judge(versus_page, act=by_key)
    place_next = versus_page.get_by_role("button", name="Place C next")
    place_next.click()
    assert [chip[2] for chip in order(versus_page)][-1] == "C"
    assert "D" in in_sight(versus_page)
    assert left_at_most(versus_page) == 2
    judge_all(versus_page)
    assert len(order(versus_page)) == 4


def test_focus_and_words_follow_the_comparisons(versus_page):
    said = versus_page.locator("#rank-said")
    expect(said).to_contain_text("One against one.")
    press(versus_page, "ArrowDown")
    first, second = in_sight(versus_page)
    press(versus_page, "ArrowLeft")
    expect(said).to_contain_text(f"{first} is better than {second}.")
    expect(said).to_contain_text("At most 4 comparisons left.")
    newcomer = next(letter for letter in in_sight(versus_page) if letter not in (first, second))
    expect(card(versus_page, newcomer).locator("[data-text]")).to_be_focused()
    button = versus_page.locator('[data-verdict="equal"]')
    button.focus()
    press(versus_page, "Space")
    expect(button).to_be_focused()
    judge_all(versus_page)
    expect(versus_page.get_by_role("heading", name="Your ranking")).to_be_focused()
    expect(said).to_contain_text("press Enter to submit")


def test_a_key_held_down_answers_once(versus_page):
    for _ in range(4):
        versus_page.keyboard.down("ArrowLeft")
    versus_page.keyboard.up("ArrowLeft")
    assert len(order(versus_page)) == 2


def test_comparing_again_starts_from_nothing_and_can_be_undone(versus_page):
    judge_all(versus_page)
    placed = order(versus_page)
    versus_page.get_by_role("button", name="Compare again").click()
    assert order(versus_page) == []
    assert left_at_most(versus_page) == 5
    press(versus_page, "u")
    assert order(versus_page) == placed


def test_another_layout_shows_all_in_their_order_again(versus_page):
    judge(versus_page, act=by_key)
    judge(versus_page, act=by_key)
    versus_page.get_by_role("button", name="Two side by side").click()
    assert in_sight(versus_page) == list("ABCD")
    expect(versus_page.locator("[data-versus]")).to_be_hidden()
    press(versus_page, "ArrowDown", "ArrowDown")
    expect(card(versus_page, "B").locator("[data-text]")).to_be_focused()


def test_a_phone_stacks_the_two_and_keeps_the_answers_in_sight(page_as, seed):
    seed(tasks=1, texts=LONG)
    page = page_as("labeler", viewport=PHONE, has_touch=True, is_mobile=True)
    start(page)
    choose_versus(page)
    upper, lower = (card(page, letter).bounding_box() for letter in in_sight(page))
    assert upper["y"] + upper["height"] <= lower["y"]
    page.locator("[data-completions]").evaluate("list => list.scrollIntoView()")
    upper, lower = (card(page, letter).bounding_box() for letter in in_sight(page))
    bar = page.locator("[data-versus]").bounding_box()
    assert bar["y"] + bar["height"] <= PHONE["height"] + 1
    assert lower["y"] + lower["height"] <= bar["y"] + 1
    texts = page.locator("article:visible [data-text]")
    assert texts.evaluate_all("all => all.every((one) => one.scrollHeight > one.clientHeight)")
    page.locator("[data-full]:visible").first.tap()
    assert upper["height"] < card(page, in_sight(page)[0]).bounding_box()["height"]
    page.locator('[data-verdict="right"]').tap()
    assert len(order(page)) == 2
    assert page.locator("[data-completions]").evaluate(
        "list => list.getBoundingClientRect().top >= -1"
    )


@pytest.mark.parametrize(
    ("theme", "viewport"),
    [("light", {"width": 320, "height": 3000}), ("dark", {"width": 1280, "height": 860})],
)
def test_comparing_passes_the_accessibility_check(page_as, seed, axe, theme, viewport):
    seed(tasks=1, texts=FOUR)
    page = page_as("labeler", theme=theme, viewport=viewport)
    start(page)
    choose_versus(page)
    assert axe(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    judge_all(page)
    assert axe(page) == []
