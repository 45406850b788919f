"""Which step of the loop comes next, by the newest of everything in it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from app.models import JobState, RoundState


class NextStep(StrEnum):
    """What moves the loop forward now."""

    ADD_PROMPTS = "add_prompts"
    START_ROUND = "start_round"
    WATCH_GENERATION = "watch_generation"
    REPAIR_GENERATION = "repair_generation"
    RANK = "rank"
    TRAIN_REWARD_MODEL = "train_reward_model"
    WATCH_REWARD_MODEL = "watch_reward_model"
    TUNE_POLICY = "tune_policy"
    WATCH_PPO = "watch_ppo"
    WATCH_DPO = "watch_dpo"
    COMPARE_POLICY = "compare_policy"
    DECIDE_POLICY = "decide_policy"


@dataclass(frozen=True, kw_only=True)
class JobProgress:
    """The newest job of a kind."""

    id: str
    state: JobState
    progress: float
    stage: str
    eta_seconds: float | None
    reason: str | None
    created_at: datetime

    @property
    def active(self) -> bool:
        """Queued or running."""
        return not self.state.final


@dataclass(frozen=True, kw_only=True)
class RoundProgress:
    """A round, counted."""

    id: str
    number: int
    state: RoundState
    policies: list[str]
    created_at: datetime
    tasks: int
    pending: int
    open: int
    short: int
    completions: int
    completions_wanted: int

    @property
    def collecting(self) -> bool:
        """Whether tasks still wait for rankings."""
        return self.open > 0 and self.state != RoundState.CLOSED

    @property
    def unfinished(self) -> bool:
        """Whether completions are missing that may still be made."""
        return self.pending > 0 and self.state != RoundState.CLOSED


@dataclass(frozen=True, kw_only=True)
class ModelSummary:
    """A model this project made."""

    id: str
    name: str
    parent_id: str | None
    job_id: str | None
    reward_model_id: str | None
    simulated_labels: bool
    metrics: dict[str, Any]
    created_at: datetime


def decide_next_step(
    *,
    prompts: int,
    latest_round: RoundProgress | None,
    rankings_missing: int,
    pairs: int,
    reward_model: ModelSummary | None,
    policy: ModelSummary | None,
    jobs: dict[str, JobProgress],
    trial_round: RoundProgress | None = None,
    decided_at: datetime | None = None,
) -> NextStep:
    """The one step that moves the loop forward.

    A turn of the loop begins with a round. A reward model younger than the newest round says that
    the admin has gone on, even if some tasks are still open; a policy that came after that reward
    model, or after the round where DPO made it without one, says so again, then its A/B round, and
    then the promotion of whoever won (`decided_at` is that of the newest one). Work under way is
    watched before anything new is proposed.
    """

    def active(kind: str) -> bool:
        return kind in jobs and jobs[kind].active

    if active("ppo"):
        return NextStep.WATCH_PPO
    if active("dpo"):
        return NextStep.WATCH_DPO
    if active("reward_model"):
        return NextStep.WATCH_REWARD_MODEL
    if latest_round is None:
        return NextStep.START_ROUND if prompts else NextStep.ADD_PROMPTS
    since = latest_round.created_at
    learned = reward_model is not None and reward_model.created_at > since
    if reward_model is not None and learned:
        since = reward_model.created_at
    tuned = policy is not None and policy.created_at > since
    # A policy of an older reward model says nothing of the newest round; DPO's needs none.
    if learned or (tuned and policy is not None and policy.reward_model_id is None):
        if not tuned:
            return NextStep.TUNE_POLICY
        if trial_round is None:
            return NextStep.COMPARE_POLICY
        if active("generation"):
            return NextStep.WATCH_GENERATION
        if trial_round.unfinished and "generation" in jobs:
            return NextStep.REPAIR_GENERATION
        if rankings_missing:
            return NextStep.RANK
        if decided_at is None or decided_at < trial_round.created_at:
            return NextStep.DECIDE_POLICY
        return NextStep.START_ROUND
    if rankings_missing:
        return NextStep.RANK
    if active("generation"):
        return NextStep.WATCH_GENERATION
    if latest_round.unfinished and "generation" in jobs:
        return NextStep.REPAIR_GENERATION
    return NextStep.TRAIN_REWARD_MODEL if pairs else NextStep.START_ROUND
