"""Jobs of the shipped kinds, run in this process as a worker would run them."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Database
from app.jobs.schema import parse_config
from app.jobs.service import create_job
from app.labeling.rankings import store_ranking
from app.models import Completion, Job, Project, RankingSource, User
from app.projects.task_import import import_tasks
from app.settings import Settings
from tests.projects.rounds_factory import tasks_of


class Quiet:
    """A report that only counts."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def progress(self, fraction: float, stage: str, eta_seconds: float | None = None) -> None: ...

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self.steps.append(step)

    def samples(self, step: int, rows: Sequence[Mapping[str, object]]) -> None: ...

    def log(self, message: str) -> None: ...

    def check_cancelled(self) -> None: ...


def rank_imported(
    session: Session,
    project: Project,
    prompts: int,
    simulated: bool,
    labeler: User | str = "lee",
) -> None:
    """Tasks of three completions each, ranked best first by one labeler."""
    tasks = [
        {
            "prompt": f"Prompt {number}",
            "completions": [{"text": text} for text in ("good", "so so", "bad bad bad")],
        }
        for number in range(prompts)
    ]
    round_ = import_tasks(session, None, project, tasks).round
    for task in tasks_of(session, round_.id):
        completions = session.scalars(
            select(Completion).where(Completion.task_id == task.id).order_by(Completion.position)
        )
        store_ranking(
            session,
            task=task,
            labeler=labeler,
            ranks={completion.id: rank for rank, completion in enumerate(completions, start=1)},
            source=RankingSource.SIMULATED if simulated else RankingSource.IMPORT,
        )


def run_job(
    database: Database, data: Settings, kind: Any, project_id: str, config: dict[str, Any]
) -> tuple[dict[str, Any], Job]:
    """What a worker does with a job, in this process; import is called twice, as after a crash."""
    with database.write() as session:
        job = create_job(session, None, kind=kind.name, project_id=project_id, config=config)
    run_dir = data.runs_dir / job.id
    run_dir.mkdir(parents=True)
    for _ in range(2):
        with database.write() as session:
            job = session.get_one(Job, job.id)
            parsed = parse_config(kind.config_type, job.config)
            kind.export_inputs(session, job, parsed, run_dir, data)
    kind.run(run_dir, parse_config(kind.config_type, job.config), Quiet())
    for _ in range(2):
        with database.write() as session:
            outputs = kind.import_outputs(session, session.get_one(Job, job.id), run_dir, data)
    return outputs, job
