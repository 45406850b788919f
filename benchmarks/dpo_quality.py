"""What DPO makes of a few simulated rankings, on one thread.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python -m benchmarks.dpo_quality WORK_DIR [SETTINGS]

The starter policy writes four completions for each of the first prompts of
`../shared/data/prompts` (a file `completions.jsonl` in WORK_DIR, as `benchmarks.ppo_quality` makes
it, is used where there is one), two simulated labelers rank them by the rule of
docs/simulated-labelers.md, and DPO tunes the starter policy on that. The rule judges before and
after, on prompts that were not trained on; a few of those have rankings too, for the accuracy on
held-out pairs. SETTINGS is a JSON object of other settings than the defaults.
"""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from transformers import AutoTokenizer

from app.inference.starters import ensure_starter
from app.labeling.simulated_rule import measure_completion, rank_completions, utility
from app.training.configs import DPOConfig
from app.training.dpo import tune_on_rankings
from app.training.ranked_task import RankedTask
from app.training.rollouts import Prompt
from benchmarks.ppo_quality import LABELERS, Printer, read_prompts, sample_tasks

TASKS = 48
FIRST_HELD_OUT = 200
HELD_OUT = 16
HELD_OUT_TASKS = 4
LONGEST_COMPLETION = 48


def judge(_prompts: Sequence[Prompt], completions: Sequence[str]) -> list[float]:
    """What the labelers' rule thinks of each text."""
    return [utility(measure_completion(text)) for text in completions]


def main() -> None:
    """Prepare, tune, print before and after."""
    work = Path(sys.argv[1])
    given = json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
    assert given.keys() <= {item.name for item in fields(DPOConfig)}, given
    work.mkdir(parents=True, exist_ok=True)
    policy_dir = ensure_starter("smollm2-135m-instruct", work / "models")
    tokenizer = AutoTokenizer.from_pretrained(policy_dir)
    prompts = read_prompts()
    held_out = prompts[FIRST_HELD_OUT : FIRST_HELD_OUT + HELD_OUT]
    texts = sample_tasks(work, policy_dir, prompts[: FIRST_HELD_OUT + HELD_OUT_TASKS])
    ranked = [*range(TASKS), *range(FIRST_HELD_OUT, FIRST_HELD_OUT + HELD_OUT_TASKS)]
    tasks = [
        RankedTask(
            prompt_id=prompts[place].id,
            messages=prompts[place].messages,
            completions=texts[place],
            rankings=[
                list(
                    rank_completions(prompts[place].messages[0]["content"], texts[place], labeler=n)
                )
                for n in range(LABELERS)
            ],
            finished=[
                len(tokenizer.encode(text, add_special_tokens=False)) < LONGEST_COMPLETION - 1
                for text in texts[place]
            ],
        )
        for place in ranked
    ]
    run_dir = work / ("dpo-" + "-".join(f"{name}={value}" for name, value in given.items()))
    run_dir.mkdir(exist_ok=True)
    config = DPOConfig(policy="starter", **{"eval_prompts": HELD_OUT, **given})
    started = time.monotonic()
    report = Printer(run_dir / "metrics.jsonl")
    result = tune_on_rankings(
        config, policy_dir, tasks, held_out, run_dir, report, judges={"gold": judge}
    )
    print(f"{time.monotonic() - started:.0f} s")
    for moment in (result.before, result.after):
        print({name: value for name, value in moment.items() if name != "samples"})
    print(result.comparison)


if __name__ == "__main__":
    main()
