"""The reward model beside TRL's RewardTrainer, and how its cost grows.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python -m benchmarks.reward_model peer N [steps]
    … python -m benchmarks.reward_model causal [steps]
    … python -m benchmarks.reward_model growth [rankings …]

`peer` trains MiniLM, `causal` SmolLM2 with a prompt three times as long as its completions, both on
the same tasks in the same process: ours from N scores of a task, TRL's trainer from its C(N,2)
pairs, with the same weights at the start, batches, learning rate, AdamW, float32 and threads. The
losses of each step are printed side by side and have to be equal. TRL gets its texts tokenized
beforehand and for nothing; ours are tokenized in the time. Texts are replies of
../shared/data/oasst_rankings.jsonl, drawn anew for N larger than a prompt has replies, in the order
of the draw. Seconds are of the wall and, since other work on the machine stretches those, of the
processor.

`growth` runs the whole of `train_reward_model` on a small random BERT, each size in a process of
its own, and prints seconds and peak memory.
"""

import gc
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from app.inference.starters import ensure_starter
from app.inference.threads import KERNEL_CACHE
from app.training.configs import RewardModelConfig
from app.training.ranked_task import RankedTask
from app.training.reward_model import HEAD_RATE, accumulate_gradients, train_reward_model
from app.training.reward_network import RewardNetwork, load_network

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "oasst_rankings.jsonl"
RATE = 1e-5
TASKS_PER_BATCH = 2
GROWTH = (100, 1_000, 10_000)


class Silent:
    """A report that keeps nothing."""

    def progress(self, fraction: float, stage: str, eta_seconds: float | None = None) -> None:
        """Nothing."""

    def metrics(self, step: int, values: Any) -> None:
        """Nothing."""

    def samples(self, step: int, rows: Any) -> None:
        """Nothing."""

    def log(self, message: str) -> None:
        """Nothing."""

    def check_cancelled(self) -> None:
        """Never."""


class Clock:
    """Seconds of the wall and of the processor since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        """Both."""
        return time.perf_counter() - self._wall, time.process_time() - self._cpu


def read_replies() -> list[tuple[str, list[str]]]:
    """Prompts with their replies."""
    rows = [json.loads(line) for line in DATA.read_text("utf-8").splitlines()]
    return [
        (row["prompt"][-1]["content"], [reply["text"] for reply in row["completions"]])
        for row in rows
    ]


def draw_tasks(count: int, completions: int, seed: int = 0) -> list[RankedTask]:
    """Real prompts with N real replies, those of other prompts where one has too few."""
    generator = random.Random(seed)
    replies = read_replies()
    pool = sorted({text for _, texts in replies for text in texts})
    tasks = []
    for prompt, texts in generator.sample(replies, count):
        others = [text for text in generator.sample(pool, completions) if text not in texts]
        tasks.append(make_task(prompt, [*texts, *others][:completions]))
    return tasks


def draw_long_prompts(
    tokenizer: Any, count: int, completions: int, seed: int = 0
) -> list[RankedTask]:
    """Real replies cut to at most 64 tokens, after a prompt three times their mean length."""
    generator = random.Random(seed)
    pool = sorted({text for _, texts in read_replies() for text in texts})
    tasks = []
    for _ in range(count):
        ids = [tokenizer.encode(text)[:64] for text in generator.sample(pool, completions)]
        words = tokenizer.encode(" ".join(generator.sample(pool, 20)))
        prompt = words[: 3 * sum(len(one) for one in ids) // completions]
        tasks.append(make_task(tokenizer.decode(prompt), [tokenizer.decode(one) for one in ids]))
    return tasks


def make_task(prompt: str, completions: list[str]) -> RankedTask:
    """Ranked in the order in which they are given."""
    return RankedTask(
        prompt_id=prompt,
        messages=[{"role": "user", "content": prompt}],
        completions=completions,
        rankings=[list(range(1, len(completions) + 1))],
    )


def train_ours(
    network: RewardNetwork, tasks: Sequence[RankedTask], config: RewardModelConfig
) -> tuple[list[float], tuple[float, float]]:
    """The losses of the steps, and the seconds of all of them."""
    optimizer = make_optimizer(network)
    ones = torch.ones(TASKS_PER_BATCH, 1)
    losses = []
    clock = Clock()
    for start in range(0, len(tasks), TASKS_PER_BATCH):
        batch = tasks[start : start + TASKS_PER_BATCH]
        loss, _ = accumulate_gradients(network, batch, ones, config)
        nn.utils.clip_grad_norm_(network.model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss)
    return losses, clock.read()


def make_optimizer(network: RewardNetwork) -> torch.optim.Optimizer:
    """The one both sides train with, at a constant rate."""
    groups = network.parameter_groups(HEAD_RATE)
    for group in groups:
        group["lr"] = RATE * group.pop("rate_factor")
    return torch.optim.AdamW(groups, fused=True)


def train_peer(
    network: RewardNetwork, tasks: Sequence[RankedTask]
) -> tuple[list[float], tuple[float, float]]:
    """The same with TRL's RewardTrainer on all pairs of the tasks, in their order."""
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer
    from trl.trainer.reward_trainer import DataCollatorForPreference

    tokenizer = network.tokenizer
    rows = []
    for task in tasks:
        encoded = network.encode(task)
        rows += [
            {"chosen_ids": encoded[i].input_ids, "rejected_ids": encoded[j].input_ids}
            for i in range(len(encoded))
            for j in range(i + 1, len(encoded))
        ]

    class Collator(DataCollatorForPreference):  # type: ignore[misc]
        """TRL's, with BERT's segments, which it does not know."""

        def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
            batch: dict[str, Any] = super().torch_call(examples)
            if tokenizer.sep_token_id is not None:
                ends = (batch["input_ids"] == tokenizer.sep_token_id).long()
                batch["token_type_ids"] = ((ends.cumsum(1) - ends) == 1).long()
            return batch

    if tokenizer.eos_token is None:
        tokenizer.eos_token = tokenizer.sep_token  # TRL raises without one
    optimizer = make_optimizer(network)
    with TemporaryDirectory() as folder:
        trainer = RewardTrainer(
            model=network.model,
            processing_class=tokenizer,
            train_dataset=Dataset.from_list(rows),
            data_collator=Collator(tokenizer.pad_token_id),
            optimizers=(optimizer, constant(optimizer)),
            args=RewardConfig(
                output_dir=folder,
                per_device_train_batch_size=len(rows) * TASKS_PER_BATCH // len(tasks),
                train_sampling_strategy="sequential",
                num_train_epochs=1,
                max_length=None,
                max_grad_norm=1.0,
                gradient_checkpointing=False,
                bf16=False,
                use_cpu=True,
                save_strategy="no",
                report_to=[],
                logging_steps=1,
                disable_tqdm=True,
            ),
        )
        clock = Clock()
        trainer.train()
        seconds = clock.read()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return [float(loss) for loss in losses], seconds


def constant(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LambdaLR:
    """No schedule."""
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)


def compare(backbone: str, tasks: Sequence[RankedTask], max_length: int, repeats: int) -> None:
    """Both sides in turn, `repeats` times from the same weights; the least of each is compared."""
    config = RewardModelConfig(backbone=backbone, precision="fp32", max_length=max_length)
    folder = ensure_starter(backbone, Path("/tmp/podium-benchmarks"))
    ours: list[tuple[float, float]] = []
    peer: list[tuple[float, float]] = []
    lengths: list[int] = []
    for _ in range(repeats):
        network = load_network(folder, config)
        lengths = [len(pair) for task in tasks for pair in network.encode(task)]
        our_losses, seconds = train_ours(network, tasks, config)
        ours.append(seconds)
        del network
        gc.collect()
        peer_losses, seconds = train_peer(load_network(folder, config), tasks)
        peer.append(seconds)
        gc.collect()
        for step, (mine, theirs) in enumerate(zip(our_losses, peer_losses, strict=True), start=1):
            print(f"  step {step}: loss {mine:.5f}, TRL {theirs:.5f}", flush=True)
            if abs(mine - theirs) > 1e-3:
                raise SystemExit("The losses differ: the two sides do not train the same.")
        print(f"  seconds {ours[-1][0]:.1f} and {peer[-1][0]:.1f}", flush=True)
    mean = sum(lengths) / len(lengths)
    print(
        f"{backbone}, N={len(tasks[0].completions)}, {len(tasks)} tasks, {TASKS_PER_BATCH} a step, "
        f"texts of {mean:.0f} tokens on average, the longest {max(lengths)}, "
        f"{torch.get_num_threads()} threads"
    )
    for name, place in (("wall", 0), ("processor", 1)):
        mine, theirs = min(one[place] for one in ours), min(one[place] for one in peer)
        print(f"  {name}: ours {mine:.1f} s, TRL {theirs:.1f} s, {theirs / mine:.1f}×")


def grow(rankings: int) -> None:
    """Train on so many rankings and print seconds and peak memory."""
    from tests.training.tiny import make_backbone

    generator = random.Random(0)
    tasks = []
    for n in range(rankings):
        texts = [
            "".join(generator.choices("abc de", k=generator.randrange(5, 60))) for _ in range(4)
        ]
        tasks.append(make_task(f"say {n}", texts))
    config = RewardModelConfig(backbone="tiny", precision="fp32", max_length=80)
    with TemporaryDirectory() as folder:
        backbone = make_backbone(Path(folder) / "bert")
        start_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        clock = Clock()
        train_reward_model(config, backbone, tasks, Path(folder) / "run", Silent())
        wall, cpu = clock.read()
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        json.dumps({"n": rankings, "wall": wall, "cpu": cpu, "start": start_kib, "peak": peak_kib})
    )


def show_growth(sizes: Sequence[int]) -> None:
    """Each size in a process of its own, and the cost of each further ranking."""
    rows = []
    for size in sizes:
        command = [sys.executable, "-m", "benchmarks.reward_model", "grow", str(size)]
        kept = {**KERNEL_CACHE, **os.environ}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=kept)
        row = json.loads(done.stdout.splitlines()[-1])
        rows.append(row)
        print(
            f"{size:>6} rankings: {row['wall']:.1f} s ({row['cpu']:.1f} s of the processor, "
            f"{1000 * row['cpu'] / size:.1f} ms each), peak {row['peak'] / 1024:.0f} MiB, of which "
            f"{row['start'] / 1024:.0f} MiB before training",
            flush=True,
        )
    for one, other in pairwise(rows):
        more, longer = other["n"] / one["n"], other["cpu"] / one["cpu"]
        memory = other["peak"] / one["peak"]
        print(f"{more:g}× the rankings: {longer:.1f}× the time, {memory:.2f}× the memory")


def main(arguments: Sequence[str]) -> None:
    """Run what is asked for."""
    mode, *rest = arguments
    numbers = [int(text) for text in rest]
    if mode == "grow":
        grow(numbers[0])
    elif mode == "growth":
        show_growth(numbers or GROWTH)
    elif mode == "peer":
        completions, steps = numbers[0], numbers[1] if len(numbers) > 1 else 4
        compare("minilm-l6", draw_tasks(steps * TASKS_PER_BATCH, completions), 256, 2)
    elif mode == "causal":
        from transformers import AutoTokenizer

        folder = ensure_starter("smollm2-135m-instruct", Path("/tmp/podium-benchmarks"))
        steps = numbers[0] if numbers else 3
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tasks = draw_long_prompts(tokenizer, steps * TASKS_PER_BATCH, 4)
        compare("smollm2-135m-instruct", tasks, 512, 1)
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
