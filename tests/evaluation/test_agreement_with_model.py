"""The reward model beside the people who ranked the same pairs."""

import pytest

from app.evaluation.agreement_with_model import JudgedPair, compare_with_model


def pair(share: float, difference: float, prompt: int = 0) -> JudgedPair:
    return JudgedPair(prompt_id=str(prompt), share=share, reward_difference=difference)


def test_agreement_is_over_the_pairs_that_people_decided() -> None:
    found = compare_with_model(
        [
            pair(1.0, 0.3, 1),  # agreed
            pair(0.0, -2.0, 2),  # agreed
            pair(1.0, -0.1, 3),  # disagreed
            pair(0.0, 0.0, 4),  # equal rewards: half
            pair(0.5, 5.0, 5),  # a tie of people, left out
        ]
    )
    assert found.agreement.value == pytest.approx(2.5 / 4)
    assert (found.agreement.n, found.tied_by_people) == (4, 1)


def test_the_models_own_verdict_is_over_all_pairs() -> None:
    found = compare_with_model([pair(0.0, 1.0, 1), pair(0.5, 1.0, 2), pair(1.0, 0.0, 3)])
    assert found.model_win_rate.value == pytest.approx(2.5 / 3)
    assert found.model_win_rate.n == 3


def test_nothing_to_compare() -> None:
    found = compare_with_model([])
    assert (found.agreement.value, found.model_win_rate.value, found.tied_by_people) == (
        None,
        None,
        0,
    )


def test_a_model_that_always_agrees_is_still_not_certain() -> None:
    found = compare_with_model([pair(1.0, 1.0, number) for number in range(5)])
    assert found.agreement.value == 1.0
    assert found.agreement.low < 0.6
