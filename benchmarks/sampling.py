"""Sampling speed of the starter policy, beside transformers' own `generate`, in one process.

    OMP_NUM_THREADS=2 OMP_WAIT_POLICY=PASSIVE python benchmarks/sampling.py MODELS_DIR

Both draw 48 tokens a completion and never stop early. Ours and theirs take turns, and the best of
two counts, because other work on the machine only ever adds time. The floor is what reading every
weight once a step takes at the bandwidth that summing a large tensor reaches here.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from app.inference.formatting import encode_prompt
from app.inference.loading import LoadedModel, load_model
from app.inference.sampling import SamplingOptions, pad_left, sample_completions
from app.inference.starters import ensure_starter

QUESTIONS = [
    "Why is the sky blue?",
    "Write a short poem about rain.",
    "How do I boil an egg?",
    "Name three uses of a brick.",
    "Explain recursion to a child.",
    "What is the capital of France, and why?",
    "Give me tips to sleep better.",
    "Translate 'good morning' to Spanish.",
]
NEW_TOKENS = 48
REPEATS = 2
BANDWIDTH_BYTES = 1 << 30


def best_seconds(*runs: Callable[[], object]) -> list[float]:
    """The shortest time of each run, taken in turns."""
    best = [float("inf")] * len(runs)
    for _ in range(REPEATS):
        for index, run in enumerate(runs):
            started = time.perf_counter()
            run()
            best[index] = min(best[index], time.perf_counter() - started)
    return best


def ours(policy: LoadedModel, prompts: list[list[int]], n: int) -> None:
    options = SamplingOptions(
        temperature=0.8, top_p=0.95, max_new_tokens=NEW_TOKENS, seed=1, stop_token_ids=()
    )
    sample_completions(policy.model, policy.tokenizer, prompts, n, options)


def theirs(policy: LoadedModel, prompts: list[list[int]], n: int) -> None:
    input_ids, attention_mask = pad_left(prompts, policy.tokenizer.pad_token_id, "cpu")
    with torch.no_grad():
        policy.model.generate(
            input_ids,
            attention_mask=attention_mask,
            do_sample=True,
            temperature=0.8,
            top_p=0.95,
            top_k=0,
            num_return_sequences=n,
            min_new_tokens=NEW_TOKENS,
            max_new_tokens=NEW_TOKENS,
        )


def bytes_per_second() -> float:
    """The memory bandwidth, the best of five sums over a gigabyte."""
    large = torch.ones(BANDWIDTH_BYTES // 4)
    large.sum()
    return BANDWIDTH_BYTES / min(best_seconds(large.sum)[0] for _ in range(3))


def report(name: str, completions: int, mine: float, other: float, floor: float) -> None:
    """One line of figures."""
    speed = completions * NEW_TOKENS / mine
    print(
        f"{name}: {mine:.2f} s, {speed:.0f} tokens a second, the floor {floor / mine:.0%} of it; "
        f"transformers {other:.2f} s, {other / mine:.2f}x",
        flush=True,
    )


def main() -> None:
    """Print one line for each shape: prompts x completions, seconds, ratio."""
    policy = load_model(ensure_starter("smollm2-135m-instruct", Path(sys.argv[1])), "policy")
    prompts = [
        encode_prompt(policy.tokenizer, [{"role": "user", "content": question}])
        for question in QUESTIONS
    ]
    weights = sum(one.numel() * one.element_size() for one in policy.model.parameters())
    bandwidth = bytes_per_second()
    floor = NEW_TOKENS * weights / bandwidth
    print(
        f"threads {torch.get_num_threads()}, {bandwidth / 1e9:.1f} GB a second, "
        f"{weights / 1e6:.0f} MB of weights: floor {floor:.2f} s"
    )
    for count, n in ((1, 4), (1, 8), (8, 4)):
        asked = prompts[:count]
        mine, other = best_seconds(
            lambda asked=asked, n=n: ours(policy, asked, n),
            lambda asked=asked, n=n: theirs(policy, asked, n),
        )
        report(f"{count} x {n}", count * n, mine, other, floor)
    mine, other = best_seconds(
        lambda: ours(policy, prompts[:1], 8),
        lambda: [theirs(policy, prompts[:1], 1) for _ in range(8)],
    )
    report("1 x 8 against 8 single calls", 8, mine, other, floor)
    together, one_by_one = best_seconds(
        lambda: ours(policy, prompts, 4),
        lambda: [ours(policy, [prompt], 4) for prompt in prompts],
    )
    print(
        f"8 x 4 together {together:.2f} s, a prompt at a time {one_by_one:.2f} s, "
        f"{one_by_one / together:.2f}x"
    )


if __name__ == "__main__":
    main()
