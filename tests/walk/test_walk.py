"""The whole loop on the real starter models, small: prompts to a tuned policy in a new round."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import SHARED
from tests.running_app import RunningApp, wait_for_job

pytestmark = [pytest.mark.walk, pytest.mark.timeout(1500)]

PROMPTS = [
    "Write one sentence about the sea.",
    "Name three fruits.",
    "Why is the sky blue?",
    "Give a short tip for better sleep.",
    "What is a bicycle?",
    "Say hello to a new neighbour.",
    "Describe winter in a few words.",
    "How do you boil an egg?",
]
COMPLETIONS = 3


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    app = RunningApp(tmp_path_factory.mktemp("walk") / "data")
    try:
        app.wait_until_ready()
        yield app
    finally:
        app.stop()


def rank_everything(labeler: httpx.Client, project_id: str) -> int:
    """Rank every task there is, more words first; how many."""
    ranked = 0
    while (lease := labeler.post(f"/projects/{project_id}/assignments")).status_code == 201:
        assignment = lease.json()
        assert "model" not in json.dumps(assignment)
        assert "policy" not in json.dumps(assignment)
        by_words = sorted(
            assignment["completions"], key=lambda c: len(set(c["text"].split())), reverse=True
        )
        ranks = {completion["id"]: rank for rank, completion in enumerate(by_words, 1)}
        body = {"ranks": ranks, "active_ms": 1500}
        url = f"/assignments/{assignment['id']}/ranking"
        first = labeler.put(url, json=body).raise_for_status().json()
        assert labeler.put(url, json=body).raise_for_status().json() == first
        ranked += 1
    assert lease.status_code == 204
    return ranked


def test_the_whole_loop_on_real_models(running: RunningApp, tmp_path: Path) -> None:
    admin = running.client("admin@example.org", "admin")
    labeler = running.client("labeler@example.org", "labeler")
    researcher = running.client("researcher@example.org", "researcher")

    # Prompts, and a round of completions from the starter policy.
    body = {"name": "Walk", "guidelines": "Prefer **varied** words."}
    project = admin.post("/projects", json=body).raise_for_status().json()["id"]
    assert labeler.post("/projects", json=body).status_code == 403
    imported = admin.post(
        f"/projects/{project}/prompts", json={"prompts": [{"text": text} for text in PROMPTS]}
    ).raise_for_status()
    assert imported.json()["created"] == len(PROMPTS)
    round_body = {
        "policies": ["smollm2-135m-instruct"],
        "completions_per_prompt": COMPLETIONS,
        "sampling": {"temperature": 0.8, "top_p": 0.95, "max_new_tokens": 16, "seed": 1},
        "labelers_per_task": 1,
    }
    round_ = admin.post(f"/projects/{project}/rounds", json=round_body).raise_for_status().json()
    wait_for_job(admin, round_["job_id"], 300)
    made = admin.get(f"/rounds/{round_['id']}").raise_for_status().json()
    assert made["state"] == "open"
    assert made["counts"]["completions"] == len(PROMPTS) * COMPLETIONS

    # A labeler ranks; rankings become pairs; an outside client reads the export.
    assert rank_everything(labeler, project) == len(PROMPTS)
    export = researcher.get(
        f"/projects/{project}/pairs", params={"format": "jsonl", "schema": "trl"}
    ).raise_for_status()
    pairs = [json.loads(line) for line in export.text.splitlines()]
    assert 0 < len(pairs) <= len(PROMPTS) * 3
    assert all(set(pair) == {"prompt", "chosen", "rejected"} for pair in pairs)
    client = SHARED / "clients" / "check_export.py"
    if client.exists():
        path = tmp_path / "pairs.jsonl"
        path.write_text(export.text)
        subprocess.run([sys.executable, str(client), str(path)], check=True, capture_output=True)

    # A reward model on a snapshot.
    snapshot = admin.post(f"/projects/{project}/snapshots", json={}).raise_for_status().json()
    assert snapshot["pairs"] == len(pairs)
    config = {"backbone": "minilm-l6", "snapshot_id": snapshot["id"], "eval_fraction": 0.25}
    job = admin.post(
        "/jobs", json={"kind": "reward_model", "project_id": project, "config": config}
    ).raise_for_status()
    outputs = wait_for_job(admin, job.json()["id"], 300)["outputs"]
    reward_model = outputs["model_id"]
    assert set(outputs["metrics"]) >= {
        "accuracy",
        "log_loss",
        "reward_std",
        "length_correlation",
        "eval_pairs",
    }
    scores = researcher.post(
        f"/models/{reward_model}/score",
        json={"prompt": PROMPTS[0], "completions": ["The sea is wide and blue.", "No."]},
    )
    scored = scores.raise_for_status().json()
    assert len(scored["rewards"]) == len(scored["logits"]) == len(scored["probabilities"]) == 2

    # PPO against it; the new policy generates and goes into the next round.
    config = {
        "policy": "smollm2-135m-instruct",
        "reward_model": reward_model,
        "iterations": 2,
        "prompts_per_iteration": 4,
        "minibatches": 2,
        "max_new_tokens": 12,
        "eval_prompts": 2,
    }
    job = admin.post(
        "/jobs", json={"kind": "ppo", "project_id": project, "config": config}
    ).raise_for_status()
    outputs = wait_for_job(admin, job.json()["id"], 600)["outputs"]
    for side in ("before", "after"):
        assert set(outputs[side]) >= {"reward_mean", "reward_ci95", "kl", "length_mean"}
    metrics = admin.get(f"/jobs/{job.json()['id']}/metrics").raise_for_status().text
    assert "reward_mean" in metrics
    policy = outputs["model_id"]
    lineage = researcher.get(f"/models/{policy}").raise_for_status().text
    for ancestor in ("smollm2-135m-instruct", reward_model, snapshot["id"]):
        assert ancestor in lineage
    generated = researcher.post(
        f"/models/{policy}/generate",
        json={"prompt": PROMPTS[1], "n": 2, "sampling": {"max_new_tokens": 8}},
    )
    assert len(generated.raise_for_status().json()["completions"]) == 2
    round_body = round_body | {"policies": ["smollm2-135m-instruct", policy], "prompt_limit": 2}
    round_body["completions_per_prompt"] = 2
    round_ = admin.post(f"/projects/{project}/rounds", json=round_body).raise_for_status().json()
    wait_for_job(admin, round_["job_id"], 300)
    assert admin.get(f"/rounds/{round_['id']}").json()["counts"]["completions"] == 4
