"""Configurations of the training jobs: the source of their forms, REST schemas and docs.

Nothing here imports torch, so that the web process may read it. Every field carries its help text,
and its range where it has one, in `metadata`.
"""

from dataclasses import dataclass, field
from typing import Any


def option(
    default: Any,
    help_text: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    unit: str | None = None,
    reference: str | None = None,
    advanced: bool = False,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """A dataclass field with its help text, range (inclusive), unit and `reference`.

    `reference` names what the value points at (`policy`, `reward_model`, `backbone`, `snapshot`,
    `round`), so that a form can offer a choice instead of a text box. `choices` are all the values
    that a text may have. `advanced` fields are folded away in forms.
    """
    metadata = {
        "help": help_text,
        "minimum": minimum,
        "maximum": maximum,
        "unit": unit,
        "reference": reference,
        "advanced": advanced,
        "choices": choices,
    }
    if default is ...:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class RewardModelConfig:
    """Train a reward model on a snapshot of pairs."""

    backbone: str = option(..., "Model the reward model starts from.", reference="backbone")
    snapshot_id: str | None = option(
        None, "Frozen pairs to train on; empty takes a fresh snapshot.", reference="snapshot"
    )
    epochs: int = option(
        1, "Passes over the rankings; InstructGPT found one best.", minimum=1, maximum=20
    )
    # For the starter encoder and the size of a first round. One seed, one epoch over 70 rankings of
    # three or four completions cut to 64 tokens, 218 held-out pairs, log-loss (accuracy):
    # 0.687 (0.62) at 1e-4, 0.666 (0.68) at 2e-4, 0.597 (0.66) at 4e-4, all four to a step; 0.692
    # (0.62) at the customary 5e-5, eight to a step. 3e-4 lies between the best two and was not run
    # itself; the accuracies are within chance of each other and below "the longer wins" (0.74).
    # Large causal backbones will want much less.
    learning_rate: float = option(
        3e-4, "Peak learning rate of AdamW, decayed to zero.", minimum=1e-8, maximum=1e-1
    )
    tasks_per_batch: int = option(
        4,
        "Tasks per step; all completions of a task go together.",
        minimum=1,
        maximum=512,
        advanced=True,
    )
    max_length: int = option(
        256,
        "Longest prompt plus completion.",
        minimum=16,
        maximum=8192,
        unit="tokens",
        advanced=True,
    )
    eval_fraction: float = option(
        0.1, "Share of prompts held out for the report.", minimum=0.0, maximum=0.5, advanced=True
    )
    eval_labelers: float = option(
        0.1,
        "Largest share of the rankings to leave out of training, all of some labelers, so that the "
        "report can say how the model does on people it never saw. Needs three labelers.",
        minimum=0.0,
        maximum=0.5,
        advanced=True,
    )
    labeler_weights: str = option(
        "equal",
        "Where several people ranked a task: all count the same (`equal`), or each the more the "
        "oftener the others agree with them (`agreement`).",
        choices=("equal", "agreement"),
        advanced=True,
    )
    margin: str = option(
        "none",
        "How much further apart a clearer preference should lie (Llama 2): not at all, by distance "
        "in rank, or by difference of ratings where there are ratings.",
        choices=("none", "rank", "rating"),
        advanced=True,
    )
    label_smoothing: float = option(
        0.0,
        "Share of the preferences taken to be wrong, which keeps rewards from growing.",
        minimum=0.0,
        maximum=0.49,
        advanced=True,
    )
    centring: float = option(
        0.0,
        "Weight of the squared sum of a pair's rewards, which holds rewards near 0 while training "
        "(Eisenstein et al. 2023 took 0.01); without it they are centred at the end.",
        minimum=0.0,
        maximum=10.0,
        advanced=True,
    )
    heads: int = option(
        1,
        "Heads of an ensemble on one trunk: the reward is their mean, and where they disagree the "
        "model is unsure. Their tasks' weights differ at random. Cheap, and less telling than "
        "whole models trained apart would be.",
        minimum=1,
        maximum=64,
        advanced=True,
    )
    lora_rank: int | None = option(
        None,
        "Rank of LoRA adapters on the trunk, for backbones too large to train whole; empty trains "
        "every weight. Adapters want a higher learning rate.",
        minimum=1,
        maximum=256,
        advanced=True,
    )
    gradient_checkpointing: bool = option(
        False,
        "Compute activations again instead of keeping them: less memory for about a third more "
        "time.",
        advanced=True,
    )
    precision: str = option(
        "auto",
        "`bf16` computes the training passes in bfloat16 and keeps weights and scoring in fp32; "
        "`auto` does so where the GPU or CPU has bfloat16 units.",
        choices=("auto", "fp32", "bf16"),
        advanced=True,
    )
    seed: int = option(
        0, "Seed of the split, the order and the new head.", minimum=0, advanced=True
    )


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """Tune a policy against a reward model with PPO."""

    policy: str = option(..., "Policy to start from; also the reference.", reference="policy")
    reward_model: str = option(..., "Reward model that scores rollouts.", reference="reward_model")
    second_opinion: str | None = option(
        None,
        "Another reward model, which only judges the held-out prompts: where the reward rises and "
        "it does not agree, the reward model is being exploited. Best trained on other rankings.",
        reference="reward_model",
        advanced=True,
    )
    iterations: int = option(20, "Rollout-and-update rounds.", minimum=1, maximum=100_000)
    # On the starter models most of the scores' variance lies between prompts (73% with one reward
    # model, 10 prompts), where no policy can change anything; other completions of the same prompt
    # take that part out of the advantages.
    prompts_per_iteration: int = option(
        8, "Prompts sampled in each iteration.", minimum=1, maximum=4096
    )
    completions_per_prompt: int = option(
        4,
        "Completions of each prompt in an iteration; more than one are compared with each other.",
        minimum=1,
        maximum=64,
        advanced=True,
    )
    max_new_tokens: int = option(48, "Longest completion.", minimum=1, maximum=4096, unit="tokens")
    epochs: int = option(1, "Passes over each rollout.", minimum=1, maximum=16, advanced=True)
    minibatches: int = option(
        4, "Optimizer steps in each pass.", minimum=1, maximum=256, advanced=True
    )
    # docs/benchmarks.md, "PPO, whether it helps", has what this rate and penalty give.
    learning_rate: float = option(
        5e-4, "Learning rate of Adam (eps 1e-5).", minimum=1e-8, maximum=1e-1
    )
    kl_coef: float = option(
        0.1,
        "Weight of the KL penalty per token at the start; 0 leaves the penalty out for good.",
        minimum=0.0,
        maximum=10.0,
    )
    kl_target: float | None = option(
        6.0,
        "KL per completion that the adaptive controller aims at; empty keeps kl_coef fixed.",
        minimum=0.01,
        maximum=1000.0,
        unit="nats",
        advanced=True,
    )
    clip_range: float = option(
        0.2, "PPO's epsilon, for policy and value.", minimum=0.01, maximum=1.0, advanced=True
    )
    gae_lambda: float = option(
        0.95, "Lambda of GAE; gamma is 1.", minimum=0.0, maximum=1.0, advanced=True
    )
    temperature: float = option(
        1.0, "Sampling temperature of the rollouts.", minimum=0.05, maximum=2.0, advanced=True
    )
    lora_rank: int | None = option(
        8,
        "Rank of the LoRA adapters; empty tunes every weight.",
        minimum=1,
        maximum=256,
        advanced=True,
    )
    eval_prompts: int = option(
        64, "Held-out prompts of the before/after report.", minimum=1, maximum=4096, advanced=True
    )
    evaluate_every: int = option(
        5,
        "Iterations between looks at the held-out prompts; 0 looks only before and after.",
        minimum=0,
        maximum=100_000,
        advanced=True,
    )
    keep_best: bool = option(
        True,
        "Keep the policy of the look with the highest held-out reward, not the last one; with a "
        "kl_target the highest of those below it.",
        advanced=True,
    )
    patience: int | None = option(
        None,
        "Looks without a higher held-out reward after which the run ends; empty goes on.",
        minimum=1,
        maximum=1000,
        advanced=True,
    )
    stop_kl: float | None = option(
        50.0,
        "The run ends when the mean KL of an iteration is above this; empty goes on.",
        minimum=0.0,
        maximum=10_000.0,
        unit="nats",
        advanced=True,
    )
    best_of: int = option(
        4,
        "Compare with the best of so many completions of the starting policy; 1 leaves it out.",
        minimum=1,
        maximum=64,
        advanced=True,
    )
    missing_eos_penalty: float = option(
        0.0,
        "Taken off the score of a completion that ran out of tokens, in standard deviations.",
        minimum=0.0,
        maximum=100.0,
        advanced=True,
    )
    max_prompt_tokens: int = option(
        512,
        "Longer prompts are left out.",
        minimum=1,
        maximum=32768,
        unit="tokens",
        advanced=True,
    )
    seed: int = option(0, "Seed of the prompt order and the sampling.", minimum=0, advanced=True)


@dataclass(frozen=True, kw_only=True)
class DPOConfig:
    """Tune a policy on ranked completions with DPO, without a reward model."""

    policy: str = option(..., "Policy to start from; also the reference.", reference="policy")
    snapshot_id: str | None = option(
        None, "Frozen pairs to learn from; empty takes a fresh snapshot.", reference="snapshot"
    )
    reward_model: str | None = option(
        None,
        "Judge of the before/after report; empty takes the newest one trained on these rankings.",
        reference="reward_model",
    )
    second_opinion: str | None = option(
        None,
        "Another reward model that judges the before/after report as well. Best trained on other "
        "rankings.",
        reference="reward_model",
        advanced=True,
    )
    beta: float = option(
        0.1, "How strongly the policy is held near where it began.", minimum=1e-3, maximum=100.0
    )
    # For the size of a first round. One pass over 48 rankings of two labelers each on the starter
    # policy, four to a step: at 2e-4 nothing moved in 11 steps; at 1e-3 the KL was 1.5 nats after
    # one pass and 5.3 after two, which held-out pairs gained from (accuracy 0.49 and 0.70). 5e-4
    # lies between, for larger snapshots too, and was not run itself.
    epochs: int = option(2, "Passes over the rankings.", minimum=1, maximum=20)
    learning_rate: float = option(
        5e-4, "Peak learning rate of Adam, decayed to zero.", minimum=1e-8, maximum=1e-1
    )
    loss: str = option(
        "sigmoid",
        "sigmoid is DPO's own; ipo aims at a fixed margin per token.",
        choices=("sigmoid", "ipo"),
        advanced=True,
    )
    label_smoothing: float = option(
        0.0,
        "Share of the preferences taken to be wrong (conservative DPO); sigmoid only.",
        minimum=0.0,
        maximum=0.49,
        advanced=True,
    )
    length_normalized: bool = option(
        False,
        "Compare log-ratios per token, which needs a larger beta; ipo always does.",
        advanced=True,
    )
    tasks_per_batch: int = option(
        4,
        "Tasks per step; all completions of a task go together.",
        minimum=1,
        maximum=512,
        advanced=True,
    )
    max_length: int = option(
        512,
        "Longest prompt plus completion.",
        minimum=16,
        maximum=32768,
        unit="tokens",
        advanced=True,
    )
    lora_rank: int | None = option(
        8,
        "Rank of the LoRA adapters; empty tunes every weight.",
        minimum=1,
        maximum=256,
        advanced=True,
    )
    eval_prompts: int = option(
        64, "Held-out prompts of the before/after report.", minimum=1, maximum=4096, advanced=True
    )
    temperature: float = option(
        1.0, "Sampling temperature of the report.", minimum=0.05, maximum=2.0, advanced=True
    )
    max_new_tokens: int = option(
        48,
        "Longest completion of the report.",
        minimum=1,
        maximum=4096,
        unit="tokens",
        advanced=True,
    )
    seed: int = option(
        0, "Seed of the held-out prompts, the order and the sampling.", minimum=0, advanced=True
    )
