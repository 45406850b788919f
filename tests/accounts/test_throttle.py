import pytest

from app.accounts.throttle import SignInThrottle
from app.errors import TooManyRequests


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def throttle(clock: Clock) -> SignInThrottle:
    return SignInThrottle(clock)


def wait_seconds(throttle: SignInThrottle, email: str, address: str) -> int:
    try:
        throttle.check(email, address)
    except TooManyRequests as error:
        return int(error.headers["Retry-After"])
    return 0


def test_five_mistakes_cost_a_second_and_each_more_doubles_it_to_a_minute(throttle, clock):
    waits = []
    for _ in range(14):
        throttle.record_failure("a@x", "1.1.1.1")
        waits.append(wait_seconds(throttle, "a@x", "9.9.9.9"))
    # int(wait) + 1: a whole second more than needed, never less.
    assert waits == [0, 0, 0, 0, 2, 3, 5, 9, 17, 33, 61, 61, 61, 61]


def test_waiting_opens_the_door_again(throttle, clock):
    for _ in range(5):
        throttle.record_failure("a@x", "1.1.1.1")
    assert wait_seconds(throttle, "a@x", "1.1.1.1")
    clock.now += 2
    assert wait_seconds(throttle, "a@x", "1.1.1.1") == 0


def test_one_address_that_tries_many_accounts_must_wait(throttle):
    for number in range(21):
        throttle.record_failure(f"a{number}@x", "1.1.1.1")
    assert wait_seconds(throttle, "fresh@x", "1.1.1.1")
    assert wait_seconds(throttle, "fresh@x", "2.2.2.2") == 0


def test_the_right_password_and_a_quiet_quarter_of_an_hour_forget_mistakes(throttle, clock):
    for _ in range(4):
        throttle.record_failure("a@x", "1.1.1.1")
    throttle.record_success("a@x")
    throttle.record_failure("a@x", "1.1.1.1")
    assert wait_seconds(throttle, "a@x", "9.9.9.9") == 0
    for _ in range(20):
        throttle.record_failure("b@x", "3.3.3.3")
    clock.now += 901
    throttle.record_failure("b@x", "3.3.3.3")
    assert wait_seconds(throttle, "b@x", "3.3.3.3") == 0
