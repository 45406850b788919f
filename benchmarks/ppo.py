"""PPO iterations beside those of TRL 1.12, the last with a PPO: seconds and peak memory.

    pip install --no-deps --target TRL_DIR trl==1.12.0
    python -m benchmarks.ppo WORK_DIR TRL_DIR [full|lora] [completions per prompt] [iterations]
    python -m benchmarks.ppo WORK_DIR growth

Both tune SmolLM2-135M against a reward model of the same backbone (TRL's has to share the policy's
tokenizer) with 16 completions of 48 tokens an iteration, 4 minibatches, one pass, Adam, float32 and
as many threads. TRL gets a value model and a reference of its own, as it asks for; ours has one
trunk. Neither checkpoints gradients. With several completions of a prompt TRL's batch holds the
prompt as often. Each side runs in a process of its own, one after the other, and the first
iteration, which warms up, does not count.

`growth` has no other side: one iteration with LoRA and 16, 64 and 256 prompts of one completion,
each in a process of its own, with the seconds of the processor.
"""

import json
import os
import resource
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

COMPLETIONS = 16
NEW_TOKENS = 48
MINIBATCHES = 4
LEARNING_RATE = 1e-5
LORA_RANK = 8
MAX_LENGTH = 256
GROWTH = (16, 64, 256)
QUESTIONS = Path(__file__).resolve().parents[2] / "shared" / "data" / "prompts"


def questions(count: int) -> list[list[dict[str, str]]]:
    """Short prompts, each as messages."""
    from benchmarks.ppo_quality import read_prompts

    short = [one.messages for one in read_prompts() if len(one.messages[0]["content"]) < 300]
    return short[:count]


def prepare(work: Path) -> tuple[Path, Path]:
    """The folders of the policy and of a reward model on its backbone, with an untaught head."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from app.inference.starters import ensure_starter

    policy = ensure_starter("smollm2-135m-instruct", work / "models")
    reward = work / "reward"
    if not (reward / "config.json").exists():
        tokenizer = AutoTokenizer.from_pretrained(policy)
        model = AutoModelForSequenceClassification.from_pretrained(policy, num_labels=1)
        model.config.pad_token_id = tokenizer.pad_token_id
        model.save_pretrained(reward)
        tokenizer.save_pretrained(reward)
    return policy, reward


def run_ours(
    work: Path, lora: bool, each: int, iterations: int, completions: int = COMPLETIONS
) -> dict[str, Any]:
    """Seconds of each iteration and stage; the first iteration warms up where others follow."""
    import torch

    from app.training.advantages import leave_one_out
    from app.training.configs import PPOConfig
    from app.training.policy import load_policy
    from app.training.ppo_update import update_policy
    from app.training.reward_scorer import load_scorer
    from app.training.rollouts import Prompt, collect_rollout

    class Silence:
        """A report that says nothing."""

        def progress(self, *_: object) -> None: ...
        def metrics(self, *_: object) -> None: ...
        def samples(self, *_: object) -> None: ...
        def log(self, _: str) -> None: ...
        def check_cancelled(self) -> None: ...

    policy_dir, reward_dir = prepare(work)
    config = PPOConfig(
        policy="ours",
        reward_model="reward",
        prompts_per_iteration=completions // each,
        completions_per_prompt=each,
        max_new_tokens=NEW_TOKENS,
        minibatches=MINIBATCHES,
        learning_rate=LEARNING_RATE,
        lora_rank=LORA_RANK if lora else None,
    )
    tokenizer, policy = load_policy(policy_dir, config.lora_rank, 0)
    score = load_scorer(reward_dir)
    trained = [weight for weight in policy.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=LEARNING_RATE, eps=1e-5)
    asked = [Prompt(str(n), said) for n, said in enumerate(questions(completions // each))]
    seconds, stages = [], []
    warm_up = 1 if iterations > 1 else 0
    for iteration in range(1, iterations + 1 + warm_up):
        started = time.monotonic()
        rollout = collect_rollout(
            policy,
            tokenizer,
            score,
            asked,
            Silence(),
            temperature=1.0,
            max_new_tokens=NEW_TOKENS,
            seed=iteration,
            completions_per_prompt=each,
        )
        trained_at = time.monotonic()
        scores = leave_one_out(rollout.scores - rollout.scores.mean(), each)
        update_policy(policy, optimizer, rollout, scores, 0.05, config, iteration, Silence())
        ended = time.monotonic()
        seconds.append(ended - started)
        stages.append({**rollout.seconds, "train_seconds": ended - trained_at})
    means = {
        name: sum(one[name] for one in stages[warm_up:]) / iterations
        for name in (
            "generate_seconds",
            "score_seconds",
            "logprobs_seconds",
            "train_seconds",
        )
    }
    return {"seconds": seconds[warm_up:], "stages": means, "threads": torch.get_num_threads()}


def peer_trainer(
    folders: tuple[Path, Path],
    prompts: list[list[dict[str, str]]],
    iterations: int,
    output: Path,
    *,
    lora: bool,
    callbacks: list[Any],
    learning_rate: float = LEARNING_RATE,
) -> Any:
    """TRL's PPOTrainer of a policy and a reward model, asked these prompts in a random order."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        AutoTokenizer,
    )
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    from app.inference.formatting import encode_prompt

    policy_dir, reward_dir = folders
    tokenizer = AutoTokenizer.from_pretrained(policy_dir, padding_side="left")
    asked = [encode_prompt(tokenizer, said) for said in prompts]

    def causal() -> Any:
        return AutoModelForCausalLM.from_pretrained(policy_dir, dtype=torch.float32)

    def classifier() -> Any:
        return AutoModelForSequenceClassification.from_pretrained(
            reward_dir, num_labels=1, dtype=torch.float32
        )

    arguments = PPOConfig(
        output_dir=str(output),
        per_device_train_batch_size=COMPLETIONS // MINIBATCHES,
        gradient_accumulation_steps=MINIBATCHES,
        num_mini_batches=MINIBATCHES,
        num_ppo_epochs=1,
        local_rollout_forward_batch_size=COMPLETIONS,
        response_length=NEW_TOKENS,
        temperature=1.0,
        stop_token="eos",  # a token of text
        total_episodes=COMPLETIONS * iterations,
        learning_rate=learning_rate,
        optim="adamw_torch",
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        num_sample_generations=0,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
    )
    return PPOTrainer(
        args=arguments,
        processing_class=tokenizer,
        model=causal(),
        ref_model=None if lora else causal(),
        reward_model=classifier(),
        value_model=classifier(),
        train_dataset=Dataset.from_dict({"input_ids": asked}),
        callbacks=callbacks,
        peft_config=LoraConfig(
            task_type="CAUSAL_LM",
            r=LORA_RANK,
            lora_alpha=2 * LORA_RANK,
            target_modules="all-linear",
        )
        if lora
        else None,
    )


def run_theirs(work: Path, lora: bool, each: int, iterations: int) -> dict[str, Any]:
    """Seconds of each iteration of TRL's PPOTrainer."""
    import torch
    from transformers import TrainerCallback

    ended: list[float] = []

    class Clock(TrainerCallback):
        """Notes when each iteration ended."""

        def on_step_end(self, *_: Any, **__: Any) -> None:
            ended.append(time.monotonic())

    prompts = [said for said in questions(COMPLETIONS // each) for _ in range(each)]
    trainer = peer_trainer(
        prepare(work), prompts, iterations + 1, work / "trl", lora=lora, callbacks=[Clock()]
    )
    trainer.train()
    return {
        "seconds": [after - before for before, after in pairwise(ended)],
        "threads": torch.get_num_threads(),
    }


def peer_environment(trl_dir: str) -> dict[str, str]:
    """The environment of a process that imports TRL from its own folder."""
    path = f"{trl_dir}:{os.environ.get('PYTHONPATH', '')}"
    return os.environ | {
        "TRL_EXPERIMENTAL_SILENCE": "1",
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": path,
    }


def measure(side: str, arguments: list[str], trl_dir: str) -> dict[str, Any]:
    """What one side says of itself, from a process of its own."""
    command = [sys.executable, "-m", "benchmarks.ppo", "--side", side, *arguments]
    environment = peer_environment(trl_dir) if side == "theirs" else dict(os.environ)
    ended = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    result: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return result


def run_side(side: str, work: Path, mode: str, each: int, iterations: int, *more: int) -> None:
    """One side in this process; prints what it took."""
    run: Any = run_ours if side == "ours" else run_theirs
    result = run(work, mode == "lora", each, iterations, *more)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    measured = {"peak_mb": usage.ru_maxrss / 1024, "processor": usage.ru_utime + usage.ru_stime}
    print(json.dumps({**result, **measured}))


def grow(work: str) -> None:
    """How an iteration's cost grows with its prompts."""
    for prompts in GROWTH:
        found = measure("ours", [work, "lora", "1", "1", str(prompts)], "")
        stages = {name: round(value, 1) for name, value in found["stages"].items()}
        print(
            f"{prompts:>4} prompts: {found['seconds'][0]:6.1f} s, "
            f"{1000 * found['seconds'][0] / prompts:.0f} ms each, "
            f"processor {found['processor']:.0f} s with loading, peak {found['peak_mb']:,.0f} MB "
            f"{stages}",
            flush=True,
        )


def main() -> None:
    """Both sides and the ratios, or the growth."""
    if sys.argv[1] == "--side":
        side, work, mode, *numbers = sys.argv[2:]
        run_side(side, Path(work), mode, *map(int, numbers))
        return
    if sys.argv[2] == "growth":
        prepare(Path(sys.argv[1]))
        grow(sys.argv[1])
        return
    work, trl_dir = sys.argv[1:3]
    mode = sys.argv[3] if len(sys.argv) > 3 else "full"
    each = sys.argv[4] if len(sys.argv) > 4 else "1"
    iterations = sys.argv[5] if len(sys.argv) > 5 else "2"
    Path(work).mkdir(parents=True, exist_ok=True)
    prepare(Path(work))
    sides = {
        side: measure(side, [work, mode, each, iterations], trl_dir) for side in ("ours", "theirs")
    }
    print(f"{mode}, {COMPLETIONS // int(each)} prompts x {each} completions")
    for side, found in sides.items():
        mean = sum(found["seconds"]) / len(found["seconds"])
        stages = {name: round(value, 1) for name, value in found.get("stages", {}).items()}
        print(
            f"  {side:<7}{mean:6.1f} s an iteration, peak {found['peak_mb']:,.0f} MB, "
            f"{found['threads']} threads {stages}"
        )
    best = {side: min(found["seconds"]) for side, found in sides.items()}
    print(
        f"  {best['theirs'] / best['ours']:.2f} times as fast, with "
        f"{sides['ours']['peak_mb'] / sides['theirs']['peak_mb']:.2f} of the memory"
    )


if __name__ == "__main__":
    main()
