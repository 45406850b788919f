"""The generation job, run step by step against real servers on loopback."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from app.db import Database
from app.errors import AppError, Conflict, Invalid
from app.generation import asking
from app.generation.asking import COMPLETIONS_FILE, make_completions
from app.jobs.kinds import generation
from app.jobs.kinds.generation import KIND, GenerationConfig
from app.jobs.service import create_job, finish_job
from app.models import Job, JobState, ModelKind, Round, RoundState
from app.projects.rounds import create_round
from tests.generation.servers import Behaviour, obedient, reply, running
from tests.jobs.kinds.generating import Recorder, export, start_round, take_in, texts
from tests.projects.rounds_factory import make_model, make_project


def test_every_task_gets_its_completions_and_opens(database: Database, run_dir: Path) -> None:
    with running(obedient) as server:
        round_ = start_round(database, server.url, completions_per_prompt=3)
        export(database, round_, run_dir)
        report = Recorder()
        make_completions(run_dir, report, {})
        outputs = take_in(database, round_, run_dir)
    assert outputs["completions"] == 9
    assert outputs["tasks_open"] == 3
    assert outputs["run"]["made"] == 9
    assert {body["model"] for body in server.requests} == {"tiny"}
    stored = texts(database, round_)
    assert [row[1] for row in stored] == [0, 1, 2] * 3
    assert {row[2].split(" / ")[0] for row in stored} == {"Prompt 0", "Prompt 1", "Prompt 2"}
    with database.read() as session:
        assert session.get_one(Round, round_.id).state == RoundState.OPEN
    assert report.stages[-1][0] == 1.0
    assert any("3 of 9 completions" in stage for _, stage, _ in report.stages)


def test_two_policies_write_their_own_share_of_each_task(database: Database, run_dir: Path) -> None:
    def writes(letter: str) -> Behaviour:
        return lambda body, number: reply([letter] * body["n"])

    with running(writes("A")) as one, running(writes("B"), ["second"]) as two:
        round_ = start_round(
            database, one.url, second_url=two.url, prompts=2, completions_per_prompt=5
        )
        export(database, round_, run_dir)
        make_completions(run_dir, Recorder(), {})
        take_in(database, round_, run_dir)
    shares = [(position, text, model) for _, position, text, model in texts(database, round_)]
    a, b = "first", "second"
    assert shares == [(0, "A", a), (1, "B", b), (2, "A", a), (3, "B", b), (4, "A", a)] * 2


def test_registry_policies_are_asked_at_the_inference_process(
    sqlite_database: Database, run_dir: Path
) -> None:
    with sqlite_database.write() as session:
        make_model(session, "local")
        round_ = create_round(session, None, make_project(session), policies=["local"])
    export(sqlite_database, round_, run_dir, "http://127.0.0.1:8001/")
    inputs = json.loads((run_dir / asking.INPUTS_FILE).read_text())
    assert inputs["endpoints"] == {"local": {"base_url": "http://127.0.0.1:8001", "model": "local"}}


def test_several_prompts_are_in_flight_at_once(sqlite_database: Database, run_dir: Path) -> None:
    def slow(body: dict[str, Any], number: int) -> dict[str, Any]:
        time.sleep(0.1)
        return obedient(body, number)

    with running(slow) as server:
        round_ = start_round(sqlite_database, server.url, prompts=12, completions_per_prompt=2)
        export(sqlite_database, round_, run_dir)
        make_completions(run_dir, Recorder(), {})
    assert 3 <= server.most_at_once <= asking.IN_FLIGHT
    assert len(server.requests) == 12


def test_completions_appear_while_the_run_goes_on_and_are_never_stored_twice(
    database: Database, run_dir: Path
) -> None:
    go_on = threading.Event()

    def stalls(body: dict[str, Any], number: int) -> dict[str, Any]:
        if number > 2:
            assert go_on.wait(20)
        return obedient(body, number)

    with running(stalls) as server:
        round_ = start_round(database, server.url, prompts=4, completions_per_prompt=2)
        export(database, round_, run_dir)
        run = threading.Thread(target=make_completions, args=(run_dir, Recorder(), {}))
        run.start()
        path = run_dir / COMPLETIONS_FILE
        deadline = time.monotonic() + 20
        while not path.exists() or path.read_text().count("\n") < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        outputs = take_in(database, round_, run_dir)
        assert outputs["completions"] == 4
        assert outputs["tasks_open"] == 2, "complete tasks can be ranked already"
        with database.read() as session:
            assert session.get_one(Round, round_.id).state == RoundState.GENERATING
        assert take_in(database, round_, run_dir)["completions"] == 4
        go_on.set()
        run.join(20)
    assert take_in(database, round_, run_dir)["completions"] == 8
    first = texts(database, round_)
    with database.write() as session:
        session.get_one(Round, round_.id).completions_offset = 0
    assert take_in(database, round_, run_dir)["completions"] == 8, "even read from the start"
    assert texts(database, round_) == first


def test_a_long_file_is_taken_in_by_pieces_and_wholly_at_the_end(
    sqlite_database: Database, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "IMPORT_BYTES", 300)
    with running(obedient) as server:
        round_ = start_round(sqlite_database, server.url, prompts=5, completions_per_prompt=2)
        export(sqlite_database, round_, run_dir)
        make_completions(run_dir, Recorder(), {})
    finished = run_dir / asking.FINISHED_FILE
    finished.rename(run_dir / "not-finished-yet")
    first = take_in(sqlite_database, round_, run_dir)["completions"]
    assert 0 < first < 10, "one piece a transaction while the job runs"
    (run_dir / "not-finished-yet").rename(finished)
    assert take_in(sqlite_database, round_, run_dir)["completions"] == 10


def test_a_key_is_taken_from_the_settings_and_not_from_the_folder(
    sqlite_database: Database, run_dir: Path
) -> None:
    with running(obedient) as server:
        round_ = start_round(sqlite_database, server.url, prompts=1)
        export(sqlite_database, round_, run_dir)
        make_completions(run_dir, Recorder(), {server.url: "secret-key"})
    assert server.headers[0]["authorization"] == "Bearer secret-key"
    assert not any("secret-key" in path.read_text() for path in run_dir.iterdir())


def test_a_job_that_could_not_succeed_is_refused_before_it_is_queued(
    sqlite_database: Database,
) -> None:
    round_ = start_round(sqlite_database, "http://127.0.0.1:9")
    with sqlite_database.write() as session:
        config = {"round_id": round_.id}
        with pytest.raises(Conflict, match="already"):
            create_job(
                session, None, kind="generation", project_id=round_.project_id, config=config
            )
        with pytest.raises(Invalid) as refused:
            create_job(session, None, kind="generation", project_id=None, config=config)
        assert "round_id" in refused.value.fields
        finish_job(session, session.get_one(Job, round_.job_id), JobState.FAILED, kind=KIND)
        session.get_one(Round, round_.id).state = RoundState.CLOSED
        with pytest.raises(AppError, match="closed"):
            create_job(
                session, None, kind="generation", project_id=round_.project_id, config=config
            )
        session.get_one(Round, round_.id).state = RoundState.OPEN
        make_model(session, "judge", ModelKind.REWARD_MODEL)
        session.get_one(Round, round_.id).policies = ["judge"]
        with pytest.raises(Invalid, match="judge is a reward model"):
            generation.check(session, round_.project_id, GenerationConfig(round_id=round_.id))
