"""Slowing down those who try out passwords."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from app.errors import TooManyRequests

FORGET_SECONDS = 900.0
MOST_KEYS = 50_000


@dataclass(frozen=True, kw_only=True)
class ThrottleRule:
    """After `free_failures` each failure doubles the wait, from one second up to the longest."""

    free_failures: int
    longest_wait_seconds: float


ACCOUNT_RULE = ThrottleRule(free_failures=5, longest_wait_seconds=60.0)
"""Of one account from anywhere. A minute is the most, so that nobody can shut another person out
for long; it still leaves no more than 1,440 tries a day."""

ADDRESS_RULE = ThrottleRule(free_failures=20, longest_wait_seconds=300.0)
"""Of one network address for any account; people behind one proxy or office share it."""


class SignInThrottle:
    """Counts failures in this process; with P web processes the limits are P times as wide."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: dict[str, tuple[int, float]] = {}

    def check(self, email: str, address: str) -> None:
        """Raise TooManyRequests with `Retry-After` while this account or address must wait."""
        now = self._clock()
        with self._lock:
            wait_seconds = max(
                self._wait_until(key, rule) - now for key, rule in self._keys(email, address)
            )
        if wait_seconds > 0:
            seconds = int(wait_seconds) + 1
            raise TooManyRequests(
                f"Too many wrong passwords. Try again in {seconds} seconds.",
                headers={"Retry-After": str(seconds)},
            )

    def record_failure(self, email: str, address: str) -> None:
        """Count one wrong password."""
        now = self._clock()
        with self._lock:
            if len(self._failures) > MOST_KEYS:
                self._forget_old(now)
            for key, _rule in self._keys(email, address):
                count, last = self._failures.get(key, (0, now))
                fresh = now - last < FORGET_SECONDS
                self._failures[key] = (count + 1 if fresh else 1, now)

    def record_success(self, email: str) -> None:
        """Forget an account's failures; the address keeps its own."""
        with self._lock:
            self._failures.pop(f"account:{email}", None)

    def _keys(self, email: str, address: str) -> list[tuple[str, ThrottleRule]]:
        return [(f"account:{email}", ACCOUNT_RULE), (f"address:{address}", ADDRESS_RULE)]

    def _wait_until(self, key: str, rule: ThrottleRule) -> float:
        count, last = self._failures.get(key, (0, 0.0))
        excess = count - rule.free_failures
        if excess < 0:
            return 0.0
        return last + min(2.0 ** min(excess, 30), rule.longest_wait_seconds)

    def _forget_old(self, now: float) -> None:
        self._failures = {
            key: (count, last)
            for key, (count, last) in self._failures.items()
            if now - last < FORGET_SECONDS
        }
