"""Asking the reward model about an A/B round's completions, from the run directory that made them.

`to_score.jsonl` says which completions of which tasks were there before; those made in this run
are in `completions.jsonl`. Every answer becomes one line of `rewards.jsonl`. People judge the round
with or without it, so a reward model that cannot be asked is noted and ends nothing.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import httpx

from app.generation.asking import (
    COMPLETIONS_FILE,
    INPUTS_FILE,
    ITEMS_FILE,
    PROBE_TIMEOUT_SECONDS,
    drop_torn_line,
)
from app.generation.client import Endpoint, EndpointError, request_json
from app.training.report import Report

TO_SCORE_FILE = "to_score.jsonl"
REWARDS_FILE = "rewards.jsonl"


@dataclass(kw_only=True)
class ScoredTask:
    """A task's prompt and the texts that still lack a reward, by their positions."""

    messages: list[dict[str, str]]
    texts: dict[int, str] = field(default_factory=dict)


def score_completions(run_dir: Path, report: Report, api_keys: Mapping[str, str]) -> None:
    """Have the reward model score what it has not scored; nothing where the round has none.

    Raises:
        Cancelled: the run was asked to stop.
    """
    inputs = json.loads((run_dir / INPUTS_FILE).read_text("utf-8"))
    judge = inputs.get("judge")
    if judge is None:
        return
    endpoint = Endpoint(judge["base_url"], judge["model"], api_keys.get(judge["base_url"]))
    path = run_dir / REWARDS_FILE
    drop_torn_line(path)
    tasks = _read_tasks(run_dir)
    timeout = httpx.Timeout(inputs["timeout_seconds"], connect=PROBE_TIMEOUT_SECONDS)
    with path.open("a", encoding="utf-8") as file, httpx.Client(timeout=timeout) as http:
        for number, (task_id, task) in enumerate(tasks.items(), start=1):
            report.check_cancelled()
            report.progress(1.0, f"Asking {judge['model']}: task {number} of {len(tasks)}")
            try:
                rewards = _ask(http, endpoint, task)
            except (EndpointError, KeyError, TypeError, ValueError) as error:
                report.log(f"{judge['model']} cannot be asked: {error}. People are asked anyway.")
                return
            file.write(json.dumps({"task_id": task_id, "rewards": rewards}) + "\n")
            file.flush()


def iter_rewards(run_dir: Path) -> Iterator[tuple[str, dict[int, float]]]:
    """What was scored so far: each task with its rewards by position."""
    path = run_dir / REWARDS_FILE
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                scored = json.loads(line)
                rewards = {int(at): float(reward) for at, reward in scored["rewards"].items()}
                yield scored["task_id"], rewards


def _ask(http: httpx.Client, endpoint: Endpoint, task: ScoredTask) -> dict[int, float]:
    positions = sorted(task.texts)
    body = {
        "model": endpoint.model,
        "prompt": task.messages,
        "completions": [task.texts[at] for at in positions],
    }
    reply = request_json(http, endpoint, "POST", "/v1/score", body)
    rewards = [float(reward) for reward in reply["rewards"]]
    if len(rewards) != len(positions):
        raise ValueError(f"{len(rewards)} rewards for {len(positions)} completions")
    if not all(map(isfinite, rewards)):
        raise ValueError("a reward is not a finite number")
    return dict(zip(positions, rewards, strict=True))


def _read_tasks(run_dir: Path) -> dict[str, ScoredTask]:
    """Every task that has a text without a reward."""
    messages: dict[str, list[dict[str, str]]] = {}
    texts: dict[str, dict[int, str]] = defaultdict(dict)
    for stored in _iter_lines(run_dir / TO_SCORE_FILE):
        messages[stored["task_id"]] = stored["messages"]
        for completion in stored["completions"]:
            texts[stored["task_id"]][completion["position"]] = completion["text"]
    for item in _iter_lines(run_dir / ITEMS_FILE):
        messages[item["task_id"]] = item["messages"]
    for made in _iter_lines(run_dir / COMPLETIONS_FILE):
        for completion in made["completions"]:
            texts[made["task_id"]][completion["position"]] = completion["text"]
    for task_id, rewards in iter_rewards(run_dir):
        for position in rewards:
            texts[task_id].pop(position, None)
    return {
        task_id: ScoredTask(messages=messages[task_id], texts=found)
        for task_id, found in texts.items()
        if found and task_id in messages
    }


def _iter_lines(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        with path.open(encoding="utf-8") as file:
            yield from map(json.loads, file)
