"""Files brought in from the browser: looked at, read in another way, imported."""

import json
import re
import threading
from pathlib import Path

import pytest
from playwright.sync_api import expect

from app.models import Project
from app.preferences.filters import PairFilters
from app.preferences.queries import iter_pairs
from app.projects import import_runs
from app.projects.prompts import count_prompts
from tests.conftest import SHARED

PROMPTS = SHARED / "data" / "prompts"
OASST = SHARED / "data" / "oasst_rankings.jsonl"


@pytest.fixture
def project_id(live_server):
    with live_server.database.write() as session:
        project = Project(name="Answers")
        session.add(project)
        session.flush()
        return project.id


def stored(live_server, project_id: str) -> int:
    with live_server.database.read() as session:
        return count_prompts(session, project_id)


def numbers(page) -> list[int]:
    texts = page.locator(".report-counts dd").all_inner_texts()
    return [int(text.replace(",", "")) for text in texts]


@pytest.mark.skipif(not PROMPTS.exists(), reason=f"{PROMPTS} is not on this machine")
@pytest.mark.parametrize(
    ("name", "count", "column", "reading"),
    [
        ("self_instruct_seed_tasks", 175, "instruction", "instruction + input"),
        ("user_oriented_instructions", 252, "instruction", "instruction + input"),
        ("vicuna_bench", 80, "turns", "first of the turns"),
    ],
)
def test_prompts_of_three_schemas_are_looked_at_and_imported(
    page_as, live_server, project_id, axe, name, count, column, reading
):
    page = page_as("admin")
    page.goto(f"/projects/{project_id}/prompts/add")
    page.get_by_label("JSONL, JSON, CSV, Parquet or plain text").set_input_files(
        PROMPTS / f"{name}.jsonl"
    )
    page.get_by_role("button", name="Preview the file").click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(column)
    expect(page.get_by_label("Read as").locator("option:checked")).to_have_text(reading)
    expect(page.locator(".preview-counts")).to_contain_text(f"{min(count, 100)} new prompts")
    assert axe(page) == []
    assert stored(live_server, project_id) == 0
    page.get_by_role("button", name="Import").first.click()
    expect(page.get_by_role("heading", name="Imported")).to_be_visible()
    assert numbers(page) == [count, 0, 0]
    page.get_by_role("link", name="See all prompts").click()
    expect(page.get_by_role("heading", name=f"{count} prompts")).to_be_visible()


def test_another_column_changes_the_preview_at_once(page_as, live_server, project_id, tmp_path):
    path = tmp_path / "fragen.csv"
    path.write_text("frage,art\nWarum?,kurz\n", encoding="utf-8")
    page = page_as("admin")
    page.goto(f"/projects/{project_id}/prompts/add")
    page.get_by_label("JSONL, JSON, CSV, Parquet or plain text").set_input_files(path)
    page.get_by_role("button", name="Preview the file").click()
    expect(page.locator("#preview-result")).to_contain_text("Choose the one")
    page.get_by_label("Prompt", exact=True).select_option("frage")
    expect(page.locator(".shown-prompt")).to_contain_text("Warum?")
    page.get_by_label("Tags").select_option("art")
    expect(page.locator(".shown-prompt .badge")).to_have_text("kurz")
    assert stored(live_server, project_id) == 0
    page.get_by_role("button", name="Import").first.click()
    expect(page.get_by_role("heading", name="Imported")).to_be_visible()
    assert numbers(page) == [1, 0, 0]
    page.goto(f"/projects/{project_id}/prompts?tag=kurz")
    expect(page.locator(".prompt-item")).to_have_count(1)


@pytest.mark.skipif(not OASST.exists(), reason=f"{OASST} is not on this machine")
def test_open_assistant_trees_are_read_with_rank_0_as_best(page_as, live_server, project_id, axe):
    page = page_as("admin")
    page.goto(f"/projects/{project_id}/rankings/import")
    page.get_by_label("JSONL, JSON, CSV or Parquet").set_input_files(OASST)
    page.get_by_role("button", name="Preview").click()
    expect(page.locator(".preview-direction")).to_contain_text("Rank 0 is best")
    first = json.loads(OASST.read_text(encoding="utf-8").splitlines()[0])
    best = next(one["text"] for one in first["completions"] if one["rank"] == 0)
    places = page.locator(".shown-ranking").first.locator(".shown-rank")
    expect(places.first).to_contain_text(best[:40])
    assert axe(page) == []
    page.get_by_role("button", name="Import").first.click()
    expect(page.get_by_role("heading", name="Imported")).to_be_visible()
    assert numbers(page) == [212, 0, 0]
    with live_server.database.read() as session:
        assert sum(1 for _ in iter_pairs(session, project_id, PairFilters())) == 754
    page.get_by_role("link", name="See the pairs").click()
    page.wait_for_url("**/pairs")


def test_wrong_format_is_seen_in_the_preview(page_as, project_id, tmp_path):
    path = tmp_path / "mine.jsonl"
    row = {"prompt": "Why?", "chosen": "Because.", "rejected": "No."}
    path.write_text(json.dumps(row))
    page = page_as("admin")
    page.goto(f"/projects/{project_id}/rankings/import")
    page.get_by_label("JSONL, JSON, CSV or Parquet").set_input_files(path)
    page.get_by_role("button", name="Preview").click()
    expect(page.locator(".shown-rank")).to_have_count(2)
    page.get_by_label("Read as").select_option("podium")
    expect(page.locator("#preview-result")).to_contain_text("None of the first rows")
    page.get_by_label("Read as").select_option("")
    expect(page.locator(".shown-rank")).to_have_count(2)


def reload_until(page, wanted):
    """What a person without JavaScript does, for at most half a minute."""
    for _ in range(60):
        if wanted.is_visible():
            return
        page.wait_for_timeout(500)
        page.goto(page.url)


@pytest.mark.parametrize("script", [True, False], ids=["with JavaScript", "without JavaScript"])
def test_import_in_hand_shows_how_far_it_is_and_stops_when_asked(
    page_as, live_server, project_id, tmp_path, monkeypatch, script
):
    """The importer is held after each batch until it is let go on."""
    go_on = threading.Semaphore(0)
    after_batch = import_runs._Run.after_batch

    def hold(run, report):
        after_batch(run, report)
        run.write(import_runs.ImportState.RUNNING)
        assert go_on.acquire(timeout=60)

    monkeypatch.setattr(import_runs._Run, "after_batch", hold)
    path = Path(tmp_path / "many.txt")
    path.write_text("".join(f"prompt {n}\n" for n in range(20_000)))
    page = page_as("admin", java_script_enabled=script)
    page.goto(f"/projects/{project_id}/prompts/add")
    page.get_by_label("JSONL, JSON, CSV, Parquet or plain text").set_input_files(path)
    page.get_by_role("button", name="Preview the file").click()
    page.get_by_role("button", name="Import").first.click()
    expect(page.get_by_role("heading", name="Importing")).to_be_visible()
    expect(page.locator(".progress-words")).to_contain_text("1,000 rows read")
    go_on.release()
    if not script:
        reload_until(page, page.locator(".progress-words", has_text="2,000 rows read"))
    expect(page.locator(".progress-words")).to_contain_text("2,000 rows read")
    page.get_by_role("button", name="Cancel").click()
    go_on.release()
    if not script:
        reload_until(page, page.get_by_role("heading", name="Cancelled"))
    expect(page.get_by_role("heading", name="Cancelled")).to_be_visible()
    assert page.locator("#import").get_attribute("hx-get") is None, "it asks no more"
    assert stored(live_server, project_id) == 3000
    go_on.release(100)
    page.get_by_role("button", name="Go on").click()
    if not script:
        reload_until(page, page.get_by_role("heading", name="Imported"))
    expect(page.get_by_role("heading", name="Imported")).to_be_visible(timeout=20_000)
    assert numbers(page) == [17_000, 3000, 0]
    expect(page.locator("#import")).to_contain_text(re.compile("counts as duplicate"))
    assert stored(live_server, project_id) == 20_000
