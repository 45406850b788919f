"""What the kinds that tune a policy have in common: held-out prompts, judges, the result."""

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import Invalid
from app.inference.catalogue import ModelFiles
from app.jobs.run_directory import write_json
from app.labeling.simulated_rule import RULE_NAME, measure_completion, utility
from app.models import Job, Model, ModelKind, Prompt, Ranking, Snapshot, SnapshotRanking, User
from app.registry.adoption import adopt_model, noted_weights
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

if TYPE_CHECKING:
    from app.training.rollouts import Prompt as TrainingPrompt
    from app.training.rollouts import Scorer

PROMPTS_FILE = "prompts.jsonl"
RESULT_FILE = "result.json"
HELD_OUT = "held_out_prompts"
"""In a job's outputs, the ids of the prompts it held out, for the people who judge afterwards."""
SAMPLES_KEPT = 16
"""Sample completions before and after that stay with the model."""
MOMENTS = ("before", "after")


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What came of tuning a policy: where it came from and what it learned from."""

    ending: str
    """Of the new model's id: `ppo`, `dpo`."""
    description: str
    parent: Model
    snapshot: Snapshot | None
    reward_model: Model | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """Beside the figures before and after."""


def split_prompts(
    ids: Sequence[str],
    wanted: int,
    seed: int,
    preferred: Collection[str] = (),
    needed: Collection[str] = (),
) -> set[str]:
    """The ids to hold out for the before/after report: `wanted` of them, at most half of all.

    Those that the reward model never saw (`preferred`) come first, for on them its judgement is
    worth most; the order beyond that is a hash of id and seed, so that the same prompts give the
    same split. Of those `needed` for training at most half are held out.
    """
    preferred, needed = set(preferred), set(needed)

    def key(prompt_id: str) -> tuple[bool, bytes]:
        digest = hashlib.sha256(f"{seed}:{prompt_id}".encode()).digest()
        return prompt_id not in preferred, digest

    spare = len(needed) // 2
    held_out: set[str] = set()
    for prompt_id in sorted(ids, key=key):
        if len(held_out) >= min(wanted, len(ids) // 2):
            break
        if prompt_id in needed:
            if not spare:
                continue
            spare -= 1
        held_out.add(prompt_id)
    return held_out


def write_prompts(
    session: Session, project_id: str, held_out: Collection[str], run_dir: Path
) -> None:
    """Write the project's prompts for `read_prompts`, each with whether it is held out."""
    rows = session.execute(
        select(Prompt.id, Prompt.messages)
        .where(Prompt.project_id == project_id)
        .order_by(Prompt.id)
        .execution_options(yield_per=500)
    )
    with (run_dir / PROMPTS_FILE).open("w", encoding="utf-8") as file:
        for prompt_id, messages in rows:
            line = {"id": prompt_id, "messages": messages, "held_out": prompt_id in held_out}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def read_prompts(run_dir: Path) -> "tuple[list[TrainingPrompt], list[TrainingPrompt]]":
    """The prompts to train on and those held out."""
    from app.training.rollouts import Prompt as TrainingPrompt

    train: list[TrainingPrompt] = []
    held_out: list[TrainingPrompt] = []
    with (run_dir / PROMPTS_FILE).open(encoding="utf-8") as file:
        for line in map(json.loads, file):
            prompt = TrainingPrompt(line["id"], line["messages"])
            (held_out if line["held_out"] else train).append(prompt)
    return train, held_out


def find_gold_rule(session: Session, snapshot: Snapshot | None) -> str | None:
    """The rule that simulated labelers made all rankings of a snapshot by; None if anyone else did.

    It says what the rankings were meant to say, so that a policy can be held against it.
    """
    if snapshot is None:
        return None
    rules = session.scalars(
        select(User.simulation_rule)
        .select_from(SnapshotRanking)
        .join(Ranking, Ranking.id == SnapshotRanking.ranking_id)
        .outerjoin(User, User.id == Ranking.user_id)
        .where(SnapshotRanking.snapshot_id == snapshot.id, Ranking.erased_at.is_(None))
        .distinct()
    ).all()
    return RULE_NAME if list(rules) == [RULE_NAME] else None


def check_second_opinion(session: Session, second: str | None, reward_model: str | None) -> None:
    """Refuse a second opinion that is no reward model with files, or that is the first one."""
    if second is None:
        return
    require_model(session, second, "second_opinion", ModelKind.REWARD_MODEL, local=True)
    if second == reward_model:
        raise Invalid(
            "The second opinion is the reward model itself, so it could only agree.",
            fields={"second_opinion": "another than the reward model itself"},
        )


def describe_judges(
    session: Session, settings: Settings, snapshot: Snapshot | None, second: str | None
) -> dict[str, Any]:
    """Who judges beside the reward model, as `load_judges` reads it from a job's inputs."""
    files = model_files(settings, get_model(session, second)) if second else None
    return {
        "gold_rule": find_gold_rule(session, snapshot),
        "second_opinion": asdict(files) if files else None,
    }


def load_judges(inputs: Mapping[str, Any]) -> "dict[str, Scorer]":
    """The judges of `describe_judges`, by the names of `app.training.policy_evaluation.JUDGES`."""
    from app.training.reward_scorer import load_scorer

    judges: dict[str, Scorer] = {}
    if inputs.get("gold_rule") == RULE_NAME:
        judges["gold"] = _apply_rule
    if inputs.get("second_opinion"):
        files = ModelFiles(**inputs["second_opinion"])
        judges["second_opinion"] = load_scorer(resolve_files(files), files.positive_class)
    return judges


def _apply_rule(prompts: "Sequence[TrainingPrompt]", completions: Sequence[str]) -> list[float]:
    # The rule reads the completion alone.
    assert len(prompts) == len(completions)
    return [utility(measure_completion(text)) for text in completions]


def write_result(
    run_dir: Path,
    before: dict[str, Any],
    after: dict[str, Any],
    comparison: dict[str, Any],
    **more: Any,
) -> None:
    """Keep what `adopt_policy` reads; `more` goes into the outputs and the model's figures."""
    moments = {"before": before, "after": after, "comparison": comparison}
    write_json(run_dir / RESULT_FILE, {**moments, "more": more})


def adopt_policy(
    session: Session, settings: Settings, job: Job, run_dir: Path, tuned: Tuned
) -> dict[str, Any]:
    """Take the policy into the registry with its lineage and figures; the job's outputs."""
    result = json.loads((run_dir / RESULT_FILE).read_text("utf-8"))
    if (folder := find_folder(settings, tuned.parent)) is not None:
        record_weights(tuned.parent, noted_weights(run_dir, tuned.parent.id, folder))
    figures = {moment: _figures(result[moment]) for moment in MOMENTS}
    figures |= {"comparison": result.get("comparison", {}), **result.get("more", {})}
    kept = {moment: result[moment].get("samples", [])[:SAMPLES_KEPT] for moment in MOMENTS}
    model = adopt_model(
        session,
        settings,
        job,
        run_dir,
        id_hint=f"{family_name(tuned.parent.id)}-{tuned.ending}",
        kind=ModelKind.POLICY,
        description=tuned.description,
        parent_id=tuned.parent.id,
        reward_model_id=tuned.reward_model.id if tuned.reward_model else None,
        snapshot_id=tuned.snapshot.id if tuned.snapshot else None,
        simulated_labels=learned_from_simulated([tuned.parent, tuned.reward_model], tuned.snapshot),
        metrics={**figures, **tuned.metrics, "samples": kept},
    )
    return {"model_id": model.id, **figures, HELD_OUT: _held_out_ids(run_dir)}


def family_name(model_id: str) -> str:
    """The id without the endings that tuning gave it, so that they do not pile up."""
    return re.sub(r"(-(ppo|dpo)(-\d+)?)+$", "", model_id)


def _figures(measured: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in measured.items() if name != "samples"}


def _held_out_ids(run_dir: Path) -> list[str]:
    with (run_dir / PROMPTS_FILE).open(encoding="utf-8") as file:
        return [line["id"] for line in map(json.loads, file) if line["held_out"]]
