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
from collections.abc import Mapping, Sequence
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
from app.training.policy import load_policy
from app.training.policy_evaluation import (
    NO_JUDGES,
    best_of_n,
    compare_samples,
    evaluate_policy,
    sample_rows,
)
from app.training.ppo_update import update_policy
from app.training.report import Report, TrainingError
from app.training.reward_scorer import load_scorer
from app.training.rollouts import Prompt, Rollout, Scorer, collect_rollout
from app.training.seeds import derive_seed, permutation
from app.training.work_meter import WorkMeter

# Huang et al. 2022, "The 37 implementation details of PPO", detail 3.
ADAM_EPSILON = 1e-5
SHOWN_SAMPLES = 8
# Of an iteration's completion beside one that is only looked at: the update takes about as long as
# sampling, scoring and reading it.
ITERATION_COST = 2


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
    judges: Mapping[str, Scorer] = NO_JUDGES,
    positive_class: int | None = None,
) -> PPOResult:
    """Tune the policy of one folder against the reward model of another; see `tune_policy`.

    `positive_class` is the preferred class of a reward model with two.
    """
    report.progress(0.0, "Loading the reward model")
    score = load_scorer(reward_model_dir, positive_class)
    return tune_policy(config, policy_dir, score, prompts, eval_prompts, run_dir, report, judges)


def tune_policy(
    config: PPOConfig,
    policy_dir: Path,
    score: Scorer,
    prompts: Sequence[Prompt],
    eval_prompts: Sequence[Prompt],
    run_dir: Path,
    report: Report,
    judges: Mapping[str, Scorer] = NO_JUDGES,
) -> PPOResult:
    """Tune the policy against any scorer; run again on the same `run_dir` it goes on where it was.

    Leaves the tuned policy in `run_dir/model`, an ordinary model folder. Reports at every
    iteration, counted from 1: `reward_mean`, `reward_std`, `kl`, `kl_coef`, `objective`,
    `policy_loss`, `value_loss`, `clip_fraction`, `approx_kl`, `entropy`, `length_mean`,
    `eos_fraction`, `grad_norm` and the seconds of each stage. `judges`, by name, see
    the held-out prompts alone.

    Raises:
        TrainingError: nothing to train on, a policy that cannot be used, a reward, loss or
            log-probability that is not finite.
        Cancelled: the run was asked to stop.
    """
    run = _Run(config, policy_dir, score, prompts, eval_prompts, run_dir, report, judges)
    if not run.resume():
        run.measure_start()
    while run.goes_on():
        run.iterate()
        run.look_and_save()
    return run.finish()


class _Run:
    """One run of PPO: what it is given, and all that changes from one iteration to the next."""

    def __init__(
        self,
        config: PPOConfig,
        policy_dir: Path,
        score: Scorer,
        prompts: Sequence[Prompt],
        eval_prompts: Sequence[Prompt],
        run_dir: Path,
        report: Report,
        judges: Mapping[str, Scorer],
    ) -> None:
        report.progress(0.0, "Loading the policy")
        self.config, self.report = config, report
        self.score, self.judges = score, judges
        self.policy_dir, self.model_dir = policy_dir, run_dir / "model"
        self.tokenizer, self.policy = load_policy(policy_dir, config.lora_rank, config.seed)
        if not self.tokenizer.chat_template:
            report.log("The policy has no chat template: it is given the prompt as plain text.")
        self.prompts = self._short_enough(prompts)
        self.eval_prompts = self._short_enough(eval_prompts)[: config.eval_prompts]
        if not self.prompts:
            raise TrainingError(
                "There is no prompt to train on: add shorter ones to the project, or raise "
                "max_prompt_tokens."
            )
        trained = [weight for weight in self.policy.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.Adam(trained, lr=config.learning_rate, eps=ADAM_EPSILON)
        self.controller = make_controller(config.kl_coef, config.kl_target)
        self.scale: RewardScale | None = None
        self.watch = HeldOutWatch(config, run_dir, report)
        self.before: dict[str, Any] = {}
        self.best_of: dict[str, Any] | None = None
        self.iteration = 0
        self.checkpoints = Checkpoints(run_dir / "checkpoints", asdict(config), report)
        looks = 2 + self.watch.looks_left(1) + (config.best_of if config.best_of > 1 else 0)
        self.meter = WorkMeter(
            looks * len(self.eval_prompts) + config.iterations * self._iteration_work
        )
        report.log(
            f"Tuning {sum(weight.numel() for weight in trained):,} weights on "
            f"{len(self.prompts)} prompts, holding out {len(self.eval_prompts)}."
        )

    def resume(self) -> bool:
        """Go on from the last checkpoint; False where there is none."""
        saved = self.checkpoints.load()
        if saved is None:
            return False
        self.policy.load_trained_state(saved["policy"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.controller.load_state_dict(saved["controller"])
        self.scale = None if saved["scale"] is None else RewardScale(**saved["scale"])
        self.watch.load_state_dict(saved["watch"])
        self.before, self.best_of = saved["before"], saved["best_of"]
        self.iteration = saved["step"]
        self.meter.skip(saved.get("work", 0.0))
        self.report.log(f"Going on after iteration {self.iteration} of {self.config.iterations}.")
        return True

    def measure_start(self) -> None:
        """Look at the starting policy, as it is and with the best of several completions."""
        self.report.progress(0.0, "Measuring the starting policy")
        self.before = self._evaluate()
        n = self.config.best_of
        if n > 1 and self.eval_prompts:
            self._progress(f"Measuring the best of {n} completions")
            self.best_of = best_of_n(
                self.policy,
                self.tokenizer,
                self.score,
                self.eval_prompts,
                self.config,
                self.report,
                n,
                self.judges,
            )
            self.meter.work(n * len(self.eval_prompts))
        self.checkpoints.save(0, self._state())

    def goes_on(self) -> bool:
        """Whether there is another iteration to do."""
        return self.iteration < self.config.iterations and self.watch.found.stopped is None

    def iterate(self) -> None:
        """Sample and score completions, turn the scores into advantages, update the policy."""
        config, report = self.config, self.report
        started = time.monotonic()
        iteration = self.iteration + 1
        stage = f"Iteration {iteration} of {config.iterations}"
        kl_coef = self.controller.kl_coef
        report.check_cancelled()
        self._progress(f"{stage}: sampling")
        rollout = self._collect(iteration)
        if self.scale is None:
            self.scale = RewardScale.of(rollout.scores, config.completions_per_prompt)
            report.log(
                f"Scores of the starting policy: {self.scale.mean:.3f} ± {self.scale.std:.3f}."
            )

        report.check_cancelled()
        self._progress(f"{stage}: training")
        update_started = time.monotonic()
        scores = penalize_unfinished(
            self.scale.normalize(rollout.scores), rollout.finished, config.missing_eos_penalty
        )
        relative = leave_one_out(scores, config.completions_per_prompt)
        losses = update_policy(
            self.policy, self.optimizer, rollout, relative, kl_coef, config, iteration, report
        )
        self.controller.update(rollout.kl.mean().item())
        self.watch.check_kl(rollout.kl.mean().item())
        self.iteration = iteration
        self.meter.work(self._iteration_work)
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

    def look_and_save(self) -> None:
        """Look at the held-out prompts where it is time to, and keep what a resumed run needs."""
        if not (self.watch.is_due(self.iteration) and self.eval_prompts):
            self.checkpoints.save_if_due(self.iteration, self._state)
            return
        self._progress(f"Iteration {self.iteration} of {self.config.iterations}: held-out prompts")
        self.watch.take(self.iteration, self._evaluate(stream="watch"), self.policy)
        self.checkpoints.save(self.iteration, self._state())

    def finish(self) -> PPOResult:
        """Measure the best policy on the prompts of the start, and leave it as a model folder."""
        report, stopped = self.report, self.watch.found.stopped
        report.check_cancelled()
        self.checkpoints.save(self.iteration, self._state())
        if stopped is not None:
            report.log(f"Stopped after iteration {self.iteration}: {stopped}.")
        kept = self.watch.restore_best(self.iteration, self.policy)
        self._progress("Measuring the tuned policy")
        after = self._evaluate()
        report.progress(0.99, "Saving the tuned policy")
        save_folder(self.model_dir, lambda folder: self.policy.save(folder, self.policy_dir))
        report.progress(1.0, "Done", 0.0)
        comparison = compare_samples(self.before["samples"], after["samples"])
        return PPOResult(
            self.model_dir, self.before, after, comparison, self.best_of, kept, stopped
        )

    @property
    def _iteration_work(self) -> int:
        """What an iteration costs, in looks at one held-out prompt."""
        completions = self.config.prompts_per_iteration * self.config.completions_per_prompt
        return ITERATION_COST * completions

    def _state(self) -> dict[str, Any]:
        return {
            "policy": self.policy.trained_state(),
            "optimizer": self.optimizer.state_dict(),
            "controller": self.controller.state_dict(),
            "scale": None if self.scale is None else asdict(self.scale),
            "watch": self.watch.state_dict(),
            "before": self.before,
            "best_of": self.best_of,
            "work": self.meter.done,
        }

    def _progress(self, stage: str) -> None:
        self.report.progress(self.meter.fraction, stage, self.meter.eta_seconds)

    def _collect(self, iteration: int) -> Rollout:
        config = self.config
        try:
            return collect_rollout(
                self.policy,
                self.tokenizer,
                self.score,
                draw_prompts(self.prompts, config.prompts_per_iteration, iteration, config.seed),
                self.report,
                temperature=config.temperature,
                max_new_tokens=config.max_new_tokens,
                seed=derive_seed(config.seed, "rollout", iteration),
                completions_per_prompt=config.completions_per_prompt,
            )
        except TrainingError as error:
            raise TrainingError(f"Iteration {iteration}: {error}") from error

    def _evaluate(self, stream: str = "evaluation") -> dict[str, Any]:
        figures = evaluate_policy(
            self.policy,
            self.tokenizer,
            self.score,
            self.eval_prompts,
            self.config,
            self.report,
            self.judges,
            stream=stream,
        )
        self.meter.work(len(self.eval_prompts))
        return figures

    def _short_enough(self, prompts: Sequence[Prompt]) -> list[Prompt]:
        """The prompts that fit; a cut one would ask something else, so long ones are left out."""
        config = self.config
        text_config = self.policy.model.config.get_text_config()
        context = getattr(text_config, "max_position_embeddings", 1 << 30)
        room = min(config.max_prompt_tokens, context - config.max_new_tokens)
        if room < 1:
            raise TrainingError(
                f"The policy takes {context} tokens, so {config.max_new_tokens} new ones leave no "
                "room for a prompt; lower max_new_tokens."
            )
        kept = [p for p in prompts if 0 < len(encode_prompt(self.tokenizer, p.messages)) <= room]
        if len(kept) < len(prompts):
            self.report.log(
                f"Left out {len(prompts) - len(kept)} of {len(prompts)} prompts longer than "
                f"{room} tokens."
            )
        return kept


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
