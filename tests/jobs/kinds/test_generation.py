"""The generation job, run step by step against real servers on loopback."""

import json
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app.db import Database
from app.errors import AppError, Conflict, Invalid
from app.generation import asking
from app.generation.asking import COMPLETIONS_FILE, drop_torn_line, make_completions
from app.jobs.kind import Cancelled
from app.jobs.kinds import generation
from app.jobs.kinds.generation import KIND, GenerationConfig
from app.jobs.service import create_job, finish_job
from app.models import Completion, Job, JobState, ModelKind, ModelSource, Round, RoundState, Task
from app.projects.round_counts import round_counts
from app.projects.rounds import create_round, retry_round
from app.settings import Settings
from app.training.report import TrainingError
from tests.generation.servers import Behaviour, failing, ignores_n, obedient, reply, running
from tests.projects.rounds_factory import make_model, make_project, tasks_of


class Recorder:
    """A report that keeps what it was told, and can be asked to stop after some progress."""

    def __init__(self, cancel_after: int | None = None) -> None:
        self.stages: list[tuple[float, str, float | None]] = []
        self.lines: list[str] = []
        self.cancel_after = cancel_after

    def progress(self, fraction: float, stage: str, eta_seconds: float | None = None) -> None:
        self.stages.append((fraction, stage, eta_seconds))

    def metrics(self, step: int, values: Mapping[str, float]) -> None: ...

    def samples(self, step: int, rows: Sequence[Mapping[str, object]]) -> None: ...

    def log(self, message: str) -> None:
        self.lines.append(message)

    def check_cancelled(self) -> None:
        if self.cancel_after is not None and len(self.stages) >= self.cancel_after:
            raise Cancelled


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "SERVER_WAIT_SECONDS", 0.2)
    monkeypatch.setattr("app.generation.client.FIRST_BACKOFF_SECONDS", 0.01)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def start_round(
    database: Database, url: str, *, prompts: int = 3, second_url: str | None = None, **options: Any
) -> Round:
    """A round of a policy that an endpoint serves (and a second one, where given)."""
    with database.write() as session:
        make_model(session, "first", source=ModelSource.ENDPOINT, location=url, served_name="tiny")
        policies = ["first"]
        if second_url:
            make_model(session, "second", source=ModelSource.ENDPOINT, location=second_url)
            policies.append("second")
        project = make_project(session, prompts)
        return create_round(session, None, project, policies=policies, **options)


def export(database: Database, round_: Round, run_dir: Path, url: str = "http://unused") -> None:
    with database.write() as session:
        job = session.get_one(Job, session.get_one(Round, round_.id).job_id)
        settings = Settings(data_dir=run_dir.parent, inference_url=url)
        config = GenerationConfig(round_id=round_.id)
        KIND.export_inputs(session, job, config, run_dir, settings)


def take_in(database: Database, round_: Round, run_dir: Path) -> dict[str, Any]:
    with database.write() as session:
        job = session.get_one(Job, session.get_one(Round, round_.id).job_id)
        return KIND.import_outputs(session, job, run_dir, Settings(data_dir=run_dir.parent))


def texts(database: Database, round_: Round) -> list[tuple[str, int, str, str | None]]:
    with database.read() as session:
        rows = session.execute(
            select(Task.id, Completion.position, Completion.text, Completion.model_id)
            .join(Task, Task.id == Completion.task_id)
            .where(Task.round_id == round_.id)
            .order_by(Task.id, Completion.position)
        )
        return [tuple(row) for row in rows]


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


def test_a_key_is_taken_from_the_settings_and_not_from_the_folder(
    sqlite_database: Database, run_dir: Path
) -> None:
    with running(obedient) as server:
        round_ = start_round(sqlite_database, server.url, prompts=1)
        export(sqlite_database, round_, run_dir)
        make_completions(run_dir, Recorder(), {server.url: "secret-key"})
    assert server.headers[0]["authorization"] == "Bearer secret-key"
    assert not any("secret-key" in path.read_text() for path in run_dir.iterdir())


def test_the_end_of_a_failed_job_opens_the_round_and_leaves_the_rest_pending(
    sqlite_database: Database,
) -> None:
    round_ = start_round(sqlite_database, "http://127.0.0.1:9")
    with sqlite_database.write() as session:
        job = session.get_one(Job, round_.job_id)
        finish_job(session, job, JobState.FAILED, kind=KIND, reason="no server")
        assert session.get_one(Round, round_.id).state == RoundState.OPEN
        assert {task.state for task in tasks_of(session, round_.id)} == {"pending"}


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


def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b'{"a": 1}\n{"b"')
    drop_torn_line(path)
    assert path.read_bytes() == b'{"a": 1}\n'
