"""The PPO job: tunes a policy against a reward model."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.errors import Invalid
from app.inference.catalogue import ModelFiles
from app.jobs.kind import JobKind, Report
from app.jobs.kinds.policy_tuning import (
    Tuned,
    adopt_policy,
    check_second_opinion,
    describe_judges,
    load_judges,
    read_prompts,
    split_prompts,
    write_prompts,
    write_result,
)
from app.jobs.kinds.reward_model import held_out_prompts
from app.jobs.run_directory import write_json
from app.models import Job, Model, ModelKind, Prompt, Snapshot
from app.registry.adoption import MODEL_DIR, note_weights
from app.registry.service import (
    find_folder,
    get_model,
    model_files,
    require_model,
    resolve_files,
)
from app.settings import Settings
from app.training.configs import PPOConfig

INPUTS_FILE = "inputs.json"
FEWEST_PROMPTS = 2


def check(session: Session, project_id: str | None, config: PPOConfig) -> None:
    """Refuse an unknown policy or reward model, and a project with too few prompts."""
    require_model(session, config.policy, "policy", ModelKind.POLICY, local=True)
    require_model(session, config.reward_model, "reward_model", ModelKind.REWARD_MODEL, local=True)
    check_second_opinion(session, config.second_opinion, config.reward_model)
    if project_id is None:
        raise Invalid(
            "A policy is tuned on a project's prompts.", fields={"project_id": "a project's id"}
        )
    prompts = session.scalar(select(func.count()).where(Prompt.project_id == project_id)) or 0
    if prompts < FEWEST_PROMPTS:
        raise Invalid(
            f"PPO needs at least {FEWEST_PROMPTS} prompts, one of them held out; this project has "
            f"{prompts}.",
            code="no_prompts",
            fields={"project_id": f"a project with at least {FEWEST_PROMPTS} prompts"},
        )


def export_inputs(
    session: Session, job: Job, config: PPOConfig, run_dir: Path, settings: Settings
) -> None:
    """Write the prompts, split in two, and where both models' files come from.

    Written once: prompts imported while the job waits for its resumption change nothing.
    """
    if (run_dir / INPUTS_FILE).exists():
        return
    assert job.project_id is not None, "check refuses a job without a project"
    policy = get_model(session, config.policy)
    reward_model = get_model(session, config.reward_model)
    folder = find_folder(settings, reward_model)
    ids = session.scalars(select(Prompt.id).where(Prompt.project_id == job.project_id)).all()
    held_out = split_prompts(
        ids, config.eval_prompts, config.seed, held_out_prompts(folder) if folder else ()
    )
    write_prompts(session, job.project_id, held_out, run_dir)
    write_json(
        run_dir / INPUTS_FILE,
        {
            "policy": asdict(model_files(settings, policy)),
            "reward_model": asdict(model_files(settings, reward_model)),
            **describe_judges(
                session, settings, _snapshot_of(session, reward_model), config.second_opinion
            ),
        },
    )


def run(run_dir: Path, config: PPOConfig, report: Report) -> None:
    """Tune; the policy and the figures before and after are in the folder afterwards."""
    from app.training.ppo import train_policy

    inputs = json.loads((run_dir / INPUTS_FILE).read_text("utf-8"))
    train, held_out = read_prompts(run_dir)
    report.progress(0.0, "Fetching the models")
    policy = resolve_files(ModelFiles(**inputs["policy"]))
    judge = ModelFiles(**inputs["reward_model"])
    result = train_policy(
        config,
        policy,
        resolve_files(judge),
        train,
        held_out,
        run_dir,
        report,
        load_judges(inputs),
        judge.positive_class,
    )
    note_weights(run_dir, {MODEL_DIR: result.model_dir, config.policy: policy})
    write_result(
        run_dir,
        result.before,
        result.after,
        result.comparison,
        kept_iteration=result.iteration,
        **({"best_of": result.best_of} if result.best_of else {}),
        **({"stopped": result.stopped} if result.stopped else {}),
    )


def import_outputs(session: Session, job: Job, run_dir: Path, settings: Settings) -> dict[str, Any]:
    """Take the policy into the registry, with its parent, reward model, snapshot and job."""
    parent = get_model(session, job.config["policy"])
    reward_model = get_model(session, job.config["reward_model"])
    return adopt_policy(
        session,
        settings,
        job,
        run_dir,
        Tuned(
            ending="ppo",
            description=f"{parent.id} tuned with PPO against {reward_model.id}.",
            parent=parent,
            reward_model=reward_model,
            snapshot=_snapshot_of(session, reward_model),
        ),
    )


def _snapshot_of(session: Session, reward_model: Model) -> Snapshot | None:
    snapshot_id = reward_model.snapshot_id
    return session.get(Snapshot, snapshot_id) if snapshot_id else None


KIND = JobKind(
    name="ppo",
    title="PPO",
    description="Tunes a policy so that a reward model likes its completions better.",
    config_type=PPOConfig,
    check=check,
    export_inputs=export_inputs,
    run=run,
    import_outputs=import_outputs,
    metric_groups={
        "Reward": ("reward_mean",),
        "KL from the reference": ("kl",),
        "Losses": ("policy_loss", "value_loss"),
        "Completion length": ("length_mean",),
        "Entropy": ("entropy",),
        "Clipped updates": ("clip_fraction",),
    },
)
