import pytest


@pytest.fixture(autouse=True)
def counting_kind() -> None:
    """These tests are about the kinds that ship, so the registry stays as it is."""
