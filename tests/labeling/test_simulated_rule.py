import itertools
from random import Random

import pytest

from app.labeling.simulated_rule import (
    TARGET_WORDS,
    Taste,
    make_taste,
    measure_completion,
    rank_completions,
    utility,
)

GOOD = (
    "A leaf is green as it holds a dye that eats light. In the fall the tree takes it back, and "
    "the red below can be seen."
)
CUT = GOOD[:-10]
HEAVY = (
    "Chlorophyll concentration decreases substantially throughout autumn, consequently revealing "
    "underlying carotenoid pigmentation previously obscured."
)
LOOPING = " ".join(["The leaf is green and the leaf is green."] * 4)
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
    assert measures.plainness == 1.0  # 5 − 1 letter a word, cut to 1
    assert measure_completion("considerable magnitude").plainness == -1.0
    assert measure_completion("plain enough").plainness == pytest.approx(5 - 11 / 2)
    assert not measures.is_list
    assert measure_completion("été").letters == pytest.approx(1 / 3)
    assert measure_completion("- one\n- two").is_list
    assert measure_completion('He said "yes."').finished
    assert not measure_completion("and then the").finished


def test_the_utility_is_the_documented_sum() -> None:
    """12 of 24 words: fit ½; finished 0.3; words of 5 letters 0; variety 1 gives 0.5; letters 0.6.

    With words of 4 letters, 2.0 more.
    """
    words = [f"wor{chr(97 + n)}" for n in range(12)]
    text = " ".join(f"{word}s" for word in words) + "."
    assert utility(measure_completion(text)) == pytest.approx(0.5 + 0.3 + 0.5 + 0.6)
    shorter = " ".join(words) + "."
    assert utility(measure_completion(shorter)) == pytest.approx(0.5 + 0.3 + 0.5 + 0.6 + 2.0)


def test_a_finished_varied_text_of_the_right_length_beats_every_kind_of_flaw() -> None:
    for flawed in (CUT, HEAVY, LOOPING, RAMBLING, TERSE, "", "    ", "答え。" * 10):
        assert value(GOOD) > value(flawed)


def test_longer_wins_only_up_to_the_target() -> None:
    def text(words: int) -> str:
        return " ".join(f"wd{n}" for n in range(words)) + "."

    values = [value(text(n)) for n in (5, 12, TARGET_WORDS, 36, 48)]
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
