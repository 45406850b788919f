"""The people's verdict on tiny real models: real processes write, score, and are agreed with."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from sqlalchemy import select
from transformers import AutoModelForCausalLM

from app.db import Database
from app.inference.loading import load_model
from app.inference.scoring import score
from app.models import Completion, CompletionReward, Model, ModelSource, Prompt, Task
from app.settings import Settings
from tests.evaluation.contests import make_contest
from tests.running_app import RunningApp, wait_for_job

pytestmark = pytest.mark.slow

PROMPTS = 6


@pytest.fixture
def tuned_dir(policy_dir: Path, tmp_path: Path) -> Path:
    """The tiny policy with other weights, as tuning leaves it."""
    folder = tmp_path / "tuned"
    shutil.copytree(policy_dir, folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    torch.manual_seed(5)
    with torch.no_grad():
        for weights in model.parameters():
            weights.add_(0.1 * torch.randn_like(weights))
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningApp]:
    app = RunningApp(tmp_path / "data", OMP_NUM_THREADS="1")
    yield app
    app.stop()


@pytest.fixture
def database(running: RunningApp) -> Iterator[Database]:
    """The tables of the running app."""
    running.wait_until_ready()
    database = Database(Settings(data_dir=running.data_dir).resolved_database_url)
    yield database
    database.dispose()


def test_the_reward_model_is_asked_and_held_against_the_people(
    running: RunningApp,
    database: Database,
    policy_dir: Path,
    tuned_dir: Path,
    reward_model_dir: Path,
) -> None:
    with database.write() as session:
        contest = make_contest(session, prompts=PROMPTS, held_out=PROMPTS)
        for name, folder in (("old", policy_dir), ("new", tuned_dir), ("judge", reward_model_dir)):
            model = session.get_one(Model, name)
            model.source, model.location = ModelSource.FOLDER, str(folder)
    admin = running.client("ada@example.org", "admin")
    labeler = running.client("lena@example.org", "labeler")
    asked = {"sampling": {"temperature": 1.0, "max_new_tokens": 8, "seed": 3}}
    round_ = admin.post(f"/jobs/{contest.job_id}/evaluation", json=asked).raise_for_status().json()
    wait_for_job(admin, round_["job_id"], 120)

    # The stored rewards are those that the model gives when it is asked without any server.
    judge = load_model(reward_model_dir, "reward_model")
    rewards: dict[str, float] = {}
    policies: dict[str, str | None] = {}
    with database.read() as session:
        for prompt, completion, stored in session.execute(
            select(Prompt, Completion, CompletionReward.reward)
            .join(Task, Task.prompt_id == Prompt.id)
            .join(Completion, Completion.task_id == Task.id)
            .join(CompletionReward, CompletionReward.completion_id == Completion.id)
        ):
            [given] = score(judge.model, judge.tokenizer, prompt.messages, [completion.text])
            assert stored == pytest.approx(given.reward, abs=1e-4)
            rewards[completion.id] = given.reward
            policies[completion.id] = completion.model_id
    assert len(rewards) == 2 * PROMPTS
    assert len(set(rewards.values())) > 2, "the tiny model tells texts apart"

    # A labeler whom the model is right about twice, then wrong, then tied, and right again.
    agreed, won, model_won = 0.0, 0.0, 0.0
    for number in range(PROMPTS):
        lease = labeler.post(f"/projects/{contest.project_id}/assignments").raise_for_status()
        ids = [one["id"] for one in lease.json()["completions"]]
        better, worse = sorted(ids, key=lambda one: -rewards[one])
        ranks = {better: 1 + (number == 2), worse: 2 - (number in (2, 3))}
        path = f"/assignments/{lease.json()['id']}/ranking"
        labeler.put(path, json={"ranks": ranks}).raise_for_status()
        tied = rewards[better] == rewards[worse]
        agreed += 0.0 if number == 3 else 0.5 if tied else float(number != 2)
        best = worse if number == 2 else better
        won += 0.5 if number == 3 else policies[best] == "new"
        model_won += 0.5 if tied else policies[better] == "new"
    found = admin.get(f"/rounds/{round_['id']}/evaluation").raise_for_status().json()
    assert (found["through"], found["rewards_missing"]) == (True, 0)
    assert found["win_rate"]["value"] == pytest.approx(won / PROMPTS)
    held = found["reward_model"]
    assert (held["model_id"], held["tied_by_people"]) == ("judge", 1)
    assert held["agreement"]["value"] == pytest.approx(agreed / (PROMPTS - 1))
    assert held["win_rate"]["value"] == pytest.approx(model_won / PROMPTS)
