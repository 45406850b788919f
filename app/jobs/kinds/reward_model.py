"""The reward-model job: trains a reward model on a snapshot's ranked completions."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import bindparam, update
from sqlalchemy.orm import Session

from app.errors import Invalid
from app.inference.catalogue import ModelFiles
from app.jobs.kind import JobKind, Report
from app.jobs.kinds.ranked_inputs import (
    check_rankings,
    read_tasks,
    settle_snapshot,
    write_tasks,
    write_unranked_tasks,
)
from app.jobs.run_directory import write_json
from app.models import Job, ModelKind, Project, Snapshot, Task
from app.registry.adoption import MODEL_DIR, adopt_model, note_weights, noted_weights
from app.registry.lineage import learned_from_simulated
from app.registry.service import (
    find_folder,
    get_model,
    model_files,
    record_weights,
    require_model,
    resolve_files,
    slugify,
)
from app.settings import Settings
from app.training.configs import RewardModelConfig

INPUTS_FILE = "inputs.json"
UNRANKED_FILE = "unranked_tasks.jsonl"
"""Of an ensemble: the tasks of the project, for it to say where it is unsure."""
RESULT_FILE = "result.json"
HELD_OUT_FILE = "held_out_prompts.json"
"""In the model's folder: ids of the prompts that it was not trained on."""
BACKBONES = (ModelKind.ENCODER, ModelKind.POLICY, ModelKind.REWARD_MODEL)


def check(session: Session, project_id: str | None, config: RewardModelConfig) -> None:
    """Refuse an unknown backbone, a foreign or empty snapshot, or a project without pairs."""
    require_model(session, config.backbone, "backbone", *BACKBONES, local=True)
    if project_id is None:
        raise Invalid(
            "A reward model is trained for a project.", fields={"project_id": "a project's id"}
        )
    check_rankings(session, project_id, config.snapshot_id)


def export_inputs(
    session: Session, job: Job, config: RewardModelConfig, run_dir: Path, settings: Settings
) -> None:
    """Write the ranked tasks of the snapshot, or of one that is frozen now and noted in the job."""
    snapshot = settle_snapshot(session, job, config.snapshot_id, "reward model")
    write_tasks(session, snapshot, run_dir)
    if config.heads > 1:
        write_unranked_tasks(session, snapshot.project_id, run_dir / UNRANKED_FILE)
    backbone = model_files(settings, get_model(session, config.backbone))
    write_json(run_dir / INPUTS_FILE, {"backbone": asdict(backbone)})


def run(run_dir: Path, config: RewardModelConfig, report: Report) -> None:
    """Train; the model, its metrics and the held-out prompts are in the folder afterwards."""
    from app.training.ranked_task import split_tasks
    from app.training.reward_model import train_reward_model

    inputs = json.loads((run_dir / INPUTS_FILE).read_text("utf-8"))
    tasks = read_tasks(run_dir)
    report.progress(0.0, "Fetching the backbone")
    backbone = resolve_files(ModelFiles(**inputs["backbone"]))
    to_score = read_tasks(run_dir, UNRANKED_FILE) if config.heads > 1 else []
    result = train_reward_model(config, backbone, tasks, run_dir, report, to_score)
    _, held_out = split_tasks(tasks, config.eval_fraction, config.seed)
    prompts = sorted({task.prompt_id for task in held_out})
    write_json(result.model_dir / HELD_OUT_FILE, prompts)
    note_weights(run_dir, {MODEL_DIR: result.model_dir, config.backbone: backbone})
    write_json(
        run_dir / RESULT_FILE, {"metrics": result.metrics, "uncertainty": result.uncertainty}
    )


def import_outputs(session: Session, job: Job, run_dir: Path, settings: Settings) -> dict[str, Any]:
    """Take the model into the registry, with its backbone, snapshot and job as lineage.

    What an ensemble says of its uncertainty is noted on the project's tasks.
    """
    result = json.loads((run_dir / RESULT_FILE).read_text("utf-8"))
    metrics = result["metrics"]
    _note_uncertainty(session, result.get("uncertainty", {}))
    backbone = get_model(session, job.config["backbone"])
    snapshot = session.get_one(Snapshot, job.config["snapshot_id"])
    if (folder := find_folder(settings, backbone)) is not None:
        record_weights(backbone, noted_weights(run_dir, backbone.id, folder))
    model = adopt_model(
        session,
        settings,
        job,
        run_dir,
        id_hint=f"{_project_slug(session, job)}-reward-model",
        kind=ModelKind.REWARD_MODEL,
        description=f"Reward model from {backbone.id} on {snapshot.pairs:,} pairs.",
        parent_id=backbone.id,
        snapshot_id=snapshot.id,
        simulated_labels=learned_from_simulated([backbone], snapshot),
        metrics=metrics,
    )
    return {"model_id": model.id, "metrics": metrics, "snapshot_id": snapshot.id}


def _note_uncertainty(session: Session, uncertainty: Mapping[str, float]) -> None:
    if uncertainty:
        session.connection().execute(
            update(Task)
            .where(Task.id == bindparam("task_id"))
            .values(uncertainty=bindparam("spread")),
            # In one order, so that two jobs cannot wait for each other; a task that is gone since
            # is no row.
            [
                {"task_id": task_id, "spread": spread}
                for task_id, spread in sorted(uncertainty.items())
            ],
        )


def held_out_prompts(folder: Path) -> list[str]:
    """Ids of the prompts that a reward model was not trained on; empty where nobody noted them."""
    path = folder / HELD_OUT_FILE
    if not path.is_file():
        return []
    ids: list[str] = json.loads(path.read_text("utf-8"))
    return ids


def _project_slug(session: Session, job: Job) -> str:
    project = session.get(Project, job.project_id) if job.project_id else None
    return slugify(project.name)[:40].strip("-.") if project else "podium"


KIND = JobKind(
    name="reward_model",
    title="Reward model",
    description="Learns from rankings to score completions as people would.",
    config_type=RewardModelConfig,
    check=check,
    export_inputs=export_inputs,
    run=run,
    import_outputs=import_outputs,
    metric_groups={
        "Loss": ("loss", "eval_log_loss"),
        "Pair accuracy": ("pair_accuracy", "eval_accuracy"),
    },
)
