import itertools
from random import Random

import pytest

from app.demo.rule import (
    TARGET_WORDS,
    Taste,
    make_taste,
    measure_completion,
    rank_completions,
    utility,
)

GOOD = (
    "Leaves hold a green pigment that catches sunlight. In autumn the tree takes it back, and the "
    "yellow and red that were hidden below it come to light for a while."
)
CUT = "Leaves hold a green pigment that catches sunlight. In autumn the tree takes it back, and the"
LOOPING = " ".join(["The leaves are green and the leaves are green."] * 4)
RAMBLING = GOOD + " " + " ".join(f"Also consider point number {n} with care." for n in range(20))
TERSE = "Chemistry."


def value(text: str) -> float:
    return utility(measure_completion(text))


def test_measures_are_what_they_say() -> None:
    """Words a b a b: bigrams ab, ba, ab, of which 2 of 3 differ; 4 letters, all ASCII."""
    measures = measure_completion(" a b a b. ")
    assert measures.words == 4
    assert measures.finished
    assert measures.variety == pytest.approx(2 / 3)
    assert measures.letters == 1.0
    assert not measures.is_list
    assert measure_completion("été").letters == pytest.approx(1 / 3)
    assert measure_completion("- one\n- two").is_list
    assert measure_completion('He said "yes."').finished
    assert not measure_completion("and then the").finished


def test_the_utility_is_the_documented_sum() -> None:
    """15 of 30 words: fit ½; finished 0.9; variety 1 gives 1.2; letters 0.6: 3.2 in all."""
    text = " ".join(f"w{chr(97 + n)}" for n in range(15)) + "."
    assert utility(measure_completion(text)) == pytest.approx(0.5 + 0.9 + 1.2 + 0.6)


def test_a_finished_varied_text_of_the_right_length_beats_every_kind_of_flaw() -> None:
    for flawed in (CUT, LOOPING, RAMBLING, TERSE, "", "    ", "答え。" * 10):
        assert value(GOOD) > value(flawed)


def test_longer_wins_only_up_to_the_target() -> None:
    def text(words: int) -> str:
        return " ".join(f"word{n}" for n in range(words)) + "."

    values = [value(text(n)) for n in (5, 15, TARGET_WORDS, 45, 60)]
    assert values[0] < values[1] < values[2] > values[3] > values[4]


def test_an_empty_completion_is_worst_of_all() -> None:
    worst = min(value(text) for text in (CUT, LOOPING, RAMBLING, TERSE, "答え。" * 10))
    assert value("") < worst


def test_ranks_are_dense_and_the_best_is_first() -> None:
    ranks = rank_completions("Why?", [TERSE, GOOD, LOOPING, CUT], labeler=1)
    assert ranks[1] == 1
    assert sorted(set(ranks)) == list(range(1, max(ranks) + 1))


def test_identical_texts_tie() -> None:
    ranks = rank_completions("Why?", [GOOD, TERSE, GOOD], labeler=2, seed=7)
    assert ranks[0] == ranks[2] == 1


def test_the_order_shown_does_not_matter() -> None:
    texts = [TERSE, GOOD, LOOPING, CUT]
    expected = dict(zip(texts, rank_completions("Why?", texts, labeler=3, seed=1), strict=True))
    for order in itertools.permutations(texts):
        ranks = rank_completions("Why?", order, labeler=3, seed=1)
        assert dict(zip(order, ranks, strict=True)) == expected


def test_labelers_differ_in_taste_and_the_same_one_never_changes() -> None:
    assert make_taste(1) == make_taste(1)
    assert make_taste(1) != make_taste(2) != make_taste(1, seed=5)
    likes, dislikes = Taste(likes_lists=1), Taste(likes_lists=-1)
    a_list = measure_completion("- wash the leaves.\n- dry them well.")
    assert utility(a_list, likes) > utility(a_list, dislikes)


def test_labelers_agree_mostly_but_not_always() -> None:
    """On texts of mixed quality two labelers give the same order to most pairs, not to all."""
    random = Random(3)
    words = GOOD.split()
    same = total = 0
    for number in range(60):
        texts = [
            " ".join(random.choices(words, k=random.randint(5, 50))) + random.choice([".", ""])
            for _ in range(4)
        ]
        one = rank_completions(f"Prompt {number}", texts, labeler=1)
        two = rank_completions(f"Prompt {number}", texts, labeler=2)
        for a, b in itertools.combinations(range(4), 2):
            same += (one[a] - one[b]) * (two[a] - two[b]) > 0
            total += 1
    assert 0.7 < same / total < 0.98
