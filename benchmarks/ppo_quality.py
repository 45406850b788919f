"""Whether PPO raises the held-out reward, at the defaults, for every seed.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python -m benchmarks.ppo_quality WORK_DIR [seed …]

The starter policy writes four completions for each of PROMPTS prompts (`../shared/data/prompts`),
two simulated labelers rank them by the rule of docs/simulated-labelers.md, a reward model learns
from that with its defaults, and PPO tunes the starter policy against it once for each seed. What
was done before is found in WORK_DIR and not done again. Held-out prompts are seen by neither.
"""

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from app.inference.loading import load_model
from app.inference.sampling import SamplingOptions, sample_completions
from app.inference.starters import ensure_starter
from app.labeling.simulated_rule import measure_completion, rank_completions, utility
from app.training.configs import PPOConfig, RewardModelConfig
from app.training.ppo import train_policy
from app.training.ranked_task import RankedTask
from app.training.reward_model import train_reward_model
from app.training.rollouts import Prompt

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "prompts"
PROMPTS = 320
HELD_OUT = 64
LONGEST_PROMPT = 400
COMPLETIONS = 4
LABELERS = 2
BATCH = 8


class Printer:
    """A report that prints what changes and keeps the series."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def progress(self, fraction: float, stage: str, eta_seconds: float | None = None) -> None:
        """Nothing: metrics say enough."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """A line a step."""
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")

    def samples(self, step: int, rows: Sequence[Mapping[str, object]]) -> None:
        """Nothing."""

    def log(self, line: str) -> None:
        """As it is."""
        print(" ", line, flush=True)

    def check_cancelled(self) -> None:
        """Never."""


def read_prompts() -> list[Prompt]:
    """The short prompts of the three public files, in an order that mixes them."""
    found = []
    for path in sorted(DATA.glob("*.jsonl")):
        for number, line in enumerate(path.read_text("utf-8").splitlines()):
            row = json.loads(line)
            text = row["turns"][0] if "turns" in row else row["instruction"]
            instances = row.get("instances") or [{}]
            if extra := row.get("input") or instances[0].get("input"):
                text = f"{text}\n\n{extra}"
            if len(text) <= LONGEST_PROMPT:
                found.append((number, path.stem, text))
    return [
        Prompt(f"{stem}-{number}", [{"role": "user", "content": text}])
        for number, stem, text in sorted(found)
    ]


def sample_tasks(work: Path, policy_dir: Path, prompts: Sequence[Prompt]) -> list[list[str]]:
    """Four completions of each prompt, kept in a file from one run to the next."""
    path = work / "completions.jsonl"
    done = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    policy = load_model(policy_dir, "policy")
    options = SamplingOptions(temperature=1.0, max_new_tokens=48, seed=1)
    started = time.monotonic()
    for start in range(len(done), len(prompts), BATCH):
        batch = prompts[start : start + BATCH]
        answers = sample_completions(
            policy.model,
            policy.tokenizer,
            [prompt.messages for prompt in batch],
            COMPLETIONS,
            replace(options, seed=start + 1),
        )
        texts = [[answer.text for answer in of_prompt] for of_prompt in answers]
        with path.open("a") as file:
            file.writelines(json.dumps(one) + "\n" for one in texts)
        done += texts
        print(f"  {len(done)} prompts, {time.monotonic() - started:.0f} s", flush=True)
    return done


def rank_tasks(prompts: Sequence[Prompt], texts: Sequence[list[str]]) -> list[RankedTask]:
    """The completions of each prompt with the simulated labelers' rankings of them."""
    return [
        RankedTask(
            prompt_id=prompt.id,
            messages=prompt.messages,
            completions=of_prompt,
            rankings=[
                rank_completions(prompt.messages[0]["content"], of_prompt, labeler=labeler)
                for labeler in range(LABELERS)
            ],
        )
        for prompt, of_prompt in zip(prompts, texts, strict=True)
    ]


def main() -> None:
    """Prepare, then tune once a seed and print before and after."""
    work = Path(sys.argv[1])
    seeds = [int(seed) for seed in sys.argv[2:]] or [0, 1, 2]
    work.mkdir(parents=True, exist_ok=True)
    policy_dir = ensure_starter("smollm2-135m-instruct", work / "models")
    backbone = ensure_starter("minilm-l6", work / "models")
    prompts = read_prompts()
    train, held_out = prompts[:PROMPTS], prompts[PROMPTS : PROMPTS + HELD_OUT]
    texts = sample_tasks(work, policy_dir, train)
    tasks = rank_tasks(train, texts)
    if not (work / "reward" / "model").exists():
        started = time.monotonic()
        result = train_reward_model(
            RewardModelConfig(backbone="minilm-l6"),
            backbone,
            tasks,
            work / "reward",
            Printer(work / "reward.jsonl"),
        )
        figures = {name: result.metrics[name] for name in ("accuracy", "longer_wins_accuracy")}
        print(f"reward model {time.monotonic() - started:.0f} s, {figures}", flush=True)
    for seed in seeds:
        tune(work, policy_dir, train, held_out, seed, overrides())
    print("done")


def overrides() -> dict[str, Any]:
    """Settings from the environment variable PPO_OVERRIDES, a JSON object; for trying others."""
    given = json.loads(os.environ.get("PPO_OVERRIDES", "{}"))
    names = {item.name for item in fields(PPOConfig)}
    assert given.keys() <= names, given.keys() - names
    return dict(given)


def tune(
    work: Path,
    policy_dir: Path,
    train: Sequence[Prompt],
    held_out: Sequence[Prompt],
    seed: int,
    given: Mapping[str, Any],
) -> None:
    """One run of PPO."""
    config = PPOConfig(policy="starter", reward_model="trained", **{"seed": seed, **given})
    label = "-".join([str(seed), *(f"{name}={value}" for name, value in given.items())])
    run_dir = work / f"ppo-{label}"
    run_dir.mkdir(exist_ok=True)
    started = time.monotonic()
    result = train_policy(
        config,
        policy_dir,
        work / "reward" / "model",
        train,
        held_out,
        run_dir,
        Printer(run_dir / "metrics.jsonl"),
        {"gold": gold_rule},
    )
    print(f"{label}: {time.monotonic() - started:.0f} s")
    for name, figures in (
        ("before", result.before),
        ("after", result.after),
        ("best of n", result.best_of or {}),
    ):
        if figures:
            print(f"  {name:<10}{describe(figures)}", flush=True)
    print(f"  kept iteration {result.iteration}, {result.comparison}", flush=True)


def describe(figures: Mapping[str, Any]) -> str:
    """A line of figures."""
    low, high = figures["reward_ci95"]
    return (
        f"reward {figures['reward_mean']:.3f} [{low:.3f}, {high:.3f}]  "
        f"gold {figures['gold_mean']:.3f}  kl {figures['kl']:.2f}  "
        f"length {figures['length_mean']:.1f}"
    )


def gold_rule(prompts: Sequence[Prompt], completions: Sequence[str]) -> list[float]:
    """What the simulated labelers were meant to say."""
    assert len(prompts) == len(completions)
    return [utility(measure_completion(text)) for text in completions]


if __name__ == "__main__":
    main()
