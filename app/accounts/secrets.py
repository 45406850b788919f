"""Random secrets and what the database keeps of them."""

import hashlib
import secrets as random_source


def new_secret() -> str:
    """256 random bits in a form that fits a cookie, a header and an address."""
    return random_source.token_urlsafe(32)


def hash_secret(secret: str) -> str:
    """SHA-256 of a random secret, in hex.

    A plain hash is enough here: the secrets are 256 random bits, which nobody can try out.
    Passwords are another matter (see `app.accounts.passwords`).
    """
    return hashlib.sha256(secret.encode()).hexdigest()
