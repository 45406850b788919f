"""What a person does and sees on the ranking page."""

import re

from playwright.sync_api import Locator, Page, expect

TEXTS = ("Plain **words**.", "```python\nprint('code')\n```", "$x^2$ and <b>tags</b>")
LONG = tuple(f"{word} " * 400 for word in ("alpha", "beta", "gamma"))
RICH = (
    "A long line of plain words that goes on. " * 60,
    "```python\ndef count(words):\n    return {word: words.count(word) for word in words}  # "
    + "x" * 200
    + "\n```",
    "| Method | Notes |\n|---|---|\n| Sort | " + "many words " * 30 + "|\n| Hash | few |",
    "$$x = \\frac{-b \\pm \\sqrt{b^2 - 4ac}}{2a}$$ and " + "averyveryverylongwordwithoutaspace" * 8,
    "هذا نص طويل باللغة العربية. " * 20,
    "משפט בעברית עם a few English words ועוד. " * 10,
)
CONVERSATION = [
    {"role": "user", "content": "Hello?"},
    {"role": "assistant", "content": "Hello. " * 200},
    {"role": "user", "content": "And now?"},
]


def start(page: Page) -> None:
    page.goto("/queue")
    page.get_by_role("button", name="Start ranking").click()
    page.wait_for_url(re.compile("/assignments/"))


def card(page: Page, letter: str) -> Locator:
    return page.locator(f'article[data-letter="{letter}"]')


def order(page: Page) -> list[str]:
    """The placed list, as "rank letter"."""
    return page.locator("[data-placed] > li").evaluate_all(
        """chips => chips.map((chip) => chip.querySelector("[data-chip-rank]").textContent
           + " " + chip.querySelector("[data-chip-letter]").textContent)"""
    )


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def wait_saved(page: Page) -> None:
    expect(page.locator("[data-status]")).to_have_text("Draft saved")
