"""Dockerfile and compose file, checked without an engine."""

import subprocess
import sys
from pathlib import Path

import yaml

from app.settings import ROOT, Settings

BIN = Path(sys.executable).parent


def test_dockerfile_is_clean() -> None:
    done = subprocess.run(
        [BIN / "hadolint", ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_compose_file_fits_its_schema() -> None:
    command = [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run(
        [*command, ROOT / "docker-compose.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_compose_sets_only_settings_there_are() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert set(services) == {"postgres", "migrate", "web", "worker", "inference", "vllm"}
    assert services["vllm"]["profiles"] == ["vllm"]
    known = {f"PODIUM_{name.upper()}" for name in Settings.model_fields}
    for name, service in services.items():
        given = {key for key in service.get("environment", {}) if key.startswith("PODIUM_")}
        assert given <= known, name


def test_web_image_has_no_torch() -> None:
    stages = (ROOT / "Dockerfile").read_text().split("\nFROM ")
    (web,) = [stage for stage in stages if stage.startswith("base AS web")]
    (worker,) = [stage for stage in stages if stage.startswith("base AS worker")]
    assert "torch" not in web
    assert "torch==" in worker
