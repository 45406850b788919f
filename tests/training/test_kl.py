import pytest

from app.training.kl import AdaptiveKLController, make_controller


def test_the_coefficient_moves_against_the_error():
    controller = AdaptiveKLController(0.1, target=6.0)
    controller.update(6.6)  # e = 0.1, gain 0.5: 5% up
    assert controller.kl_coef == pytest.approx(0.105)
    controller.update(6.0)
    assert controller.kl_coef == pytest.approx(0.105)
    controller.update(1000.0)  # the error is clipped at 1: half as much again
    assert controller.kl_coef == pytest.approx(0.105 * 1.5)
    controller.update(5.4)  # e = -0.1, gain 0.1: 1% down
    assert controller.kl_coef == pytest.approx(0.105 * 1.5 * 0.99)
    controller.update(0.0)  # the error is clipped at -0.2: 2% down
    assert controller.kl_coef == pytest.approx(0.105 * 1.5 * 0.99 * 0.98)


def test_without_a_target_the_coefficient_stays():
    controller = make_controller(0.3, None)
    controller.update(1000.0)
    assert controller.kl_coef == 0.3


def test_a_controller_goes_on_from_its_state():
    first = make_controller(0.1, 6.0)
    first.update(60.0)
    second = make_controller(0.1, 6.0)
    second.load_state_dict(first.state_dict())
    assert second.kl_coef == first.kl_coef


def test_a_target_of_zero_is_refused():
    with pytest.raises(ValueError, match="above 0"):
        AdaptiveKLController(0.1, target=0.0)
