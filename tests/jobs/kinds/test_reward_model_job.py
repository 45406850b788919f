"""The reward-model job beyond its model: who said what, and where an ensemble is unsure."""

import json
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Database
from app.jobs.kinds import reward_model
from app.jobs.kinds.ranked_inputs import TASKS_FILE
from app.labeling.rankings import store_ranking
from app.models import Completion, Project, Ranking, RankingSource, Task, TaskState
from app.projects.task_import import import_tasks
from app.settings import Settings
from tests.jobs.kinds.running import run_job
from tests.projects.rounds_factory import make_model, make_project, tasks_of
from tests.training.tiny import make_backbone

TEXTS = ("good", "so so", "bad bad bad")


def rank(session: Session, project: Project, prompts: int, labelers: tuple[str, ...]) -> None:
    """Tasks of three completions; every task is ranked by the next labeler in turn and by lee."""
    tasks = [
        {
            "prompt": f"Prompt {number}",
            "completions": [{"text": f"{text} {number}"} for text in TEXTS],
        }
        for number in range(prompts)
    ]
    round_ = import_tasks(session, None, project, tasks, labelers_per_task=2).round
    for number, task in enumerate(tasks_of(session, round_.id)):
        completions = session.scalars(
            select(Completion).where(Completion.task_id == task.id).order_by(Completion.position)
        ).all()
        for labeler in {labelers[number % len(labelers)], "lee"}:
            store_ranking(
                session,
                task=task,
                labeler=labeler,
                ranks={one.id: place for place, one in enumerate(completions, start=1)},
                ratings={completions[0].id: 7, completions[2].id: 2},
                source=RankingSource.IMPORT,
            )


def test_the_report_knows_labelers_by_a_ranking_and_never_by_name(
    database: Database, data: Settings, tmp_path: Path
) -> None:
    backbone = make_backbone(tmp_path / "bert")
    with database.write() as session:
        project = make_project(session, prompts=0)
        rank(session, project, 20, ("ann", "bob", "cleo", "dana", "lee"))
        model = make_model(session, "tiny-bert", location=str(backbone))
        project_id, model_id = project.id, model.id
    config = {
        "backbone": model_id,
        "eval_fraction": 0.4,
        "eval_labelers": 0.2,
        "margin": "rating",
        "labeler_weights": "agreement",
        "max_length": 64,
    }
    outputs, job = run_job(database, data, reward_model.KIND, project_id, config)
    metrics = outputs["metrics"]
    with database.read() as session:
        keys = {row["ranking_id"] for row in metrics["by_labeler"]}
        names = session.scalars(select(Ranking.labeler).where(Ranking.id.in_(keys))).all()
        assert len(names) == len(set(names)) == len(keys) > 2
        rounds = set(session.scalars(select(Task.round_id)))
        assert {row["round_id"] for row in metrics["by_round"]} == rounds
        for mistake in metrics["worst_mistakes"]:
            assert session.get_one(Ranking, mistake["ranking_id"]).task_id == mistake["task_id"]
            assert (
                session.get_one(Completion, mistake["chosen_completion_id"]).text
                == (mistake["chosen"])
            )
    assert metrics["held_out_labelers"]["labelers"] >= 1
    assert [row["distance"] for row in metrics["by_rank_distance"]] == [1, 2]
    written = json.dumps(outputs) + (data.runs_dir / job.id / TASKS_FILE).read_text()
    assert not any(name in written for name in ("ann", "bob", "cleo", "dana", "lee"))
    lines = (data.runs_dir / job.id / TASKS_FILE).read_text().splitlines()
    assert json.loads(lines[0])["ratings"][0] == [7, None, 2]


def test_an_ensemble_says_of_every_open_or_ranked_task_how_unsure_it_is(
    database: Database, data: Settings, tmp_path: Path
) -> None:
    backbone = make_backbone(tmp_path / "bert")
    with database.write() as session:
        project = make_project(session, prompts=0)
        rank(session, project, 6, ("ann", "bob"))
        unranked = import_tasks(
            session,
            None,
            project,
            [{"prompt": "Another", "completions": [{"text": "one"}, {"text": "two"}]}],
        ).round
        pending = import_tasks(
            session,
            None,
            project,
            [{"prompt": "A third", "completions": [{"text": "one"}, {"text": "two"}]}],
        ).round
        tasks_of(session, pending.id)[0].state = TaskState.PENDING
        model = make_model(session, "tiny-bert", location=str(backbone))
        project_id, model_id = project.id, model.id
        open_id, pending_id = (tasks_of(session, one.id)[0].id for one in (unranked, pending))
    config = {"backbone": model_id, "heads": 3, "max_length": 64}
    outputs, job = run_job(database, data, reward_model.KIND, project_id, config)
    with database.read() as session:
        found = dict(session.execute(select(Task.id, Task.uncertainty)).all())
    assert found.pop(pending_id) is None
    assert len(found) == 7
    assert all(spread is not None and spread > 0 for spread in found.values())
    result = json.loads((data.runs_dir / job.id / reward_model.RESULT_FILE).read_text())
    assert found[open_id] == pytest.approx(result["uncertainty"][open_id])
    assert outputs["metrics"]["uncertainty"]["heads"] == 3
