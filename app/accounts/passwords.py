"""Passwords: argon2id, and a check that takes as long for an unknown person."""

from functools import lru_cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.errors import Invalid

SHORTEST_PASSWORD = 10
LONGEST_PASSWORD = 1_000


@lru_cache(maxsize=1)
def get_hasher() -> PasswordHasher:
    """argon2id with OWASP's first recommendation: 19 MiB, two passes, one lane."""
    return PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


@lru_cache(maxsize=1)
def get_decoy_hash() -> str:
    """A hash no password has, verified where there is no real one, so that the time is the same."""
    return get_hasher().hash("a decoy that no sign-in can match \x00")


def hash_password(password: str) -> str:
    """The argon2id hash of a password that `check_password_rules` took."""
    return get_hasher().hash(password)


def verify_password(password_hash: str | None, password: str) -> bool:
    """Whether the password is right; without a hash it takes as long and is wrong."""
    try:
        matches = get_hasher().verify(password_hash or get_decoy_hash(), password)
    except (VerificationError, InvalidHashError):
        return False
    return matches and password_hash is not None


def check_password_rules(password: str, *, email: str = "", field: str = "password") -> None:
    """Refuse passwords that are too short, too long or the address itself."""
    if len(password) < SHORTEST_PASSWORD:
        problem = f"Use at least {SHORTEST_PASSWORD} characters; a few random words are good."
    elif len(password) > LONGEST_PASSWORD:
        problem = f"Use at most {LONGEST_PASSWORD} characters."
    elif email and password.casefold() in (email, email.partition("@")[0]):
        problem = "Use something other than the e-mail address."
    elif len(set(password)) < 4:
        problem = "Use more than three different characters."
    else:
        return
    raise Invalid(problem, code="weak_password", fields={field: problem})
