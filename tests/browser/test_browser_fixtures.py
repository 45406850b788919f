def test_the_accessibility_check_finds_what_is_wrong(page_as, axe):
    page = page_as(None)
    page.goto("/sign-in")
    page.evaluate("document.querySelector('html').removeAttribute('lang')")
    assert any(found.startswith("html-has-lang") for found in axe(page))
