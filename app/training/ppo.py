"""Tune a policy against a reward model with PPO (Ziegler et al. 2019, InstructGPT §3.5).

    measure the starting policy on held-out prompts
    for each iteration:
        rollout     n completions y of each prompt x, scores s = RM(x, y), logπ, logπ_ref, V
        scores      s ← s in units of the starting policy, less the mean of x's other completions
        rewards     r_t = −β·(logπ − logπ_ref)(t), plus s at the last token
        advantages  A = whiten(GAE(r, V)),  R = GAE + V
        for each epoch, for each minibatch:
            L = clipped policy loss + 0.1·clipped value loss
            Adam step on L, gradient clipped
        β follows the measured KL
        every few iterations: measure on held-out prompts, keep the best weights, stop on a plateau
    measure the tuned policy on the same prompts with the same seeds

Nothing random is kept in memory: every stream is derived from the seed and the iteration, so a run
that was killed goes on from its checkpoint exactly as if nothing had happened.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from app.inference.formatting import encode_prompt
from app.training.advantages import RewardScale, leave_one_out, penalize_unfinished
from app.training.checkpoint import Checkpoints, save_folder
from app.training.configs import PPOConfig
from app.training.held_out_watch import HeldOutWatch
from app.training.kl import make_controller
from app.training.policy import Policy, load_policy
from app.training.policy_evaluation import (
    best_of_n,
    compare_samples,
    evaluate_policy,
    sample_rows,
)
from app.training.ppo_update import update_policy
from app.training.report import Report, TrainingError
from app.training.reward_scorer import load_scorer
from app.training.rollouts import Prompt, Scorer, collect_rollout
from app.training.seeds import derive_seed, permutation

# Huang et al. 2022, "The 37 implementation details of PPO", detail 3.
ADAM_EPSILON = 1e-5
SHOWN_SAMPLES = 8


@dataclass(frozen=True)
class PPOResult:
    """The tuned policy's folder, and the starting and the tuned policy on held-out prompts.

    `before` and `after` are those of `evaluate_policy`, `comparison` is that of `compare_samples`.
    `best_of` is the starting policy with the best of several completions, of `best_of_n`; None
    where nobody asked for it. `iteration` is the one whose weights were kept, `stopped` why the run
    ended before its last iteration.
    """

    model_dir: Path
    before: dict[str, Any]
    after: dict[str, Any]
    comparison: dict[str, Any]
    best_of: dict[str, Any] | None
    iteration: int
    stopped: str | None


def train_policy(
    config: PPOConfig,
    policy_dir: Path,
    reward_model_dir: Path,
    prompts: Sequence[Prompt],
    eval_prompts: Sequence[Prompt],
    run_dir: Path,
    report: Report,
    gold: Scorer | None = None,
    positive_class: int | None = None,
) -> PPOResult:
    """Tune the policy of one folder against the reward model of another; see `tune_policy`.

    `positive_class` is the preferred class of a reward model with two.
    """
    report.progress(0.0, "Loading the reward model")
    score = load_scorer(reward_model_dir, positive_class)
    return tune_policy(config, policy_dir, score, prompts, eval_prompts, run_dir, report, gold)


def tune_policy(
    config: PPOConfig,
    policy_dir: Path,
    score: Scorer,
    prompts: Sequence[Prompt],
    eval_prompts: Sequence[Prompt],
    run_dir: Path,
    report: Report,
    gold: Scorer | None = None,
) -> PPOResult:
    """Tune the policy against any scorer; run again on the same `run_dir` it goes on where it was.

    Leaves the tuned policy in `run_dir/model`, an ordinary model folder. Reports at every
    iteration, counted from 1: `reward_mean`, `reward_std`, `kl`, `kl_coef`, `objective`,
    `policy_loss`, `value_loss`, `clip_fraction`, `approx_kl`, `entropy`, `length_mean`,
    `eos_fraction`, `grad_norm` and the seconds of each stage. `gold` judges the report alone.

    Raises:
        TrainingError: nothing to train on, a policy that cannot be used, a reward, loss or
            log-probability that is not finite.
        Cancelled: the run was asked to stop.
    """
    report.progress(0.0, "Loading the policy")
    tokenizer, policy = load_policy(policy_dir, config.lora_rank, config.seed)
    if not tokenizer.chat_template:
        report.log("The policy has no chat template: it is given the prompt as plain text.")
    prompts = _short_enough(prompts, tokenizer, policy, config, report)
    eval_prompts = _short_enough(eval_prompts, tokenizer, policy, config, report)
    eval_prompts = eval_prompts[: config.eval_prompts]
    if not prompts:
        raise TrainingError(
            "There is no prompt to train on: add shorter ones to the project, or raise "
            "max_prompt_tokens."
        )
    trained = [weight for weight in policy.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=config.learning_rate, eps=ADAM_EPSILON)
    controller = make_controller(config.kl_coef, config.kl_target)
    scale: RewardScale | None = None
    checkpoints = Checkpoints(run_dir / "checkpoints", asdict(config), report)
    watch = HeldOutWatch(config, run_dir, report)
    best_of: dict[str, Any] | None = None
    pace = _Pace(config.iterations, watch)
    report.log(
        f"Tuning {sum(weight.numel() for weight in trained):,} weights on {len(prompts)} prompts, "
        f"holding out {len(eval_prompts)}."
    )

    def state() -> dict[str, Any]:
        return {
            "policy": policy.trained_state(),
            "optimizer": optimizer.state_dict(),
            "controller": controller.state_dict(),
            "scale": None if scale is None else asdict(scale),
            "watch": watch.state_dict(),
            "before": before,
            "best_of": best_of,
            "evaluation_seconds": pace.evaluation_seconds,
        }

    if (saved := checkpoints.load()) is not None:
        policy.load_trained_state(saved["policy"])
        optimizer.load_state_dict(saved["optimizer"])
        controller.load_state_dict(saved["controller"])
        scale = None if saved["scale"] is None else RewardScale(**saved["scale"])
        watch.load_state_dict(saved["watch"])
        done, before, best_of = saved["step"], saved["before"], saved["best_of"]
        pace.evaluation_seconds = saved["evaluation_seconds"]
        report.log(f"Going on after iteration {done} of {config.iterations}.")
    else:
        report.progress(0.0, "Measuring the starting policy")
        started = time.monotonic()
        done = 0
        before = evaluate_policy(policy, tokenizer, score, eval_prompts, config, report, gold)
        pace.evaluation_seconds = time.monotonic() - started
        if config.best_of > 1 and eval_prompts:
            report.progress(0.0, f"Measuring the best of {config.best_of} completions")
            best_of = best_of_n(
                policy, tokenizer, score, eval_prompts, config, report, config.best_of, gold
            )
        checkpoints.save(0, state())

    for iteration in range(done + 1, config.iterations + 1):
        if watch.found.stopped is not None:
            break
        started = time.monotonic()
        kl_coef = controller.kl_coef
        report.check_cancelled()
        stage = f"Iteration {iteration} of {config.iterations}"
        report.progress(pace.fraction(iteration), f"{stage}: sampling", pace.eta(iteration))
        try:
            rollout = collect_rollout(
                policy,
                tokenizer,
                score,
                draw_prompts(prompts, config.prompts_per_iteration, iteration, config.seed),
                report,
                temperature=config.temperature,
                max_new_tokens=config.max_new_tokens,
                seed=derive_seed(config.seed, "rollout", iteration),
                completions_per_prompt=config.completions_per_prompt,
            )
        except TrainingError as error:
            raise TrainingError(f"Iteration {iteration}: {error}") from error
        if scale is None:
            scale = RewardScale.of(rollout.scores, config.completions_per_prompt)
            report.log(f"Scores of the starting policy: {scale.mean:.3f} ± {scale.std:.3f}.")

        report.check_cancelled()
        report.progress(pace.fraction(iteration), f"{stage}: training", pace.eta(iteration))
        scores = penalize_unfinished(
            scale.normalize(rollout.scores), rollout.finished, config.missing_eos_penalty
        )
        update_started = time.monotonic()
        relative = leave_one_out(scores, config.completions_per_prompt)
        losses = update_policy(
            policy, optimizer, rollout, relative, kl_coef, config, iteration, report
        )
        controller.update(rollout.kl.mean().item())
        report.metrics(
            iteration,
            {
                "reward_mean": rollout.scores.mean().item(),
                "reward_std": rollout.scores.std(correction=0).item(),
                "kl": rollout.kl.mean().item(),
                "kl_coef": kl_coef,
                "objective": (scores - kl_coef * rollout.kl).mean().item(),
                **losses,
                "length_mean": rollout.lengths.mean().item(),
                "eos_fraction": rollout.finished.float().mean().item(),
                **rollout.seconds,
                "train_seconds": time.monotonic() - update_started,
                "iteration_seconds": time.monotonic() - started,
            },
        )
        report.samples(iteration, sample_rows(rollout)[:SHOWN_SAMPLES])
        pace.iterated(time.monotonic() - started)
        done = iteration
        watch.check_kl(rollout.kl.mean().item())
        if watch.is_due(iteration) and eval_prompts:
            report.progress(
                pace.fraction(iteration + 1),
                f"{stage}: held-out prompts",
                pace.eta(iteration + 1),
            )
            figures = evaluate_policy(
                policy, tokenizer, score, eval_prompts, config, report, gold, stream="watch"
            )
            watch.take(iteration, figures, policy)
            checkpoints.save(iteration, state())
        else:
            checkpoints.save_if_due(iteration, state)

    report.check_cancelled()
    checkpoints.save(done, state())
    if (stopped := watch.found.stopped) is not None:
        report.log(f"Stopped after iteration {done}: {stopped}.")
    kept = watch.restore_best(done, policy)
    report.progress(0.97, "Measuring the tuned policy", pace.evaluation_seconds)
    after = evaluate_policy(policy, tokenizer, score, eval_prompts, config, report, gold)
    report.progress(0.99, "Saving the tuned policy")
    save_folder(run_dir / "model", lambda folder: policy.save(folder, policy_dir))
    report.progress(1.0, "Done", 0.0)
    comparison = compare_samples(before["samples"], after["samples"])
    return PPOResult(run_dir / "model", before, after, comparison, best_of, kept, stopped)


def draw_prompts(prompts: Sequence[Prompt], count: int, iteration: int, seed: int) -> list[Prompt]:
    """The prompts of one iteration: pass after pass over all of them, each in a new order.

    The cursor is the iteration itself, so that there is nothing to save and nothing to lose.
    """
    first = (iteration - 1) * count
    drawn = []
    for position in range(first, first + count):
        epoch, place = divmod(position, len(prompts))
        if place == 0 or position == first:
            order = permutation(len(prompts), seed, "prompts", epoch).tolist()
        drawn.append(prompts[order[place]])
    return drawn


def _short_enough(
    prompts: Sequence[Prompt], tokenizer: Any, policy: Policy, config: PPOConfig, report: Report
) -> list[Prompt]:
    """The prompts that fit; a cut prompt would ask something else, so long ones are left out."""
    context = getattr(policy.model.config.get_text_config(), "max_position_embeddings", 1 << 30)
    room = min(config.max_prompt_tokens, context - config.max_new_tokens)
    if room < 1:
        raise TrainingError(
            f"The policy takes {context} tokens, so {config.max_new_tokens} new ones leave no room "
            "for a prompt; lower max_new_tokens."
        )
    kept = [p for p in prompts if 0 < len(encode_prompt(tokenizer, p.messages)) <= room]
    if len(kept) < len(prompts):
        report.log(
            f"Left out {len(prompts) - len(kept)} of {len(prompts)} prompts longer than "
            f"{room} tokens."
        )
    return kept


class _Pace:
    """How far the run is and when it ends, by the iterations and the evaluation it has timed."""

    def __init__(self, iterations: int, watch: HeldOutWatch) -> None:
        self._iterations = iterations
        self._watch = watch
        self._seconds: list[float] = []
        self.evaluation_seconds = 0.0

    def iterated(self, seconds: float) -> None:
        """Take in how long an iteration took; the latest eight count."""
        self._seconds = [*self._seconds[-7:], seconds]

    def fraction(self, iteration: int) -> float:
        """Share of the work done when `iteration` begins; the evaluations are one each."""
        return min(0.97, iteration / (self._iterations + 2))

    def eta(self, iteration: int) -> float | None:
        """Seconds left when `iteration` begins; None until one was timed."""
        if not self._seconds:
            return None
        each = sum(self._seconds) / len(self._seconds)
        looks = 1 + self._watch.looks_left(iteration)
        return each * (self._iterations - iteration + 1) + looks * self.evaluation_seconds
