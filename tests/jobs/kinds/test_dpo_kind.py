"""The DPO job on tiny models: checked, exported, run, taken into the registry."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Database
from app.demo.labelers import ensure_simulated_labelers
from app.jobs.kinds import dpo, ppo, reward_model
from app.jobs.kinds.policy_tuning import PROMPTS_FILE, find_gold_rule, load_judges, split_prompts
from app.labeling.simulated_rule import RULE_NAME
from app.models import Job, Model, ModelKind, ModelSource, Project, Snapshot
from app.preferences.snapshots import create_snapshot
from app.registry.service import find_folder
from app.settings import Settings
from app.training.rollouts import Prompt as TrainingPrompt
from tests.jobs.kinds.running import rank_imported, run_job
from tests.projects.rounds_factory import make_model, make_project
from tests.training.tiny import make_backbone, make_policy

SMALL = {
    "policy": "llama",
    "lora_rank": None,
    "tasks_per_batch": 2,
    "max_length": 64,
    "max_new_tokens": 6,
    "eval_prompts": 3,
}

PPO_TOO = ("policy", "lora_rank", "max_new_tokens", "eval_prompts")
"""Of `SMALL`, what PPO knows as well."""


def ranked_project(
    session: Session, tmp_path: Path, *, by_rule: bool = False, prompts: int = 8
) -> Project:
    """A project with rankings of every prompt, a policy `llama` and an encoder `bert`."""
    project = make_project(session, prompts=0)
    labeler: Any = ensure_simulated_labelers(session, project, 1)[0] if by_rule else "lee"
    rank_imported(session, project, prompts, simulated=by_rule, labeler=labeler)
    policy, backbone = make_policy(tmp_path / "llama"), make_backbone(tmp_path / "bert")
    make_model(session, "llama", location=str(policy))
    make_model(session, "bert", ModelKind.ENCODER, ModelSource.FOLDER, location=str(backbone))
    return project


def exported_held_out(data: Settings, job: Job) -> set[str]:
    lines = (data.runs_dir / job.id / PROMPTS_FILE).read_text().splitlines()
    return {line["id"] for line in map(json.loads, lines) if line["held_out"]}


def test_rankings_become_a_tuned_policy_without_a_reward_model(
    database: Database, data: Settings, tmp_path: Path
) -> None:
    with database.write() as session:
        project_id = ranked_project(session, tmp_path).id
    outputs, job = run_job(database, data, dpo.KIND, project_id, SMALL)
    with database.read() as session:
        tuned = session.get_one(Model, outputs["model_id"])
        assert (tuned.id, tuned.kind, tuned.source) == ("llama-dpo", "policy", "job")
        assert (tuned.parent_id, tuned.reward_model_id) == ("llama", None)
        snapshot = session.scalars(select(Snapshot)).one()
        assert tuned.snapshot_id == outputs["snapshot_id"] == snapshot.id, "frozen once"
        assert session.get_one(Job, job.id).config["snapshot_id"] == snapshot.id
        assert tuned.job_id == job.id
        assert not tuned.simulated_labels
        assert tuned.parameters
        assert find_folder(data, tuned) == data.models_dir / "llama-dpo"
    for moment in ("before", "after"):
        assert outputs[moment]["reward_mean"] is None
        assert math.isfinite(outputs[moment]["kl"])
        assert outputs[moment]["prompts"] == 3
        assert "samples" not in outputs[moment]
        assert tuned.metrics[moment] == outputs[moment]
        assert len(tuned.metrics["samples"][moment]) == 3
    assert outputs["before"]["kl"] == pytest.approx(0, abs=1e-4)
    assert set(outputs["held_out_prompts"]) == exported_held_out(data, job)
    assert "judge" not in outputs


def test_the_reward_model_of_the_same_pairs_judges_and_ppo_holds_out_the_same_prompts(
    sqlite_database: Database, data: Settings, tmp_path: Path
) -> None:
    with sqlite_database.write() as session:
        project_id = ranked_project(session, tmp_path, by_rule=True).id
    trained, _ = run_job(
        sqlite_database,
        data,
        reward_model.KIND,
        project_id,
        {"backbone": "bert", "max_length": 64, "eval_fraction": 0.25},
    )
    # A fresh snapshot of the same pairs is another snapshot with the same content.
    outputs, job = run_job(sqlite_database, data, dpo.KIND, project_id, SMALL)
    assert outputs["snapshot_id"] != trained["snapshot_id"]
    assert outputs["judge"] == trained["model_id"]
    assert math.isfinite(outputs["after"]["reward_mean"])
    assert 0 <= outputs["comparison"]["win_rate"] <= 1
    # Every ranking is by the rule of simulated labelers, so the rule judges too.
    assert math.isfinite(outputs["after"]["gold_mean"])
    assert 0 <= outputs["comparison"]["gold_win_rate"] <= 1
    with sqlite_database.read() as session:
        tuned = session.get_one(Model, outputs["model_id"])
        assert tuned.simulated_labels
        assert tuned.reward_model_id is None, "it was not tuned against its judge"
        assert tuned.metrics["judge"] == outputs["judge"]
    against, ppo_job = run_job(
        sqlite_database,
        data,
        ppo.KIND,
        project_id,
        {
            "policy": tuned.id,
            "reward_model": trained["model_id"],
            "iterations": 1,
            "prompts_per_iteration": 2,
            "minibatches": 1,
            "max_new_tokens": 6,
            "lora_rank": None,
            "eval_prompts": 3,
        },
    )
    assert against["model_id"] == "llama-ppo"
    assert exported_held_out(data, ppo_job) == exported_held_out(data, job)
    assert {"win_rate", "gold_win_rate"} <= set(against["comparison"])


def test_a_second_reward_model_judges_what_the_first_one_was_tuned_against(
    sqlite_database: Database, data: Settings, tmp_path: Path
) -> None:
    with sqlite_database.write() as session:
        project_id = ranked_project(session, tmp_path).id
    small = {"backbone": "bert", "max_length": 64, "eval_fraction": 0.25}
    first, second = (
        run_job(sqlite_database, data, reward_model.KIND, project_id, {**small, "seed": seed})[0]
        for seed in (0, 1)
    )
    opinion = {"second_opinion": second["model_id"]}
    by_dpo, _ = run_job(
        sqlite_database,
        data,
        dpo.KIND,
        project_id,
        {**SMALL, "reward_model": first["model_id"], **opinion},
    )
    steps = {"iterations": 1, "prompts_per_iteration": 2, "minibatches": 1}
    known = {name: value for name, value in SMALL.items() if name in PPO_TOO}
    by_ppo, _ = run_job(
        sqlite_database,
        data,
        ppo.KIND,
        project_id,
        {**known, **steps, "reward_model": first["model_id"], **opinion},
    )
    for outputs in (by_dpo, by_ppo):
        for moment in ("before", "after"):
            figures = outputs[moment]
            low, high = figures["second_opinion_ci95"]
            assert low <= figures["second_opinion_mean"] <= high
            assert figures["second_opinion_mean"] != figures["reward_mean"], "another judge"
        assert 0 <= outputs["comparison"]["second_opinion_win_rate"] <= 1
    for judge in ("reward_mean", "second_opinion_mean"):
        assert by_dpo["before"][judge] == pytest.approx(by_ppo["before"][judge], abs=1e-5), (
            "the same policy answers the same prompts, and the same two judge it"
        )


def test_only_a_snapshot_of_simulated_labelers_has_a_gold_rule(
    database: Database, tmp_path: Path
) -> None:
    with database.write() as session:
        simulated = make_project(session, 0, "Simulated")
        (labeler,) = ensure_simulated_labelers(session, simulated, 1)
        rank_imported(session, simulated, 2, simulated=True, labeler=labeler)
        pure = create_snapshot(session, None, simulated.id)
        assert find_gold_rule(session, pure) == RULE_NAME
        rank_imported(session, simulated, 1, simulated=False, labeler="a person")
        mixed = create_snapshot(session, None, simulated.id)
        assert find_gold_rule(session, mixed) is None
        assert find_gold_rule(session, None) is None
    assert load_judges({"gold_rule": None}) == {}
    judge = load_judges({"gold_rule": RULE_NAME})["gold"]
    prompts = [TrainingPrompt("p", [])] * 2
    plain, empty = judge(prompts, ["A short and plain text that says what it has to say.", ""])
    assert plain > 0 > empty


def test_at_most_half_of_the_ranked_prompts_are_held_out() -> None:
    ids = [f"p{number}" for number in range(40)]
    ranked = ["p1", "p5", "p9", "p30"]
    held_out = split_prompts(ids, 16, 0, preferred=ranked, needed=ranked)
    assert len(held_out) == 16
    assert len(held_out & set(ranked)) == 2
    assert split_prompts(["p1"], 16, 0, needed=["p1"]) == set(), "one task stays to learn from"
    whole = split_prompts(ids, 16, 0)
    assert split_prompts(ids, 16, 0, needed=ids) == whole, "as PPO, where enough are ranked"
