"""Identifiers sort by the time they were made, also within a millisecond."""

from app.models import new_id, new_ids


def test_ids_sort_in_the_order_they_were_made() -> None:
    made = [new_id() for _ in range(2000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert all(len(one) == 32 and int(one, 16) for one in made)


def test_a_list_of_ids_sorts_in_its_order_between_what_was_made_before_and_after() -> None:
    for _ in range(50):
        before, listed, after = new_id(), new_ids(20), new_id()
        made = [before, *listed, after]
        assert made == sorted(set(made))
        assert all(len(one) == 32 for one in made)
