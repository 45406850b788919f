"""The kinds of training on tiny models: checked, exported, run, taken into the registry."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from app.db import Database
from app.errors import Invalid
from app.jobs.kinds import ppo, reward_model
from app.jobs.kinds.policy_tuning import PROMPTS_FILE, family_name, split_prompts
from app.jobs.service import create_job
from app.models import (
    Job,
    Model,
    ModelKind,
    ModelSource,
    Snapshot,
)
from app.preferences.filters import PairFilters
from app.preferences.snapshots import create_snapshot
from app.registry.service import find_folder
from app.settings import Settings
from tests.jobs.kinds.running import rank_imported, run_job
from tests.projects.rounds_factory import make_model, make_project
from tests.training.tiny import make_backbone, make_policy

JUDGED = {"policy": "llama", "reward_model": "judge"}


def test_rankings_become_a_reward_model_and_that_a_tuned_policy(
    database: Database, data: Settings, tmp_path: Path
) -> None:
    backbone, policy = make_backbone(tmp_path / "bert"), make_policy(tmp_path / "llama")
    with database.write() as session:
        project = make_project(session, prompts=8)
        rank_imported(session, project, 8, simulated=True)
        folder = ModelSource.FOLDER
        make_model(session, "bert", ModelKind.ENCODER, folder, location=str(backbone))
        make_model(session, "llama", location=str(policy))
        project_id = project.id

    outputs, job = run_job(
        database,
        data,
        reward_model.KIND,
        project_id,
        {"backbone": "bert", "max_length": 64, "tasks_per_batch": 4, "eval_fraction": 0.25},
    )
    with database.read() as session:
        judge = session.get_one(Model, outputs["model_id"])
        assert judge.id == "haiku-reward-model"
        assert (judge.kind, judge.source, judge.parent_id) == ("reward_model", "job", "bert")
        assert judge.job_id == job.id
        assert judge.simulated_labels
        assert judge.parameters
        snapshots = session.scalars(select(Snapshot)).all()
        assert [snapshot.id for snapshot in snapshots] == [judge.snapshot_id], "frozen once"
        assert session.get_one(Job, job.id).config["snapshot_id"] == judge.snapshot_id
        assert 0 <= outputs["metrics"]["accuracy"] <= 1
        assert judge.metrics == outputs["metrics"]
        judge_folder = find_folder(data, judge)
        assert judge_folder == data.models_dir / "haiku-reward-model"
        held_out = reward_model.held_out_prompts(judge_folder)
        assert len(held_out) == 2
    assert not (data.runs_dir / job.id / "model").exists(), "moved, not copied"

    outputs, job = run_job(
        database,
        data,
        ppo.KIND,
        project_id,
        {
            "policy": "llama",
            "reward_model": judge.id,
            "iterations": 1,
            "prompts_per_iteration": 4,
            "minibatches": 2,
            "max_new_tokens": 6,
            "lora_rank": None,
            "eval_prompts": 3,
        },
    )
    lines = (data.runs_dir / job.id / PROMPTS_FILE).read_text().splitlines()
    exported = [json.loads(line) for line in lines]
    evaluated = {line["id"] for line in exported if line["held_out"]}
    assert len(exported) == 8
    assert len(evaluated) == 3
    assert set(held_out) <= evaluated, "prompts the reward model never saw come first"
    with database.read() as session:
        tuned = session.get_one(Model, outputs["model_id"])
        assert (tuned.id, tuned.kind) == ("llama-ppo", "policy")
        assert (tuned.parent_id, tuned.reward_model_id) == ("llama", judge.id)
        assert tuned.snapshot_id == judge.snapshot_id
        assert tuned.simulated_labels, "inherited from the reward model"
        assert session.scalar(select(func.count()).select_from(Model)) == 4
    for moment in ("before", "after"):
        assert math.isfinite(outputs[moment]["reward_mean"])
        assert "samples" not in outputs[moment]
        assert tuned.metrics[moment] == outputs[moment]
        assert tuned.metrics["samples"][moment]


def test_a_model_whose_import_was_cut_off_is_taken_over_once(
    sqlite_database: Database, data: Settings, tmp_path: Path
) -> None:
    """The crash comes after the files moved and before the transaction was committed."""
    backbone = make_backbone(tmp_path / "bert")
    with sqlite_database.write() as session:
        project = make_project(session, prompts=0)
        rank_imported(session, project, 2, simulated=False)
        snapshot = create_snapshot(session, None, project.id, filters=PairFilters())
        make_model(session, "bert", ModelKind.ENCODER, location=str(backbone))
        config = {"backbone": "bert", "snapshot_id": snapshot.id}
        jobs = [
            create_job(session, None, kind="reward_model", project_id=project.id, config=config)
            for _ in range(2)
        ]
    for job in jobs:
        run_dir = data.runs_dir / job.id
        make_backbone(run_dir / "model")
        (run_dir / reward_model.RESULT_FILE).write_text('{"metrics": {"accuracy": 0.5}}')

    class PowerCut(Exception):
        pass

    def import_and_fail() -> None:
        with sqlite_database.write() as session:
            job = session.get_one(Job, jobs[0].id)
            reward_model.KIND.import_outputs(session, job, data.runs_dir / job.id, data)
            raise PowerCut

    with pytest.raises(PowerCut):
        import_and_fail()
    ids = []
    for job in (jobs[1], jobs[0]):
        with sqlite_database.write() as session:
            job = session.get_one(Job, job.id)
            outputs = reward_model.KIND.import_outputs(session, job, data.runs_dir / job.id, data)
            ids.append(outputs["model_id"])
    assert ids == ["haiku-reward-model-2", "haiku-reward-model"]
    assert sorted(path.name for path in data.models_dir.iterdir()) == sorted(ids)
    with sqlite_database.read() as session:
        assert not session.get_one(Model, ids[0]).simulated_labels


@pytest.mark.parametrize(
    ("kind", "config", "field"),
    [
        ("reward_model", {"backbone": "nobody"}, "backbone"),
        ("reward_model", {"backbone": "remote"}, "backbone"),
        ("reward_model", {"backbone": "bert"}, "snapshot_id"),
        ("reward_model", {"backbone": "bert", "snapshot_id": "nope"}, "snapshot_id"),
        ("reward_model", {"backbone": "bert", "snapshot_id": "empty"}, "snapshot_id"),
        ("reward_model", {"backbone": "bert", "snapshot_id": "others"}, "snapshot_id"),
        ("reward_model", {"backbone": "bert", "epochs": 0}, "epochs"),
        ("reward_model", {}, "backbone"),
        ("ppo", {"policy": "nobody", "reward_model": "judge"}, "policy"),
        ("ppo", {"policy": "judge", "reward_model": "judge"}, "policy"),
        ("ppo", {"policy": "remote", "reward_model": "judge"}, "policy"),
        ("ppo", {"policy": "llama", "reward_model": "bert"}, "reward_model"),
        ("ppo", {"policy": "llama", "reward_model": "judge"}, "project_id"),
        ("ppo", {"policy": "llama", "reward_model": "judge", "clip_range": 9}, "clip_range"),
        (
            "ppo",
            {"policy": "llama", "reward_model": "judge", "second_opinion": "judge"},
            "second_opinion",
        ),
        (
            "ppo",
            {"policy": "llama", "reward_model": "judge", "second_opinion": "llama"},
            "second_opinion",
        ),
        (
            "ppo",
            {"policy": "llama", "reward_model": "judge", "second_opinion": "nobody"},
            "second_opinion",
        ),
        (
            "dpo",
            {"policy": "llama", "reward_model": "judge", "second_opinion": "judge"},
            "second_opinion",
        ),
        (
            "dpo",
            {"policy": "llama", "reward_model": "judge", "second_opinion": "llama"},
            "second_opinion",
        ),
        (
            "dpo",
            {"policy": "llama", "reward_model": "judge", "second_opinion": "nobody"},
            "second_opinion",
        ),
        ("dpo", {"policy": "nobody"}, "policy"),
        ("dpo", {"policy": "judge"}, "policy"),
        ("dpo", {"policy": "remote"}, "policy"),
        ("dpo", {}, "policy"),
        ("dpo", {"policy": "llama"}, "snapshot_id"),
        ("dpo", {"policy": "llama", "snapshot_id": "nope"}, "snapshot_id"),
        ("dpo", {"policy": "llama", "snapshot_id": "empty"}, "snapshot_id"),
        ("dpo", {"policy": "llama", "snapshot_id": "others"}, "snapshot_id"),
        ("dpo", {"policy": "llama", "reward_model": "llama"}, "reward_model"),
        ("dpo", {"policy": "llama", "loss": "hinge"}, "loss"),
        ("dpo", {"policy": "llama", "beta": 0}, "beta"),
        ("dpo", {"policy": "llama", "label_smoothing": 0.5}, "label_smoothing"),
        ("dpo", {"policy": "llama", "length_normalized": 1}, "length_normalized"),
    ],
)
def test_a_job_that_could_not_succeed_is_refused_naming_the_field(
    sqlite_database: Database, kind: str, config: dict[str, Any], field: str
) -> None:
    with sqlite_database.write() as session:
        project, other = make_project(session, 1), make_project(session, 0, "Other")
        for snapshot_id, owner, pairs in (("empty", project, 0), ("others", other, 5)):
            session.add(
                Snapshot(
                    id=snapshot_id,
                    project_id=owner.id,
                    sha256="",
                    rankings=0,
                    pairs=pairs,
                    prompts=0,
                )
            )
        make_model(session, "bert", ModelKind.ENCODER)
        make_model(session, "llama")
        make_model(session, "judge", ModelKind.REWARD_MODEL)
        make_model(session, "remote", source=ModelSource.ENDPOINT, location="http://x")
        with pytest.raises(Invalid) as refused:
            create_job(session, None, kind=kind, project_id=project.id, config=config)
        assert field in refused.value.fields
        assert session.scalar(select(func.count()).select_from(Job)) == 0


def test_the_split_of_prompts_is_stable_and_prefers_what_the_reward_model_never_saw() -> None:
    ids = [f"p{number}" for number in range(20)]
    assert split_prompts(ids, 4, 0) == split_prompts(list(reversed(ids)), 4, 0)
    assert split_prompts(ids, 4, 0) != split_prompts(ids, 4, 1)
    assert {"p3", "p7"} <= split_prompts(ids, 4, 0, ["p3", "p7", "gone"])
    assert split_prompts(ids, 1, 0, ["p3"]) == {"p3"}
    assert len(split_prompts(ids, 100, 0)) == 10, "at most half"
    assert len(split_prompts(ids[:3], 16, 0)) == 1
    grown = split_prompts([*ids, "new"], 4, 0)
    assert len(grown & split_prompts(ids, 4, 0)) >= 3, "a new prompt moves at most one"


def test_the_endings_of_tuned_policies_do_not_pile_up() -> None:
    assert family_name("llama") == "llama"
    assert family_name("llama-ppo") == "llama"
    assert family_name("llama-ppo-12") == "llama"
    assert family_name("llama-ppo-2-ppo") == "llama"
    assert family_name("llama-dpo-3-ppo") == "llama"
    assert family_name("dpo-llama") == "dpo-llama"
