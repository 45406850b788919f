"""The documentation is held by the code: kinds, fields, settings, commands, REST paths, links."""

import re
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from typer.main import get_command

from app.cli import cli
from app.jobs.kinds.registry import JOB_KINDS
from app.labeling import simulated_rule as rule
from app.settings import ROOT, Settings

DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), ROOT / "README.md", ROOT / "CHANGELOG.md"]


def read(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def job_field_row(field: Field[Any]) -> str:
    """The row of docs/job-kinds.md that says what the code says of this field."""
    metadata = field.metadata
    if field.default is MISSING:
        default = "required"
    else:
        default = "none" if field.default is None else f"`{field.default}`"
    low, high = metadata["minimum"], metadata["maximum"]
    span = ""
    if low is not None and high is not None:
        span = f"{low:g} to {high:g}"
    elif low is not None:
        span = f"at least {low:g}"
    if metadata["unit"]:
        span = f"{span} {metadata['unit']}".strip()
    return f"| `{field.name}` | {default} | {span} | {metadata['help']} |"


def setting_row(name: str) -> str:
    """The row of docs/operations.md that says what the code says of this setting."""
    field = Settings.model_fields[name]
    default = field.get_default(call_default_factory=True)
    shown = "" if default in (None, {}) else f"`{str(default).lower()}`"
    return f"| `PODIUM_{name.upper()}` | {shown} | {field.description} |"


@pytest.mark.parametrize("kind", JOB_KINDS, ids=lambda kind: kind.name)
def test_every_job_kind_has_a_section_with_every_field(kind: Any) -> None:
    page = read("job-kinds.md")
    heading = f"## `{kind.name}`"
    assert heading in page
    section = page.split(heading)[1].split("\n## ")[0]
    paragraph = section.strip().split("\n\n")[0]
    assert len(paragraph.split()) >= 30, f"the paragraph of {kind.name} says too little"
    expected = [job_field_row(field) for field in fields(kind.config_type)]
    rows = [line for line in section.splitlines() if re.match(r"\| `[a-z_]+` \|", line)]
    assert rows == expected


def test_every_setting_is_documented_as_it_is() -> None:
    page = read("operations.md")
    rows = [line for line in page.splitlines() if line.startswith("| `PODIUM_")]
    assert rows == [setting_row(name) for name in Settings.model_fields]


def test_every_command_is_documented() -> None:
    page = read("operations.md") + read("rest.md") + read("tour.md")
    root = get_command(cli)
    for name, command in root.commands.items():  # type: ignore[attr-defined]  # a click group
        names = [f"{name} {inner}" for inner in getattr(command, "commands", {})] or [name]
        for spelled in names:
            assert f"podium {spelled}" in page, f"`podium {spelled}` is nowhere in the docs"


def test_every_rest_path_is_documented_and_no_other(app: FastAPI) -> None:
    page = read("rest.md")
    shown = {
        (method, path.split("?")[0].rstrip("/"))
        for method, path in re.findall(r"`(GET|POST|PUT|PATCH|DELETE) (/api/v1[^`\s]*)`", page)
    }
    served = {
        (method.upper(), re.sub(r"\{[a-z]+_id\}", "{id}", path))
        for path, operations in app.openapi()["paths"].items()
        for method in operations
        if path.startswith("/api/v1")
    }
    assert shown == served


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """Pictures are checked with the pages that show them, once they were taken."""
    text = page.read_text("utf-8")
    for target in re.findall(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target) or target.startswith("#"):
            continue
        assert (page.parent / target.split("#")[0]).exists(), f"{page.name} links to {target}"


def test_every_decision_says_context_decision_and_consequences() -> None:
    decisions = sorted((DOCS / "decisions").glob("[0-9]*.md"))
    numbers = [int(page.name[:4]) for page in decisions]
    assert numbers == list(range(1, len(numbers) + 1))
    for page in decisions:
        text = page.read_text("utf-8")
        for part in ("**Context.**", "**Decision.**", "**Consequences.**"):
            assert part in text, f"{page.name} lacks {part}"
        assert f"({page.name})" in (DOCS / "decisions/README.md").read_text("utf-8")


def test_the_rule_of_simulated_labelers_is_documented_with_its_numbers() -> None:
    page = read("simulated-labelers.md")
    assert rule.RULE_NAME in page
    for name in (
        "TARGET_WORDS",
        "LENGTH_WEIGHT",
        "FINISHED_WEIGHT",
        "PLAIN_WEIGHT",
        "PLAIN_LETTERS",
        "VARIETY_WEIGHT",
        "LETTERS_WEIGHT",
        "LIST_WEIGHT",
        "NOISE",
        "TIE_MARGIN",
    ):
        assert f"| `{name}` | {getattr(rule, name)} |" in page
