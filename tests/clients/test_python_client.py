"""The Python client drives a live Podium; the example of its README runs as it stands."""

import hashlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.accounts.tokens import create_token
from app.accounts.users import create_user
from app.db import Database
from app.jobs.service import finish_job, get_job
from app.models import JobState, Role
from app.registry.service import ensure_starters
from app.schema import upgrade
from app.settings import ROOT
from tests.evaluation.contests import make_judged
from tests.serving import ServedApp

sys.path.insert(0, str(ROOT / "clients/python"))

from podium_client import Job, Podium, PodiumError, Project, Snapshot, answers

LINE_SEPARATORS = "one\u2028two\x85three"


@dataclass(frozen=True)
class Live:
    """A served Podium and the client of its admin."""

    podium: Podium
    database: Database
    url: str
    token: str

    def new_project(self, name: str) -> Project:
        return self.podium.create_project(name)

    def with_pairs(self, name: str, rankings: int) -> tuple[Project, Snapshot]:
        project = self.new_project(name)
        report = self.podium.import_rankings(project["id"], ranking_rows(rankings))
        assert report["created"] == rankings
        return project, self.podium.create_snapshot(project["id"], "All")


def ranking_rows(count: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        yield {
            "prompt": f"Question {number} of {LINE_SEPARATORS}?",
            "completions": [{"text": f"{letter}{number} " * 20} for letter in "abc"],
            "ranks": [1, 2, 3],
            "labeler": "lena",
            "external_id": str(number),
        }


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("client")
    database = Database(f"sqlite:///{folder / 'podium.sqlite3'}")
    upgrade(database)
    with database.write() as session:
        ensure_starters(session)
        admin = create_user(session, email="ada@example.org", role=Role.ADMIN)
        token = create_token(session, admin, "client")
    served = ServedApp(database, folder, processes=1)
    url = f"http://127.0.0.1:{served.port}"
    try:
        with Podium(url, token) as podium:
            yield Live(podium, database, url, token)
    finally:
        served.stop()
        database.dispose()


def test_prompts_are_imported_from_texts_rows_and_files(live: Live, tmp_path: Path) -> None:
    project = live.new_project("Prompts")
    rows = ["Name a colour.", {"messages": [{"role": "user", "content": "Hi!"}]}, {"text": ""}]
    report = live.podium.add_prompts(project["id"], rows)
    assert (report["created"], report["rejected_total"]) == (2, 1)
    assert report["rejected"][0]["line"] == 3
    (tmp_path / "more.csv").write_text("text,topic\nWhy?,none\n")
    assert live.podium.add_prompts(project["id"], tmp_path / "more.csv")["created"] == 1


def test_lists_go_on_to_the_last_page(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"Page {number}" for number in range(3)]
    for name in names:
        live.new_project(name)
    pages = list(live.podium._pages("/projects", {"limit": 2}))
    assert [one["name"] for one in pages if one["name"] in names] == names
    assert {one["id"] for one in live.podium.projects()} == {one["id"] for one in pages}
    assert {"minilm-l6"} <= {model["id"] for model in live.podium.models(kind="encoder")}


def test_rankings_and_pairs_stream_with_every_character_intact(live: Live) -> None:
    project = live.new_project("Streams")
    live.podium.import_rankings(project["id"], ranking_rows(50), format="podium")
    rankings = list(live.podium.iter_rankings(project["id"]))
    assert len(rankings) == 50
    assert rankings[0]["prompt"] == f"Question 0 of {LINE_SEPARATORS}?"
    pairs = list(live.podium.iter_pairs(project["id"], "trl", labeler="lena"))
    assert len(pairs) == 150
    assert set(pairs[0]) == {"prompt", "chosen", "rejected"}
    assert list(live.podium.iter_pairs(project["id"], labeler="nobody")) == []


def test_a_round_is_started_and_its_tasks_ranked_and_skipped(live: Live) -> None:
    project = live.new_project("Loop")
    live.podium.add_prompts(project["id"], ["Name a colour."])
    started = live.podium.start_round(
        project["id"], ["smollm2-135m-instruct"], completions_per_prompt=2
    )
    assert live.podium.round(started["id"])["state"] == "generating"
    tasks = [
        {"prompt": f"Q{number}", "completions": [{"text": "Yes."}, {"text": "No."}]}
        for number in range(2)
    ]
    assert live.podium.add_tasks(project["id"], tasks)["counts"]["tasks"] == 2
    first = live.podium.lease(project["id"])
    assert first is not None
    ranking = live.podium.submit(first, [2, 1], comment="short", active_ms=1200)
    shown = [completion["id"] for completion in first["completions"]]
    assert ranking["ranks"] == {shown[0]: 2, shown[1]: 1}
    second = live.podium.lease(project["id"])
    assert second is not None
    assert second["task_id"] != first["task_id"]
    live.podium.skip(second, "both are the same")
    assert live.podium.lease(project["id"]) is None
    with pytest.raises(ValueError, match="zip"):
        live.podium.submit(first, [1])


def test_errors_carry_status_code_and_fields(live: Live) -> None:
    with pytest.raises(PodiumError) as unknown:
        list(live.podium.iter_pairs("nothing"))
    assert (unknown.value.status, unknown.value.code) == (404, "project_not_found")
    with pytest.raises(PodiumError) as invalid:
        live.podium.create_project("")
    assert (invalid.value.status, invalid.value.code) == (422, "invalid")
    assert set(invalid.value.fields) == {"name"}
    with Podium(live.url, "wrong") as stranger, pytest.raises(PodiumError) as refused:
        stranger.create_project("Mine")
    assert refused.value.code == "unauthenticated"
    with Podium("http://127.0.0.1:9", "any") as nowhere, pytest.raises(PodiumError) as away:
        next(nowhere.projects())
    assert (away.value.status, away.value.code) == (0, "unreachable")


def test_a_download_is_whole_and_is_what_was_frozen(live: Live, tmp_path: Path) -> None:
    project, snapshot = live.with_pairs("Frozen", 40)
    path = live.podium.download_snapshot(snapshot, tmp_path / "pairs.jsonl")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == snapshot["sha256"]
    assert path.read_bytes().count(b"\n") == snapshot["pairs"] == 120
    assert [one["id"] for one in live.podium.snapshots(project["id"])] == [snapshot["id"]]
    parquet = live.podium.download_snapshot(
        snapshot, tmp_path / "p", schema="trl", layout="parquet"
    )
    assert parquet.read_bytes()[:4] == b"PAR1"
    assert {one.name for one in tmp_path.iterdir()} == {"pairs.jsonl", "p"}


class BreakingOff(httpx.BaseTransport):
    """The real transport, whose answers break off after so many bytes."""

    def __init__(self, bytes_each: int) -> None:
        self.inner = httpx.HTTPTransport()
        self.bytes_each = bytes_each
        self.ranges: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self.inner.handle_request(request)
        self.ranges.append(request.headers.get("Range", ""))
        stream = self.some_of(answer)
        return httpx.Response(answer.status_code, headers=answer.headers, stream=stream)

    def some_of(self, answer: httpx.Response) -> httpx.SyncByteStream:
        most = self.bytes_each

        class Some(httpx.SyncByteStream):
            def __iter__(self) -> Iterator[bytes]:
                left = most
                for chunk in answer.iter_raw(1000):
                    yield chunk[:left]
                    left -= len(chunk[:left])
                    if not left:
                        raise httpx.ReadError("the line broke")

            def close(self) -> None:
                answer.close()

        return Some()


def test_a_download_that_breaks_off_goes_on_where_it_was(live: Live, tmp_path: Path) -> None:
    _, snapshot = live.with_pairs("Broken off", 40)
    whole = live.podium.download_snapshot(snapshot, tmp_path / "whole.jsonl").read_bytes()
    breaking = BreakingOff(len(whole) // 3)
    with Podium(live.url, live.token) as podium:
        headers = podium.http.headers
        podium.http = httpx.Client(
            transport=breaking, base_url=podium.http.base_url, headers=headers
        )
        with pytest.raises(PodiumError) as broken:
            podium.download_snapshot(snapshot, tmp_path / "parts.jsonl", attempts=2)
    assert broken.value.code == "unreachable"
    assert not (tmp_path / "parts.jsonl").exists()
    step = len(whole) // 3
    assert breaking.ranges == ["bytes=0-", f"bytes={step}-"]
    path = live.podium.download_snapshot(snapshot, tmp_path / "parts.jsonl")
    assert path.read_bytes() == whole


def test_a_file_that_is_there_already_is_not_fetched_twice(live: Live, tmp_path: Path) -> None:
    _, snapshot = live.with_pairs("Whole", 5)
    path = live.podium.download_snapshot(snapshot, tmp_path / "pairs.jsonl")
    whole = path.read_bytes()
    breaking = BreakingOff(len(whole))
    with Podium(live.url, live.token) as podium:
        headers = podium.http.headers
        podium.http = httpx.Client(
            transport=breaking, base_url=podium.http.base_url, headers=headers
        )
        again = podium.download_snapshot(snapshot, tmp_path / "again.jsonl")
    assert again.read_bytes() == whole
    assert breaking.ranges == ["bytes=0-", f"bytes={len(whole)}-"]


def test_bytes_that_are_not_those_frozen_are_refused(live: Live, tmp_path: Path) -> None:
    _, snapshot = live.with_pairs("Other bytes", 5)
    wrong: Snapshot = {**snapshot, "sha256": "0" * 64}
    with pytest.raises(PodiumError) as refused:
        live.podium.download_snapshot(wrong, tmp_path / "pairs.jsonl")
    assert refused.value.code == "wrong_sha256"
    assert list(tmp_path.iterdir()) == []


def test_a_job_is_waited_for_with_its_progress(live: Live) -> None:
    project, snapshot = live.with_pairs("Jobs", 10)
    config = {"backbone": "minilm-l6", "snapshot_id": snapshot["id"]}
    started = live.podium.start_job("reward_model", config, project["id"])
    assert started["state"] == "queued"

    def work() -> None:
        for progress in (0.5, 1.0):
            time.sleep(0.3)
            with live.database.write() as session:
                job = get_job(session, started["id"])
                job.state, job.progress = JobState.RUNNING, progress
        with live.database.write() as session:
            job = get_job(session, started["id"])
            outputs = {"model_id": "judge"}
            finish_job(session, job, JobState.SUCCEEDED, kind=None, outputs=outputs)

    worker = threading.Thread(target=work)
    worker.start()
    seen: list[Job] = []
    done = live.podium.wait_for_job(
        started["id"], seen.append, poll_seconds=0.05, timeout_seconds=30
    )
    worker.join()
    assert (done["state"], done["outputs"]) == ("succeeded", {"model_id": "judge"})
    shares = [job["progress"] for job in seen]
    assert shares == sorted(shares)
    assert 0.5 in shares


def test_a_job_that_does_not_succeed_says_why(live: Live) -> None:
    project, _ = live.with_pairs("No luck", 10)
    job = live.podium.start_job("reward_model", {"backbone": "minilm-l6"}, project["id"])
    with pytest.raises(PodiumError) as unfinished:
        live.podium.wait_for_job(job["id"], poll_seconds=0.01, timeout_seconds=0.05)
    assert unfinished.value.code == "job_unfinished"
    with live.database.write() as session:
        row = get_job(session, job["id"])
        finish_job(session, row, JobState.FAILED, kind=None, reason="no memory left")
    with pytest.raises(PodiumError, match="no memory left") as failed:
        live.podium.wait_for_job(job["id"], timeout_seconds=5)
    assert failed.value.code == "job_failed"


def test_a_model_that_cannot_answer_says_why(live: Live) -> None:
    with pytest.raises(PodiumError) as wrong:
        live.podium.score("smollm2-135m-instruct", "Name a colour.", ["Blue."])
    assert (wrong.value.status, wrong.value.code) == (422, "wrong_model_kind")
    with pytest.raises(PodiumError) as away:
        live.podium.generate("smollm2-135m-instruct", "Name a colour.", 2, max_new_tokens=4)
    assert away.value.status == 503


def test_the_example_of_the_readme_runs(live: Live, tmp_path: Path) -> None:
    readme = (ROOT / "clients/python/README.md").read_text("utf-8")
    example = re.findall(r"^```python\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)[0]
    done = subprocess.run(
        [sys.executable, "-c", example],
        cwd=tmp_path,
        env={
            **os.environ,
            "PODIUM_URL": live.url,
            "PODIUM_TOKEN": live.token,
            "PYTHONPATH": str(ROOT / "clients/python"),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "2 prompts",
        *done.stdout.splitlines()[1:4],
        "pairs.jsonl holds 3 pairs",
        "queued",
        "422 wrong_model_kind {}",
    ]
    assert (tmp_path / "pairs.jsonl").read_text().count("\n") == 3


def test_people_are_asked_and_their_verdict_decides(live: Live, tmp_path: Path) -> None:
    podium = live.podium
    judged = make_judged(live.database, tmp_path, labelers=("lou",), others=["older"])
    project_id, job_id = judged.contest.project_id, judged.contest.job_id
    found = podium.evaluation(judged.round_id)
    assert (found["candidate"], found["win_rate"]["n"], found["through"]) == ("new", 6, True)
    other = podium.evaluation(judged.round_id, candidate="older", baseline="new")
    assert (other["candidate"], other["baseline"]) == ("older", "new")
    assert podium.evaluation(judged.round_id, baseline="older")["candidate"] == "new"

    with pytest.raises(PodiumError) as refused:
        podium.ask_people(job_id)
    assert refused.value.code == "already_compared"
    again = podium.ask_people(job_id, prompts=2, labelers_per_task=2, again=True)
    assert again["counts"]["rankings_wanted"] == 4
    with pytest.raises(PodiumError) as making:
        podium.ask_reward_model(again["id"])
    assert making.value.code == "round_generating"
    assert podium.close_round(judged.round_id)["state"] == "closed"

    promoted = podium.promote(project_id, "new", judged.round_id, note="Reads better.")
    assert promoted["evidence"]["rankings"] == 6
    podium.promote(project_id, "old")
    history = [(one["model_id"], one["note"]) for one in podium.promotions(project_id)]
    assert history == [("old", ""), ("new", "Reads better.")]
    assert live.podium.start_round(project_id)["job_id"] is not None


@pytest.mark.parametrize(
    ("answer", "schema"),
    [
        (answers.Assignment, "AssignmentOut"),
        (answers.Evaluation, "EvaluationOut"),
        (answers.Job, "JobOut"),
        (answers.Project, "ProjectOut"),
        (answers.Promotion, "PromotionOut"),
        (answers.Ranking, "RankingOut"),
        (answers.Rate, "RateOut"),
        (answers.Rate, "AlwaysValidOut"),
        (answers.Round, "RoundOut"),
        (answers.Snapshot, "SnapshotOut"),
    ],
)
def test_every_typed_field_is_one_that_rest_gives(app: FastAPI, answer: Any, schema: str) -> None:
    given = app.openapi()["components"]["schemas"][schema]["properties"]
    assert set(answer.__annotations__) <= set(given)


def test_the_client_fits_on_a_few_screens_and_needs_httpx_alone() -> None:
    files = sorted((ROOT / "clients/python/podium_client").glob("*.py"))
    assert [file.stem for file in files] == ["__init__", "answers", "client", "connection"]
    for file in files:
        text = file.read_text("utf-8")
        assert text.count("\n") < 300
        imported = {
            line.split()[1].partition(".")[0]
            for line in text.splitlines()
            if line.startswith(("import ", "from "))
        }
        assert imported - sys.stdlib_module_names <= {"httpx", "podium_client"}
