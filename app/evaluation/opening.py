"""From a finished tuning job to a blind A/B round: the same held-out prompts, old and new policy.

Everything after that is an ordinary round: its generation job, the queue, leases and rankings.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts.audit import record
from app.errors import Conflict, Invalid
from app.jobs.run_directory import run_directory
from app.models import Job, JobState, Model, ModelKind, Project, Prompt, Round, User
from app.projects.rounds import MOST_COMPLETIONS, RoundSampling, Trial, create_round
from app.settings import Settings

HELD_OUT = "held_out_prompts"
"""What a kind that tunes policies calls, in its outputs, the ids of the prompts it held out."""
RUN_PROMPTS = "prompts.jsonl"
DEFAULT_PROMPTS = 50
IDS_AT_ONCE = 500


@dataclass(frozen=True, kw_only=True)
class Contest:
    """The two policies of a finished job, and the prompts that neither was tuned on by it."""

    job: Job
    candidate: Model
    baseline: Model
    held_out: list[str]
    """In the order in which they are taken, mixed."""

    @property
    def default_prompts(self) -> int:
        """How many prompts to ask unless somebody says otherwise."""
        return min(DEFAULT_PROMPTS, len(self.held_out))


def find_contest(session: Session, settings: Settings, job: Job) -> Contest | None:
    """What can be compared after a job; None where it made no policy out of another.

    The prompts held out are those that the job notes in its outputs, or in its run directory
    where it is older than that note; and those that came to the project after it had ended.
    """
    model_id = (job.outputs or {}).get("model_id")
    candidate = session.get(Model, model_id) if isinstance(model_id, str) else None
    if job.state != JobState.SUCCEEDED or candidate is None or job.project_id is None:
        return None
    if candidate.kind != ModelKind.POLICY or candidate.parent_id is None:
        return None
    return Contest(
        job=job,
        candidate=candidate,
        baseline=session.get_one(Model, candidate.parent_id),
        held_out=_held_out_prompts(session, settings, job),
    )


def get_contest(session: Session, settings: Settings, job: Job) -> Contest:
    """The same, for a job that must have one.

    Raises:
        Conflict: `nothing_to_compare` where the job made no policy, or `no_held_out_prompts`.
    """
    contest = find_contest(session, settings, job)
    if contest is None:
        raise Conflict(
            "Only a finished job that tuned a policy can be put before people.",
            code="nothing_to_compare",
        )
    if not contest.held_out:
        raise Conflict(
            "This job held no prompt out that is still there. Add prompts to the project: those "
            "that come after a job were never trained on.",
            code="no_held_out_prompts",
        )
    return contest


def list_ab_rounds(session: Session, candidate_ids: Sequence[str]) -> list[Round]:
    """The A/B rounds that any of these policies was on trial in, the newest first."""
    return list(
        session.scalars(
            select(Round)
            .where(Round.candidate_id.in_(candidate_ids))
            .order_by(Round.created_at.desc(), Round.id.desc())
        )
    )


def default_sampling(job: Job) -> dict[str, Any]:
    """How the job drew completions, as far as its config says, and else as any round does."""
    defaults = {name: field.default for name, field in RoundSampling.__dataclass_fields__.items()}
    same: dict[str, Any] = {
        name: job.config[name] for name in ("temperature", "max_new_tokens") if name in job.config
    }
    return {**defaults, **same}


def open_ab_round(
    session: Session,
    user: User | None,
    settings: Settings,
    job: Job,
    *,
    prompts: int | None = None,
    labelers_per_task: int = 1,
    completions_per_policy: int = 1,
    others: Sequence[str] = (),
    sampling: Mapping[str, Any] | None = None,
    again: bool = False,
) -> Round:
    """Open a round in which people compare the policy that the job made with its parent, blind.

    Afterwards there is a round with a task for each of `prompts` held-out prompts (the first 50
    where nothing is said) and a generation job that fills it. `others` are further policies to
    rank beside the two. One round for a job, unless `again`. For admins: the edge checks that.

    Raises:
        Conflict: `nothing_to_compare`, `no_held_out_prompts`, `already_compared`,
            `project_archived`.
        Invalid: a number out of range, an unknown policy; `fields` names which.
    """
    contest = get_contest(session, settings, job)
    # Two clicks at once must not open two rounds.
    session.execute(select(Project.id).where(Project.id == job.project_id).with_for_update())
    earlier = list_ab_rounds(session, [contest.candidate.id])
    if earlier and not again:
        raise Conflict(
            f"Round {earlier[0].number} compares these two already. Ask for another one if you "
            "want it.",
            code="already_compared",
        )
    policies = [contest.baseline.id, contest.candidate.id, *others]
    _check_numbers(contest, prompts, completions_per_policy, len(policies))
    count = contest.default_prompts if prompts is None else prompts
    round_ = create_round(
        session,
        user,
        session.get_one(Project, job.project_id),
        policies=policies,
        completions_per_prompt=completions_per_policy * len(policies),
        sampling={**default_sampling(job), **(sampling or {})},
        labelers_per_task=labelers_per_task,
        trial=Trial(
            candidate_id=contest.candidate.id,
            baseline_id=contest.baseline.id,
            prompt_ids=contest.held_out[:count],
        ),
    )
    record(
        session,
        user,
        "evaluation.open",
        "round",
        round_.id,
        job=job.id,
        candidate=contest.candidate.id,
        baseline=contest.baseline.id,
    )
    return round_


def _check_numbers(
    contest: Contest, prompts: int | None, completions_per_policy: int, policies: int
) -> None:
    most = MOST_COMPLETIONS // policies
    problems = {}
    if prompts is not None and not 1 <= prompts <= len(contest.held_out):
        problems["prompts"] = f"from 1 to {len(contest.held_out)}, the prompts held out"
    if not 1 <= completions_per_policy <= max(most, 1):
        problems["completions_per_policy"] = f"from 1 to {max(most, 1)} for {policies} policies"
    if problems:
        name, accepted = next(iter(problems.items()))
        raise Invalid(f"{name} must be {accepted}.", fields=problems)


def _held_out_prompts(session: Session, settings: Settings, job: Job) -> list[str]:
    noted = (job.outputs or {}).get(HELD_OUT)
    ids = noted if isinstance(noted, list) else _noted_in_run(settings, job)
    there: set[str] = set()
    for start in range(0, len(ids), IDS_AT_ONCE):
        part = Prompt.id.in_(ids[start : start + IDS_AT_ONCE])
        there |= set(
            session.scalars(select(Prompt.id).where(part, Prompt.project_id == job.project_id))
        )
    since = session.scalars(
        select(Prompt.id).where(
            Prompt.project_id == job.project_id, Prompt.created_at > job.finished_at
        )
    )
    return sorted({*there, *since}, key=lambda prompt_id: _place(job, prompt_id))


def _place(job: Job, prompt_id: str) -> bytes:
    """Where a prompt stands in a mixed order that is always the same for a job: the first few of a
    project's prompts are often alike."""
    return hashlib.sha256(f"{job.id}:{prompt_id}".encode()).digest()


def _noted_in_run(settings: Settings, job: Job) -> list[str]:
    """Of a job that noted nothing in its outputs, what its run directory says; else nothing."""
    try:
        lines = (run_directory(settings, job.id) / RUN_PROMPTS).read_text("utf-8").splitlines()
        prompts = [json.loads(line) for line in lines]
        return [prompt["id"] for prompt in prompts if prompt["held_out"]]
    except (OSError, ValueError, KeyError):
        return []
