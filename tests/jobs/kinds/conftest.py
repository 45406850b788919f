from pathlib import Path

import pytest

from app.settings import Settings


@pytest.fixture(autouse=True)
def counting_kind() -> None:
    """These tests are about the kinds that ship, so the registry stays as it is."""


@pytest.fixture
def data(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")
