"""What a child reports reaches the tables once, on both databases."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app.db import Database
from app.jobs import relay
from app.jobs.relay import Relay, read_tail
from app.jobs.service import lock_job
from app.models import Job, JobEvent, JobMetric

Start = Callable[..., str]


def line(event_type: str, **values: Any) -> str:
    return json.dumps({"at": 1_700_000_000.0, "type": event_type, **values}) + "\n"


def metrics(step: int, **values: float) -> str:
    return line("metrics", step=step, values=values, not_finite=[])


def carry(database: Database, run_dir: Path, job_id: str, reader: Relay | None = None) -> Job:
    reader = reader or Relay(run_dir)
    with database.write() as session:
        job = lock_job(session, job_id)
        while reader.carry(session, job):
            pass
        return job


def stored(database: Database, job_id: str) -> list[tuple[str, int, float]]:
    with database.read() as session:
        rows = select(JobMetric.name, JobMetric.step, JobMetric.value).where(
            JobMetric.job_id == job_id
        )
        return sorted(tuple(row) for row in session.execute(rows))


def test_a_half_written_line_waits_and_a_torn_one_is_passed_over(
    database: Database, start_counting: Start, tmp_path: Path
) -> None:
    job_id = start_counting(steps=3)
    events = tmp_path / "events.jsonl"
    whole = metrics(1, loss=0.5)
    half = metrics(2, loss=0.25)
    events.write_text(whole + half[:20])
    assert carry(database, tmp_path, job_id).events_offset == len(whole)
    assert stored(database, job_id) == [("loss", 1, 0.5)]
    events.write_text(whole + half[:20] + "\n" + half)
    carry(database, tmp_path, job_id)
    assert stored(database, job_id) == [("loss", 1, 0.5), ("loss", 2, 0.25)]


def test_a_repeated_step_gets_the_new_value_and_reading_again_adds_nothing(
    database: Database, start_counting: Start, tmp_path: Path
) -> None:
    job_id = start_counting(steps=3)
    events = tmp_path / "events.jsonl"
    samples = line("samples", step=1, rows=[{"completion": "a\x00b"}])
    events.write_text(metrics(1, loss=1.0) + metrics(1, loss=2.0) + samples)
    carry(database, tmp_path, job_id)
    carry(database, tmp_path, job_id)
    events.write_text(events.read_text() + metrics(1, loss=3.0))
    carry(database, tmp_path, job_id)
    assert stored(database, job_id) == [("loss", 1, 3.0)]
    with database.read() as session:
        query = select(JobEvent.payload).where(JobEvent.kind == "samples")
        payloads = session.scalars(query).all()
    assert payloads == [{"step": 1, "rows": [{"completion": "a\N{REPLACEMENT CHARACTER}b"}]}]


def test_nothing_is_stored_when_the_transaction_fails(
    database: Database, start_counting: Start, tmp_path: Path
) -> None:
    job_id = start_counting(steps=3)
    (tmp_path / "events.jsonl").write_text(metrics(1, loss=1.0))

    def carry_and_break() -> None:
        with database.write() as session:
            Relay(tmp_path).carry(session, lock_job(session, job_id))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        carry_and_break()
    assert stored(database, job_id) == []
    assert carry(database, tmp_path, job_id).events_offset > 0
    assert stored(database, job_id) == [("loss", 1, 1.0)]


def test_a_line_longer_than_one_read_is_read_whole(
    sqlite_database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay, "READ_BYTES", 64)
    with sqlite_database.write() as session:
        job = Job(kind="counting", config={})
        session.add(job)
    text = "x" * 1000
    many = "".join(metrics(step, loss=step) for step in range(1, 40))
    body = line("samples", step=1, rows=[{"completion": text}]) + many
    (tmp_path / "events.jsonl").write_text(body)
    carry(sqlite_database, tmp_path, job.id)
    assert len(stored(sqlite_database, job.id)) == 39
    with sqlite_database.read() as session:
        payload = session.scalars(select(JobEvent.payload)).one()
    assert payload["rows"][0]["completion"] == text


def test_the_time_left_is_told_where_the_run_does_not_say(
    database: Database, start_counting: Start, tmp_path: Path
) -> None:
    job_id = start_counting(steps=3)
    reader = Relay(tmp_path)
    events = tmp_path / "events.jsonl"
    # From 20% to 40% in 10 s: 60% are left, so 30 s.
    events.write_text(
        json.dumps(
            {"at": 100.0, "type": "progress", "fraction": 0.2, "stage": "a", "eta_seconds": None}
        )
        + "\n"
        + json.dumps(
            {"at": 110.0, "type": "progress", "fraction": 0.4, "stage": "b", "eta_seconds": None}
        )
        + "\n"
    )
    job = carry(database, tmp_path, job_id, reader)
    assert (job.progress, job.stage) == (0.4, "b")
    assert job.eta_seconds == pytest.approx(30.0)


def test_the_log_tail_is_whole_lines_with_progress_bars_at_their_last_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log.txt"
    log.write_bytes(b"first\n10%\r50%\r100%\r\nbad \xff byte\n")
    assert read_tail(log) == "first\n100%\nbad \N{REPLACEMENT CHARACTER} byte\n"
    monkeypatch.setattr(relay, "LOG_TAIL_BYTES", 10)
    log.write_text("a long line\nshort\n")
    assert read_tail(log) == "short\n"
