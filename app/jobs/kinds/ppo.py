"""The PPO job: tunes a policy against a reward model."""

import hashlib
import json
import re
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.errors import Invalid
from app.inference.catalogue import ModelFiles
from app.jobs.kind import JobKind, Report
from app.jobs.kinds.reward_model import held_out_prompts
from app.jobs.run_directory import write_json
from app.models import Job, ModelKind, Prompt, Snapshot
from app.registry.adoption import MODEL_DIR, adopt_model, note_weights, noted_weights
from app.registry.lineage import learned_from_simulated
from app.registry.service import (
    find_folder,
    get_model,
    model_files,
    record_weights,
    require_model,
    resolve_files,
)
from app.settings import Settings
from app.training.configs import PPOConfig

INPUTS_FILE = "inputs.json"
PROMPTS_FILE = "prompts.jsonl"
RESULT_FILE = "result.json"
FEWEST_PROMPTS = 2
SAMPLES_KEPT = 8
"""Sample completions before and after that stay with the model."""


def check(session: Session, project_id: str | None, config: PPOConfig) -> None:
    """Refuse an unknown policy or reward model, and a project with too few prompts."""
    require_model(session, config.policy, "policy", ModelKind.POLICY, local=True)
    require_model(session, config.reward_model, "reward_model", ModelKind.REWARD_MODEL, local=True)
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
    policy = get_model(session, config.policy)
    reward_model = get_model(session, config.reward_model)
    folder = find_folder(settings, reward_model)
    ids = session.scalars(select(Prompt.id).where(Prompt.project_id == job.project_id)).all()
    held_out = split_prompts(
        ids, config.eval_prompts, config.seed, held_out_prompts(folder) if folder else ()
    )
    rows = session.execute(
        select(Prompt.id, Prompt.messages)
        .where(Prompt.project_id == job.project_id)
        .order_by(Prompt.id)
        .execution_options(yield_per=500)
    )
    with (run_dir / PROMPTS_FILE).open("w", encoding="utf-8") as file:
        for prompt_id, messages in rows:
            line = {"id": prompt_id, "messages": messages, "held_out": prompt_id in held_out}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    write_json(
        run_dir / INPUTS_FILE,
        {
            "policy": asdict(model_files(settings, policy)),
            "reward_model": asdict(model_files(settings, reward_model)),
        },
    )


def split_prompts(
    ids: Sequence[str], wanted: int, seed: int, preferred: Collection[str] = ()
) -> set[str]:
    """The ids to hold out for the before/after report: `wanted` of them, at most half of all.

    Those that the reward model never saw come first, for on them its judgement is worth most; the
    order beyond that is a hash of id and seed, so that the same prompts give the same split.
    """
    preferred = set(preferred)

    def key(prompt_id: str) -> tuple[bool, bytes]:
        digest = hashlib.sha256(f"{seed}:{prompt_id}".encode()).digest()
        return prompt_id not in preferred, digest

    return set(sorted(ids, key=key)[: min(wanted, len(ids) // 2)])


def run(run_dir: Path, config: PPOConfig, report: Report) -> None:
    """Tune; the policy and the figures before and after are in the folder afterwards."""
    from app.training.ppo import train_policy
    from app.training.rollouts import Prompt as TrainingPrompt

    inputs = json.loads((run_dir / INPUTS_FILE).read_text("utf-8"))
    train: list[TrainingPrompt] = []
    held_out: list[TrainingPrompt] = []
    with (run_dir / PROMPTS_FILE).open(encoding="utf-8") as file:
        for line in map(json.loads, file):
            prompt = TrainingPrompt(line["id"], line["messages"])
            (held_out if line["held_out"] else train).append(prompt)
    report.progress(0.0, "Fetching the models")
    policy = resolve_files(ModelFiles(**inputs["policy"]))
    reward_model = resolve_files(ModelFiles(**inputs["reward_model"]))
    result = train_policy(config, policy, reward_model, train, held_out, run_dir, report)
    note_weights(run_dir, {MODEL_DIR: result.model_dir, config.policy: policy})
    write_json(run_dir / RESULT_FILE, {"before": result.before, "after": result.after})


def import_outputs(session: Session, job: Job, run_dir: Path, settings: Settings) -> dict[str, Any]:
    """Take the policy into the registry, with its parent, reward model, snapshot and job."""
    result = json.loads((run_dir / RESULT_FILE).read_text("utf-8"))
    parent = get_model(session, job.config["policy"])
    reward_model = get_model(session, job.config["reward_model"])
    snapshot_id = reward_model.snapshot_id
    snapshot = session.get(Snapshot, snapshot_id) if snapshot_id else None
    if (folder := find_folder(settings, parent)) is not None:
        record_weights(parent, noted_weights(run_dir, parent.id, folder))
    figures = {moment: _figures(result[moment]) for moment in ("before", "after")}
    samples = {moment: result[moment].get("samples", []) for moment in ("before", "after")}
    kept = {moment: rows[:SAMPLES_KEPT] for moment, rows in samples.items()}
    model = adopt_model(
        session,
        settings,
        job,
        run_dir,
        id_hint=f"{family_name(parent.id)}-ppo",
        kind=ModelKind.POLICY,
        description=f"{parent.id} tuned with PPO against {reward_model.id}.",
        parent_id=parent.id,
        reward_model_id=reward_model.id,
        snapshot_id=snapshot_id,
        simulated_labels=learned_from_simulated([parent, reward_model], snapshot),
        metrics={**figures, "samples": kept},
    )
    return {"model_id": model.id, **figures}


def family_name(model_id: str) -> str:
    """The id without the endings that tuning gave it, so that they do not pile up."""
    return re.sub(r"(-ppo(-\d+)?)+$", "", model_id)


def _figures(measured: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in measured.items() if name != "samples"}


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
