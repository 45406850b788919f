"""What PPO here and TRL 1.12's make of the same policy, reward model and number of samples.

    pip install --no-deps --target TRL_DIR trl==1.12.0
    python -m benchmarks.ppo_reward WORK_DIR TRL_DIR [iterations]

A reward model on SmolLM2 (TRL's has to share the policy's tokenizer) learns from the simulated
rankings of `benchmarks.ppo_quality`, whose WORK_DIR this may be. Both sides then tune every weight
of SmolLM2 for as many iterations of 16 completions, at the same rate and with the same epochs,
minibatches and lengths, each with its own way from rewards to advantages: TRL with one completion
of 16 prompts and a value model that begins as the reward model, ours with four completions of 4
prompts. One sampler and one scorer measure both, and the policy they began with, on held-out
prompts. What was done before is found in WORK_DIR and not done again.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from app.inference.formatting import encode_prompt
from app.inference.loading import load_model
from app.inference.sampling import SamplingOptions, sample_completions
from app.inference.starters import ensure_starter
from app.training.configs import PPOConfig, RewardModelConfig
from app.training.ppo import train_policy
from app.training.reward_metrics import bootstrap_interval
from app.training.reward_model import train_reward_model
from app.training.reward_scorer import load_scorer
from app.training.rollouts import Prompt
from app.training.task_logprobs import EncodedTask, completion_logprobs
from benchmarks.ppo import (
    COMPLETIONS,
    MINIBATCHES,
    NEW_TOKENS,
    peer_environment,
    peer_trainer,
)
from benchmarks.ppo_quality import (
    HELD_OUT,
    PROMPTS,
    Printer,
    gold_rule,
    rank_tasks,
    read_prompts,
    sample_tasks,
)

EACH = 4
BATCH = 16
REWARD_RATE = 1e-4
# At 1e-5 ours had a KL of no more than 0.55 after 24 iterations.
RATE = 3e-5


def train_judge(work: Path, policy_dir: Path, prompts: Sequence[Prompt]) -> Path:
    """The reward model, of the policy's own backbone."""
    folder = work / "reward-smollm2"
    if not (folder / "model").exists():
        tasks = rank_tasks(prompts, sample_tasks(work, policy_dir, prompts))
        config = RewardModelConfig(backbone="smollm2", learning_rate=REWARD_RATE)
        folder.mkdir(exist_ok=True)
        result = train_reward_model(
            config, policy_dir, tasks, folder, Printer(folder / "metrics.jsonl")
        )
        print(f"reward model: accuracy {result.metrics['accuracy']:.3f}", flush=True)
    return folder / "model"


def tune_ours(
    folders: tuple[Path, Path], prompts: Sequence[Prompt], iterations: int, folder: Path
) -> None:
    """Our policy, in `folder/model`."""
    config = PPOConfig(
        policy="smollm2",
        reward_model="judge",
        iterations=iterations,
        prompts_per_iteration=COMPLETIONS // EACH,
        completions_per_prompt=EACH,
        max_new_tokens=NEW_TOKENS,
        minibatches=MINIBATCHES,
        learning_rate=RATE,
        lora_rank=None,
        evaluate_every=0,
        best_of=1,
    )
    train_policy(config, *folders, prompts, [], folder, Printer(folder / "metrics.jsonl"))


def tune_theirs(
    folders: tuple[Path, Path], prompts: Sequence[Prompt], iterations: int, folder: Path
) -> None:
    """TRL's policy, in `folder/model`."""
    trainer = peer_trainer(
        folders,
        [prompt.messages for prompt in prompts],
        iterations,
        folder / "trl",
        lora=False,
        callbacks=[],
        learning_rate=RATE,
    )
    trainer.train()
    trainer.model.policy.save_pretrained(folder / "model")
    trainer.processing_class.save_pretrained(folder / "model")


def measure(
    name: str, model_dir: Path, policy_dir: Path, judge: Path, prompts: Sequence[Prompt]
) -> None:
    """Print the held-out reward of one policy."""
    loaded, start = load_model(model_dir, "policy"), load_model(policy_dir, "policy")
    score = load_scorer(judge)
    rewards: list[float] = []
    gold: list[float] = []
    kls: list[float] = []
    for first in range(0, len(prompts), BATCH):
        batch = prompts[first : first + BATCH]
        options = SamplingOptions(temperature=1.0, max_new_tokens=NEW_TOKENS, seed=first)
        drawn = sample_completions(
            loaded.model, loaded.tokenizer, [prompt.messages for prompt in batch], 1, options
        )
        for prompt, (answer,) in zip(batch, drawn, strict=True):
            task = EncodedTask(encode_prompt(start.tokenizer, prompt.messages), [answer.token_ids])
            with torch.no_grad():
                ((reference,),) = completion_logprobs(start.model, [task], 0)
            kls.append(sum(answer.logprobs) - reference.sum().item())
        texts = [answer.text for (answer,) in drawn]
        rewards += score(batch, texts)
        gold += gold_rule(batch, texts)
    low, high = bootstrap_interval(rewards, [prompt.id for prompt in prompts]) or (0.0, 0.0)
    print(
        f"{name:<8} reward {sum(rewards) / len(rewards):.3f} [{low:.3f}, {high:.3f}], "
        f"gold {sum(gold) / len(gold):.3f}, KL {sum(kls) / len(kls):.2f}",
        flush=True,
    )


def main() -> None:
    """Prepare, tune on both sides and measure."""
    if sys.argv[1] == "--theirs":
        work, iterations = Path(sys.argv[2]), int(sys.argv[3])
        policy_dir = ensure_starter("smollm2-135m-instruct", work / "models")
        folders = policy_dir, work / "reward-smollm2" / "model"
        tune_theirs(folders, read_prompts()[:PROMPTS], iterations, work / f"theirs-{iterations}")
        return
    work, trl_dir = Path(sys.argv[1]), sys.argv[2]
    iterations = int(sys.argv[3]) if len(sys.argv) > 3 else 20
    work.mkdir(parents=True, exist_ok=True)
    policy_dir = ensure_starter("smollm2-135m-instruct", work / "models")
    prompts = read_prompts()
    train, held_out = prompts[:PROMPTS], prompts[PROMPTS : PROMPTS + HELD_OUT]
    judge = train_judge(work, policy_dir, train)
    ours, theirs = work / f"ours-{iterations}", work / f"theirs-{iterations}"
    measure("before", policy_dir, policy_dir, judge, held_out)
    for name, folder in (("ours", ours), ("theirs", theirs)):
        folder.mkdir(exist_ok=True)
        started = time.monotonic()
        if name == "ours":
            tune_ours((policy_dir, judge), train, iterations, folder)
        else:
            command = [sys.executable, "-m", "benchmarks.ppo_reward", "--theirs"]
            subprocess.run(
                [*command, str(work), str(iterations)], env=peer_environment(trl_dir), check=True
            )
        print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)
        measure(name, folder / "model", policy_dir, judge, held_out)


if __name__ == "__main__":
    main()
