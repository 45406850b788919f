"""How good a reward model gets on debates it never saw.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python -m benchmarks.reward_quality [debates] [fold …]

../shared/data/ukp_pairs_dev.jsonl: people's preferences between arguments of one side of a debate.
MiniLM learns at the defaults of RewardModelConfig, but for what LEARNING says. The topics, each one
side of a debate, are dealt to FOLDS folds; each fold is held out once, and is the seed of its run.
With `debates` before the folds whole debates are dealt, both sides together, which is harder. The
arguments of a side go SIZE to a task in PARTITIONS random partitions, with the pairs among them, so
that a forward pass of an argument serves all its pairs: most of the pairs for a tenth of the passes
that the pairs one by one would take. The accuracy is over every pair of what is held out, scored as
the server scores.
"""

import json
import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from app.inference.loading import load_model
from app.inference.scoring import score
from app.inference.starters import ensure_starter
from app.training.configs import RewardModelConfig
from app.training.ranked_task import RankedTask
from app.training.reward_metrics import bootstrap_interval
from app.training.reward_model import train_reward_model

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "ukp_pairs_dev.jsonl"
BACKBONE = "minilm-l6"
FOLDS = 5
SIZE = 16
PARTITIONS = 2
LEARNING: dict[str, Any] = {"learning_rate": 1e-4, "tasks_per_batch": 2}


@dataclass(frozen=True)
class Pair:
    """One preference."""

    part: str
    """What is held out together: its topic or its debate."""
    prompt: str
    chosen: str
    rejected: str


class Printer:
    """A report that prints the series."""

    def progress(self, fraction: float, stage: str, eta_seconds: float | None = None) -> None:
        """Nothing."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """A line a step."""
        shown = ", ".join(f"{name} {value:.3g}" for name, value in values.items())
        print(f"    {step}: {shown}", flush=True)

    def samples(self, step: int, rows: Sequence[Mapping[str, object]]) -> None:
        """Nothing."""

    def log(self, message: str) -> None:
        """As it is."""
        print(f"    {message}", flush=True)

    def check_cancelled(self) -> None:
        """Never."""


def read_pairs(whole_debates: bool) -> list[Pair]:
    """Every pair; a debate is what its topic says before the side."""
    rows = [json.loads(line) for line in DATA.read_text("utf-8").splitlines()]
    return [
        Pair(
            row["topic"].partition("_")[0] if whole_debates else row["topic"],
            row["prompt"],
            row["chosen"],
            row["rejected"],
        )
        for row in rows
    ]


def make_tasks(pairs: Sequence[Pair], partitions: int, seed: int) -> list[RankedTask]:
    """Tasks of at most `SIZE` arguments of one side, each pair among them a ranking of its own."""
    generator = random.Random(seed)
    sides: dict[str, list[Pair]] = {}
    for pair in pairs:
        sides.setdefault(pair.prompt, []).append(pair)
    tasks = []
    for prompt, of_side in sides.items():
        texts = sorted({text for pair in of_side for text in (pair.chosen, pair.rejected)})
        for _ in range(partitions):
            generator.shuffle(texts)
            for start in range(0, len(texts), SIZE):
                group = texts[start : start + SIZE]
                place = {text: number for number, text in enumerate(group)}
                rankings: list[list[int | None]] = []
                for pair in of_side:
                    if pair.chosen in place and pair.rejected in place:
                        ranks: list[int | None] = [None] * len(group)
                        ranks[place[pair.chosen]], ranks[place[pair.rejected]] = 1, 2
                        rankings.append(ranks)
                tasks.append(
                    RankedTask(
                        prompt_id=of_side[0].part,
                        messages=[{"role": "user", "content": prompt}],
                        completions=group,
                        rankings=rankings,
                    )
                )
    return tasks


def measure(fold: int, pairs: Sequence[Pair], backbone: Path) -> tuple[float, float]:
    """The accuracy on what this fold holds out, and of the longer argument there."""
    parts = sorted({pair.part for pair in pairs})
    random.Random(0).shuffle(parts)
    held_out = set(parts[fold::FOLDS])
    train = [pair for pair in pairs if pair.part not in held_out]
    test = [pair for pair in pairs if pair.part in held_out]
    tasks = make_tasks(train, PARTITIONS, fold)
    # The trainer wants something to hold out for its own report; one part of what is trained on.
    config = RewardModelConfig(backbone=BACKBONE, seed=fold, eval_fraction=0.0, **LEARNING)
    started = time.perf_counter()
    with TemporaryDirectory() as folder:
        result = train_reward_model(config, backbone, tasks, Path(folder), Printer())
        loaded = load_model(result.model_dir, "reward_model")
    seconds = time.perf_counter() - started
    rewards: dict[tuple[str, str], float] = {}
    for prompt in sorted({pair.prompt for pair in test}):
        of_side = [pair for pair in test if pair.prompt == prompt]
        texts = sorted({text for pair in of_side for text in (pair.chosen, pair.rejected)})
        scores = score(loaded.model, loaded.tokenizer, prompt, texts, config.max_length)
        for text, one in zip(texts, scores, strict=True):
            rewards[prompt, text] = one.reward
    wins = [
        float(rewards[pair.prompt, pair.chosen] > rewards[pair.prompt, pair.rejected])
        for pair in test
    ]
    longer = sum(len(pair.chosen) > len(pair.rejected) for pair in test) / len(test)
    accuracy = sum(wins) / len(wins)
    low, high = bootstrap_interval(wins, [pair.part for pair in test]) or (0.0, 0.0)
    print(
        f"fold {fold}: accuracy {accuracy:.3f} ({low:.3f} to {high:.3f} over parts) on "
        f"{len(test)} pairs of {', '.join(sorted(held_out))}; the longer one {longer:.3f}; "
        f"{len(tasks)} tasks, {seconds:.0f} s",
        flush=True,
    )
    return accuracy, longer


def main(arguments: Sequence[str]) -> None:
    """Measure each fold and print the means."""
    whole_debates = "debates" in arguments
    folds = [int(text) for text in arguments if text != "debates"] or list(range(FOLDS))
    backbone = ensure_starter(BACKBONE, Path("/tmp/podium-benchmarks"))
    pairs = read_pairs(whole_debates)
    found = [measure(fold, pairs, backbone) for fold in folds]
    accuracy, longer = (sum(values) / len(values) for values in zip(*found, strict=True))
    print(f"mean of {len(folds)}: accuracy {accuracy:.3f}, the longer one {longer:.3f}")


if __name__ == "__main__":
    main(sys.argv[1:])
