from pathlib import Path

import pytest

from app.generation import asking
from app.settings import Settings


@pytest.fixture(autouse=True)
def counting_kind() -> None:
    """These tests are about the kinds that ship, so the registry stays as it is."""


@pytest.fixture
def data(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "SERVER_WAIT_SECONDS", 0.2)
    monkeypatch.setattr("app.generation.client.FIRST_BACKOFF_SECONDS", 0.01)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder
