"""A round whose completions are made step by step, as its job would make them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import select

from app.db import Database
from app.jobs.kind import Cancelled
from app.jobs.kinds.generation import KIND, GenerationConfig
from app.models import Completion, Job, ModelSource, Round, Task
from app.projects.rounds import create_round
from app.settings import Settings
from tests.projects.rounds_factory import make_model, make_project


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
