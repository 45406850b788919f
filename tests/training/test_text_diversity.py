import pytest

from app.training.text_diversity import distinct_n, repetition


def test_distinct_n_counts_over_all_texts():
    # Words: a b a b / a c: 6, of them a, b, c. Pairs: ab ba ab / ac: 4, of them 3.
    assert distinct_n(["A b a b", "a, c!"], 1) == pytest.approx(3 / 6)
    assert distinct_n(["A b a b", "a, c!"], 2) == pytest.approx(3 / 4)
    assert distinct_n(["one", ""], 2) is None


def test_repetition_is_what_a_text_already_had():
    # a b c d a b c d: runs of four at 5 places, the last one repeats the first.
    assert repetition(["a b c d a b c d"]) == pytest.approx(1 / 5)
    assert repetition(["a b c d a b c d", "w x y z", "too short"]) == pytest.approx(1 / 10)
    assert repetition(["no no no no no no"]) == pytest.approx(2 / 3)
    assert repetition(["short"]) is None
