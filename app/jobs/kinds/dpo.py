"""The DPO job: tunes a policy on the rankings themselves."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import select
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
from app.jobs.kinds.ranked_inputs import (
    TASKS_FILE,
    check_rankings,
    read_tasks,
    settle_snapshot,
    write_tasks,
)
from app.jobs.kinds.reward_model import held_out_prompts
from app.jobs.run_directory import write_json
from app.models import Job, Model, ModelKind, ModelSource, Prompt, Snapshot
from app.registry.adoption import MODEL_DIR, note_weights
from app.registry.service import (
    find_folder,
    get_model,
    model_files,
    require_model,
    resolve_files,
)
from app.settings import Settings
from app.training.configs import DPOConfig

INPUTS_FILE = "inputs.json"


def check(session: Session, project_id: str | None, config: DPOConfig) -> None:
    """Refuse an unknown policy or judge, a foreign or empty snapshot, a project without pairs."""
    require_model(session, config.policy, "policy", ModelKind.POLICY, local=True)
    if config.reward_model is not None:
        require_model(
            session, config.reward_model, "reward_model", ModelKind.REWARD_MODEL, local=True
        )
    check_second_opinion(session, config.second_opinion, config.reward_model)
    if project_id is None:
        raise Invalid(
            "A policy is tuned on a project's rankings.", fields={"project_id": "a project's id"}
        )
    check_rankings(session, project_id, config.snapshot_id)


def export_inputs(
    session: Session, job: Job, config: DPOConfig, run_dir: Path, settings: Settings
) -> None:
    """Write the ranked tasks, the prompts split in two, and where the models' files come from.

    The prompts are split as PPO's are, so that the two can be compared: with the same judge and
    seed they hold out the same prompts, as long as half of the ranked ones stay to learn from.
    The split is written once; the tasks again, for some may have been erased meanwhile.
    """
    snapshot = settle_snapshot(session, job, config.snapshot_id, "DPO")
    write_tasks(session, snapshot, run_dir)
    if (run_dir / INPUTS_FILE).exists():
        return
    assert job.project_id is not None, "check refuses a job without a project"
    judge = find_judge(session, settings, job.project_id, snapshot, config.reward_model)
    folder = find_folder(settings, judge) if judge is not None else None
    ids = session.scalars(select(Prompt.id).where(Prompt.project_id == job.project_id)).all()
    held_out = split_prompts(
        ids,
        config.eval_prompts,
        config.seed,
        held_out_prompts(folder) if folder else (),
        needed=_ranked_prompts(run_dir),
    )
    write_prompts(session, job.project_id, held_out, run_dir)
    policy = model_files(settings, get_model(session, config.policy))
    write_json(
        run_dir / INPUTS_FILE,
        {
            "policy": asdict(policy),
            "reward_model": asdict(model_files(settings, judge)) if judge else None,
            **describe_judges(session, settings, snapshot, config.second_opinion),
        },
    )


def find_judge(
    session: Session,
    settings: Settings,
    project_id: str,
    snapshot: Snapshot,
    wanted: str | None,
) -> Model | None:
    """The reward model that judges the report: the wanted one, or the newest of the project that
    was trained on the same pairs, however often they were frozen; None where there is none."""
    if wanted is not None:
        return get_model(session, wanted)
    same = select(Snapshot.id).where(
        Snapshot.project_id == project_id, Snapshot.sha256 == snapshot.sha256
    )
    candidates = session.scalars(
        select(Model)
        .where(
            Model.kind == ModelKind.REWARD_MODEL,
            Model.source != ModelSource.ENDPOINT,
            Model.snapshot_id.in_(same),
            Model.archived_at.is_(None),
        )
        .order_by(Model.created_at.desc(), Model.id)
    )
    return next((one for one in candidates if find_folder(settings, one) is not None), None)


def _ranked_prompts(run_dir: Path) -> set[str]:
    with (run_dir / TASKS_FILE).open(encoding="utf-8") as file:
        return {json.loads(line)["prompt_id"] for line in file}


def run(run_dir: Path, config: DPOConfig, report: Report) -> None:
    """Tune; the policy and the figures before and after are in the folder afterwards."""
    from app.training.dpo import tune_on_rankings
    from app.training.reward_scorer import load_scorer

    inputs = json.loads((run_dir / INPUTS_FILE).read_text("utf-8"))
    _, held_out = read_prompts(run_dir)
    report.progress(0.0, "Fetching the models")
    policy = resolve_files(ModelFiles(**inputs["policy"]))
    score = None
    if inputs["reward_model"] is not None:
        judge = ModelFiles(**inputs["reward_model"])
        score = load_scorer(resolve_files(judge), judge.positive_class)
    result = tune_on_rankings(
        config,
        policy,
        read_tasks(run_dir),
        held_out,
        run_dir,
        report,
        score=score,
        judges=load_judges(inputs),
    )
    note_weights(run_dir, {MODEL_DIR: result.model_dir, config.policy: policy})
    write_result(run_dir, result.before, result.after, result.comparison)


def import_outputs(session: Session, job: Job, run_dir: Path, settings: Settings) -> dict[str, Any]:
    """Take the policy into the registry, with its parent, snapshot and job.

    It was tuned against no reward model; the judge of its figures is named among them.
    """
    inputs = json.loads((run_dir / INPUTS_FILE).read_text("utf-8"))
    parent = get_model(session, job.config["policy"])
    snapshot = session.get_one(Snapshot, job.config["snapshot_id"])
    judge = inputs["reward_model"]["id"] if inputs["reward_model"] else None
    outputs = adopt_policy(
        session,
        settings,
        job,
        run_dir,
        Tuned(
            ending="dpo",
            description=f"{parent.id} tuned with DPO on {snapshot.pairs:,} pairs.",
            parent=parent,
            snapshot=snapshot,
            metrics={"judge": judge} if judge else {},
        ),
    )
    return {**outputs, "snapshot_id": snapshot.id, **({"judge": judge} if judge else {})}


KIND = JobKind(
    name="dpo",
    title="DPO",
    description="Tunes a policy on the rankings themselves, without a reward model.",
    config_type=DPOConfig,
    check=check,
    export_inputs=export_inputs,
    run=run,
    import_outputs=import_outputs,
    metric_groups={
        "Loss": ("loss", "eval_loss"),
        "Pair accuracy": ("accuracy", "eval_accuracy"),
        "Margin of the implicit rewards": ("margin", "eval_margin"),
        "Implicit reward": ("chosen_reward", "rejected_reward"),
        "Log-probability of completions": ("chosen_logprobs", "rejected_logprobs"),
        "KL estimate on the ranked completions": ("kl",),
    },
)
