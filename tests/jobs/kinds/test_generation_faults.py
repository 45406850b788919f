"""Servers that answer in part or not at all, and runs that were killed."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.db import Database
from app.generation import asking
from app.generation.asking import COMPLETIONS_FILE, drop_torn_line, make_completions
from app.jobs.kind import Cancelled
from app.jobs.kinds.generation import KIND
from app.jobs.service import finish_job
from app.models import Job, JobState, ModelSource, Round, RoundState
from app.projects.round_counts import round_counts
from app.projects.rounds import retry_round
from app.training.report import TrainingError
from tests.generation.servers import failing, ignores_n, obedient, reply, running
from tests.jobs.kinds.generating import Recorder, export, start_round, take_in, texts
from tests.projects.rounds_factory import make_model, tasks_of


def test_half_a_task_is_not_stored_twice(sqlite_database: Database, run_dir: Path) -> None:
    with running(obedient) as gone:
        pass
    with running(obedient) as server:
        round_ = start_round(
            sqlite_database, server.url, second_url=gone.url, completions_per_prompt=4
        )
        export(sqlite_database, round_, run_dir)
        make_completions(run_dir, Recorder(), {})
    (run_dir / asking.FINISHED_FILE).unlink()
    assert take_in(sqlite_database, round_, run_dir)["completions"] == 6
    with sqlite_database.write() as session:
        session.get_one(Round, round_.id).completions_offset = 0
    assert take_in(sqlite_database, round_, run_dir)["completions"] == 6


def test_a_killed_run_goes_on_with_what_is_missing(
    sqlite_database: Database, run_dir: Path
) -> None:
    with running(obedient) as server:
        round_ = start_round(sqlite_database, server.url, prompts=6, completions_per_prompt=2)
        export(sqlite_database, round_, run_dir)
        with pytest.raises(Cancelled):
            make_completions(run_dir, Recorder(cancel_after=3), {})
        path = run_dir / COMPLETIONS_FILE
        made = path.read_text().count("\n")
        assert 0 < made < 6
        with path.open("a") as file:
            file.write('{"task_id": "torn')
        server.requests.clear()
        report = Recorder()
        make_completions(run_dir, report, {})
        assert len(server.requests) == 6 - made
        assert take_in(sqlite_database, round_, run_dir)["completions"] == 12
    assert report.stages[-2][1].startswith("12 of 12")


def test_what_cannot_be_had_is_reported_on_the_task_and_the_rest_is_kept(
    database: Database, run_dir: Path
) -> None:
    def partial(body: dict[str, Any], number: int) -> Any:
        prompt = body["messages"][-1]["content"]
        if prompt == "Prompt 0":
            return failing(500)(body, number)
        if prompt == "Prompt 1":
            return reply(["the same", "two"]) if body["n"] == 3 else failing(400)(body, number)
        return obedient(body, number)

    with running(partial) as server:
        round_ = start_round(database, server.url, completions_per_prompt=3)
        export(database, round_, run_dir)
        make_completions(run_dir, Recorder(), {})
        outputs = take_in(database, round_, run_dir)
    assert outputs["completions"] == 5
    assert outputs["problems"] == 2
    with database.read() as session:
        none, two, full = tasks_of(session, round_.id)
        assert (none.state, two.state, full.state) == ("short", "open", "open")
        assert none.problem == ("first: 0 of 3 completions: the server answered 500: out of memory")
        assert two.problem == "first: 2 of 3 completions: the server answered 400: out of memory"
        assert full.problem is None
        counts = round_counts(session, round_.id)
        assert counts.problems_total == 2
        assert session.get_one(Round, round_.id).state == RoundState.OPEN


def test_a_retry_makes_only_what_is_missing_with_other_seeds(
    database: Database, run_dir: Path, tmp_path: Path
) -> None:
    def deterministic(body: dict[str, Any], number: int) -> Any:
        return ignores_n(body, number) if number == 1 else failing(400)(body, number)

    with running(deterministic) as server:
        round_ = start_round(database, server.url, prompts=1, completions_per_prompt=3)
        export(database, round_, run_dir)
        make_completions(run_dir, Recorder(), {})
        take_in(database, round_, run_dir)
    again = tmp_path / "again"
    again.mkdir()
    with running(ignores_n) as server, database.write() as session:
        model = make_model(session, "moved", source=ModelSource.ENDPOINT, location=server.url)
        stored = session.get_one(Round, round_.id)
        first_job = session.get_one(Job, stored.job_id)
        finish_job(session, first_job, JobState.SUCCEEDED, kind=KIND)
        stored.policies = [model.id]
        retry_round(session, None, stored)
    with running(ignores_n, ["moved"]) as server:
        with database.write() as session:
            session.get_one(type(model), "moved").location = server.url
        export(database, round_, again)
        make_completions(again, Recorder(), {})
        assert take_in(database, round_, again)["completions"] == 3
        assert len(server.requests) == 2
    stored_texts = [row[2] for row in texts(database, round_)]
    assert len(set(stored_texts)) == 3, "a server that honours seeds gives nothing twice"


def test_no_server_at_all_fails_the_run_with_the_way_out(
    sqlite_database: Database, run_dir: Path
) -> None:
    with running(obedient) as server:
        pass
    round_ = start_round(sqlite_database, server.url)
    export(sqlite_database, round_, run_dir)
    with pytest.raises(TrainingError, match=r"No inference server answers at .*podium inference"):
        make_completions(run_dir, Recorder(), {})


def test_one_server_away_leaves_the_other_policys_completions(
    sqlite_database: Database, run_dir: Path
) -> None:
    with running(obedient) as gone:
        pass
    with running(obedient) as server:
        round_ = start_round(
            sqlite_database, server.url, second_url=gone.url, completions_per_prompt=4
        )
        export(sqlite_database, round_, run_dir)
        make_completions(run_dir, Recorder(), {})
        outputs = take_in(sqlite_database, round_, run_dir)
    assert (outputs["completions"], outputs["tasks_open"]) == (6, 3)
    with sqlite_database.read() as session:
        problems = {task.problem for task in tasks_of(session, round_.id)}
    assert problems == {f"second: no server answers at {gone.url}"}


def test_a_server_that_goes_away_stops_the_run_and_what_was_made_is_kept(
    sqlite_database: Database, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "UNREACHABLE_IN_A_ROW", 3)
    with running(obedient) as server:
        round_ = start_round(sqlite_database, server.url, prompts=2, completions_per_prompt=2)
        export(sqlite_database, round_, run_dir)
        make_completions(run_dir, Recorder(), {})
    items = (run_dir / asking.ITEMS_FILE).read_text().splitlines()
    more = [json.dumps(json.loads(items[0]) | {"task_id": f"other{n}"}) for n in range(5)]
    (run_dir / asking.ITEMS_FILE).write_text("\n".join(items + more) + "\n")
    monkeypatch.setattr(asking, "wait_for_servers", lambda endpoints, report: {})
    with pytest.raises(TrainingError, match="resume this job"):
        make_completions(run_dir, Recorder(), {})
    assert take_in(sqlite_database, round_, run_dir)["completions"] == 4


def test_the_end_of_a_failed_job_opens_the_round_and_leaves_the_rest_pending(
    sqlite_database: Database,
) -> None:
    round_ = start_round(sqlite_database, "http://127.0.0.1:9")
    with sqlite_database.write() as session:
        job = session.get_one(Job, round_.job_id)
        finish_job(session, job, JobState.FAILED, kind=KIND, reason="no server")
        assert session.get_one(Round, round_.id).state == RoundState.OPEN
        assert {task.state for task in tasks_of(session, round_.id)} == {"pending"}


def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b'{"a": 1}\n{"b"')
    drop_torn_line(path)
    assert path.read_bytes() == b'{"a": 1}\n'
