from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.labeling.order import balanced_row, present


@pytest.mark.parametrize("count", range(2, 10))
def test_every_completion_stands_once_at_every_place(count):
    rows = [balanced_row(count, row) for row in range(count)]
    assert all(sorted(row) == list(range(count)) for row in rows)
    for place in range(count):
        assert len({row[place] for row in rows}) == count


@pytest.mark.parametrize("count", range(2, 10))
def test_every_completion_follows_every_other_equally_often(count):
    """Once in N rows where N is even, twice in 2N rows where it is odd (Williams 1949)."""
    rows = [balanced_row(count, row) for row in range(count if count % 2 == 0 else 2 * count)]
    follows = Counter(pair for row in rows for pair in pairwise(row))
    assert len(follows) == count * (count - 1)
    assert set(follows.values()) == {1 if count % 2 == 0 else 2}


@given(st.sets(st.text(min_size=1), min_size=2, max_size=9), st.integers(0, 30), st.randoms())
def test_the_order_depends_on_task_and_row_alone(ids, row, chance):
    shuffled = sorted(ids)
    chance.shuffle(shuffled)
    assert present("task", shuffled, row) == present("task", sorted(ids), row)
    assert set(present("task", shuffled, row)) == ids


def test_the_first_labelers_of_many_tasks_see_every_completion_first_equally_often():
    """With one labeler a task the balance is that of a fair draw: 1000 of 4, sd 14."""
    first = Counter(present(f"task{number}", list("abcd"), 0)[0] for number in range(1000))
    assert all(abs(count - 250) < 60 for count in first.values())
