"""What a kind of job is: a frozen description with four functions around a run directory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from app.models import Job
from app.settings import Settings
from app.training.report import Cancelled, Report

__all__ = ["Cancelled", "JobKind", "Report", "accept_anything"]


def accept_anything(session: Session, project_id: str | None, config: Any) -> None:
    """The check of a kind that has nothing to look up."""


@dataclass(frozen=True, kw_only=True)
class JobKind:
    """One kind of job.

    Only `check`, `export_inputs`, `import_outputs` and `ended` see the database, each inside a
    short transaction that the caller commits. `run` sees a folder and nothing else: it runs in a
    child process that may be killed at any moment and started again on the same folder, so it goes
    on from its own checkpoint there. Heavy imports (torch) belong inside `run`.

    Attributes:
        name: stable identifier, as stored in `job.kind`.
        title: a few words for people.
        description: one sentence for people: what comes out.
        config_type: frozen dataclass whose fields carry `option(...)` metadata; the form, the REST
            schema and the docs come from it.
        check: `(session, project_id, config)`; raises an `AppError` where the job could not
            succeed (unknown model, empty snapshot), so that it is refused before it is queued.
        export_inputs: `(session, job, config, run_dir, settings)`; writes what `run` needs.
            Called once for each attempt, and again after a crash in the middle: it must give the
            same inputs for the same job.
        run: `(run_dir, config, report)`; raises `TrainingError` with one line for people, or
            `Cancelled` out of `report.check_cancelled()`.
        import_outputs: `(session, job, run_dir, settings)`; stores what `run` made and returns
            `job.outputs`. It must be idempotent: after a crash it is called again.
        imports_while_running: whether `import_outputs` may also be called while `run` is going on,
            each time the files in the run directory have changed.
        ended: `(session, job)`; called in the transaction in which the job became succeeded,
            failed or cancelled, for whatever waits on its end. Never called by a resume.
        metric_groups: charts that hold several series, as title to metric names; other series
            get a chart each.
    """

    name: str
    title: str
    description: str
    config_type: type[Any]
    export_inputs: Callable[[Session, Job, Any, Path, Settings], None]
    run: Callable[[Path, Any, Report], None]
    import_outputs: Callable[[Session, Job, Path, Settings], dict[str, Any]]
    check: Callable[[Session, str | None, Any], None] = accept_anything
    imports_while_running: bool = False
    ended: Callable[[Session, Job], None] | None = None
    metric_groups: Mapping[str, tuple[str, ...]] | None = None
