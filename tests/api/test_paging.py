from app.api.paging import page_of


def test_pages_follow_each_other_and_the_last_names_no_next() -> None:
    items = ["a", "b", "c", "d", "e"]
    seen, cursor = [], None
    for _ in range(3):
        page, cursor = page_of(items, str, 2, cursor)
        seen += page
    assert (seen, cursor) == (items, None)


def test_a_full_last_page_names_no_next() -> None:
    assert page_of(["a", "b"], str, 2, None) == (["a", "b"], None)


def test_a_cursor_that_names_nothing_gives_an_empty_page() -> None:
    assert page_of(["a"], str, 2, "z") == ([], None)
