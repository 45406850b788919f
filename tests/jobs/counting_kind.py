"""A kind of job that counts: it takes no time to import and says everything a kind can say.

Each step is one entry of a checkpoint that is replaced whole, as real training does it. Every
child writes down its process id and whether an earlier child of the same run is still alive.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy.orm import Session

from app.errors import Invalid
from app.jobs.kind import JobKind, Report
from app.jobs.run_directory import write_json
from app.models import Job
from app.settings import Settings
from app.training.configs import option
from app.training.report import TrainingError


@dataclass(frozen=True, kw_only=True)
class CountingConfig:
    """Count to a number."""

    steps: int = option(..., "How far to count.", minimum=1, maximum=100_000)
    delay_seconds: float = option(
        0.02, "Pause before each step.", minimum=0, maximum=10, unit="seconds"
    )
    fail_at: int | None = option(None, "Step to fail at, the first time.", minimum=1)
    deaf: bool = option(False, "Never look whether the run was cancelled.")
    note: str | None = option(None, "Words to keep.", advanced=True)


def check(session: Session, project_id: str | None, config: CountingConfig) -> None:
    if config.steps == 13:
        raise Invalid("13 brings bad luck.", fields={"steps": "Any other number."})


def export_inputs(
    session: Session, job: Job, config: CountingConfig, run_dir: Path, settings: Settings
) -> None:
    exports = run_dir / "exports.txt"
    with exports.open("a") as file:
        file.write(f"{job.attempt}\n")


def run(run_dir: Path, config: CountingConfig, report: Report) -> None:
    note_child(run_dir)
    checkpoint = run_dir / "checkpoint.json"
    done: list[int] = json.loads(checkpoint.read_text()) if checkpoint.exists() else []
    report.log(f"goes on after step {len(done)}")
    for step in range(len(done) + 1, config.steps + 1):
        if not config.deaf:
            report.check_cancelled()
        time.sleep(config.delay_seconds)
        if step == config.fail_at and not (run_dir / "failed").exists():
            (run_dir / "failed").touch()
            raise TrainingError(f"Stumbled at step {step}.\nMore in the log.")
        report.metrics(step, {"count": step, "loss": 1.0 / step, "broken": float("nan")})
        if step % 10 == 0:
            report.samples(step, [{"prompt": "n?", "completion": f"{step}\x00", "reward": step}])
        report.progress(step / config.steps, f"Counted to {step}")
        done.append(step)
        write_json(checkpoint, done)


def note_child(run_dir: Path) -> None:
    children = run_dir / "children.json"
    earlier = json.loads(children.read_text()) if children.exists() else []
    alive = [child["pid"] for child in earlier if is_same_process(child)]
    me = psutil.Process()
    children.write_text(
        json.dumps([*earlier, {"pid": me.pid, "started": me.create_time(), "beside": alive}])
    )


def is_same_process(child: dict[str, Any]) -> bool:
    try:
        process = psutil.Process(child["pid"])
        return process.create_time() == child["started"] and (
            process.status() != psutil.STATUS_ZOMBIE
        )
    except psutil.NoSuchProcess:
        return False


def import_outputs(session: Session, job: Job, run_dir: Path, settings: Settings) -> dict[str, Any]:
    return {"counted": len(json.loads((run_dir / "checkpoint.json").read_text()))}


COUNTING = JobKind(
    name="counting",
    title="Counting",
    description="Counts to a number.",
    config_type=CountingConfig,
    check=check,
    export_inputs=export_inputs,
    run=run,
    import_outputs=import_outputs,
)

JOB_KINDS = [COUNTING]
