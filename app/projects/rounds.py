"""Rounds: prompts × policies × N completions, made by a generation job and ranked by people."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Select, exists, func, insert, select, update
from sqlalchemy.orm import Session

from app.accounts.audit import record
from app.errors import Conflict, Invalid, NotFound
from app.jobs.schema import parse_config
from app.jobs.service import create_job, find_job
from app.models import (
    Assignment,
    Completion,
    Job,
    JobState,
    Model,
    ModelKind,
    Project,
    Prompt,
    Ranking,
    Round,
    RoundKind,
    RoundState,
    Task,
    TaskState,
    User,
    new_id,
    utc_now,
)
from app.models.projects import NORMAL_PRIORITY
from app.projects.round_changes import check_round_numbers, mark_calibration
from app.projects.service import get_project
from app.registry.service import require_model
from app.training.configs import option

FEWEST_COMPLETIONS = 2
MOST_COMPLETIONS = 9
TASKS_PER_INSERT = 1000


@dataclass(frozen=True, kw_only=True)
class RoundSampling:
    """How the completions of a round are drawn."""

    temperature: float = option(
        0.8,
        "0 always takes the likeliest token; 1 samples as the model was trained. Small models "
        "lose the thread near 1.",
        minimum=0.0,
        maximum=2.0,
    )
    top_p: float = option(
        0.95,
        "Samples from the likeliest tokens that together have this probability.",
        minimum=0.01,
        maximum=1.0,
    )
    max_new_tokens: int = option(
        48, "Longest completion; longer ones are cut.", minimum=1, maximum=4096, unit="tokens"
    )
    seed: int | None = option(
        None,
        "The same seed gives the same completions; empty draws one.",
        minimum=0,
        maximum=2**31 - 1,
    )


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What makes a round an A/B round: who is on trial, against whom, and on which prompts."""

    candidate_id: str
    baseline_id: str
    prompt_ids: Sequence[str]


def create_round(
    session: Session,
    user: User | None,
    project: Project,
    *,
    policies: Sequence[str],
    completions_per_prompt: int = 4,
    sampling: Mapping[str, Any] | None = None,
    labelers_per_task: int = 1,
    prompt_limit: int | None = None,
    calibration_share: float = 0.0,
    priority: int = NORMAL_PRIORITY,
    trial: Trial | None = None,
) -> Round:
    """A round with a pending task for each prompt, and the generation job that fills them.

    `completions_per_prompt` counts all completions of a prompt; they are dealt to the policies in
    turn, so 4 of two policies are 2 and 2. With `prompt_limit` the prompts with the fewest tasks
    so far come first, then the oldest. `calibration_share` of the tasks, chosen at random, are
    for every labeler to rank. A round on `trial` asks the prompts that it names and no others. For
    admins: the edge checks that.

    Raises:
        Invalid: an unknown policy, a number out of range, no prompts; `fields` names which.
        Conflict: the project is archived.
    """
    if project.archived_at is not None:
        raise Conflict("This project is archived; restore it first.", code="project_archived")
    _check_numbers(completions_per_prompt, prompt_limit)
    check_round_numbers(
        labelers_per_task=labelers_per_task,
        priority=priority,
        calibration_share=calibration_share,
    )
    _check_policies(session, policies, completions_per_prompt)
    drawn = check_sampling(sampling or {})
    if drawn["temperature"] == 0 and completions_per_prompt > len(policies):
        raise Invalid(
            "At temperature 0 a policy gives the same completion every time.",
            fields={"sampling.temperature": "above 0, or no more completions than policies"},
        )
    round_ = Round(
        project_id=project.id,
        number=next_round_number(session, project.id),
        kind=RoundKind.GENERATED,
        state=RoundState.GENERATING,
        policies=list(policies),
        completions_per_prompt=completions_per_prompt,
        sampling=drawn,
        labelers_per_task=labelers_per_task,
        calibration_share=calibration_share,
        priority=priority,
        prompt_limit=prompt_limit,
        candidate_id=trial.candidate_id if trial else None,
        baseline_id=trial.baseline_id if trial else None,
        created_by=user.id if user else None,
    )
    session.add(round_)
    session.flush()
    prompts = (
        session.scalars(_prompts_of_round(round_)).all() if trial is None else trial.prompt_ids
    )
    if not _add_pending_tasks(session, round_, prompts):
        raise Invalid("This project has no prompts yet.", code="no_prompts")
    mark_calibration(session, round_)
    start_generation(session, user, round_)
    record(session, user, "round.create", "round", round_.id, policies=round_.policies)
    return round_


def get_round(session: Session, round_id: str, user: User) -> Round:
    """The round, or NotFound when there is none or its project is not open to this person."""
    round_ = session.get(Round, round_id)
    if round_ is None:
        raise NotFound("There is no such round.", code="round_not_found")
    get_project(session, round_.project_id, user)
    return round_


def list_rounds(session: Session, project_id: str) -> list[Round]:
    """The rounds of a project, the newest first."""
    return list(
        session.scalars(
            select(Round).where(Round.project_id == project_id).order_by(Round.number.desc())
        )
    )


def retry_round(session: Session, user: User | None, round_: Round) -> Job:
    """A new generation job for every task that has fewer completions than wanted.

    Tasks that somebody has already looked at stay as they are: their completions may not change
    under a labeler's hands.

    Raises:
        Conflict: its job is still at work, the round is closed or imported, or nothing is missing.
    """
    refuse_active_job(session, round_)
    if round_.kind != RoundKind.GENERATED or round_.state == RoundState.CLOSED:
        raise Conflict("Only an open round of generated completions can be completed.")
    missing = list(session.scalars(_short_tasks(round_)))
    for start in range(0, len(missing), TASKS_PER_INSERT):
        session.execute(
            update(Task)
            .where(Task.id.in_(missing[start : start + TASKS_PER_INSERT]))
            .values(state=TaskState.PENDING, problem=None)
        )
    if not missing:
        raise Conflict("Every task has its completions already.", code="nothing_missing")
    round_.state = RoundState.GENERATING
    record(session, user, "round.retry", "round", round_.id)
    return start_generation(session, user, round_)


def accept_round(session: Session, user: User | None, round_: Round) -> None:
    """Go on with what there is: tasks with at least two completions open, the others are short.

    Raises:
        Conflict: the generation job is still at work.
    """
    refuse_active_job(session, round_)
    settle_round(session, round_)
    record(session, user, "round.accept", "round", round_.id)


def close_round(session: Session, user: User | None, round_: Round) -> None:
    """No more rankings are asked for; what was ranked stays.

    Raises:
        Conflict: its generation job is still at work.
    """
    refuse_active_job(session, round_)
    if round_.state != RoundState.CLOSED:
        round_.state = RoundState.CLOSED
        round_.closed_at = utc_now()
        record(session, user, "round.close", "round", round_.id)


def reopen_round(session: Session, user: User | None, round_: Round) -> None:
    """Ask for the missing rankings again; a round that is not closed stays as it is."""
    if round_.state == RoundState.CLOSED:
        round_.state = RoundState.OPEN
        round_.closed_at = None
        record(session, user, "round.reopen", "round", round_.id)


def settle_round(session: Session, round_: Round) -> None:
    """End the making of completions: no task of the round is pending afterwards."""
    enough = (
        select(Completion.task_id)
        .join(Task, Task.id == Completion.task_id)
        .where(Task.round_id == round_.id, Task.state == TaskState.PENDING)
        .group_by(Completion.task_id)
        .having(func.count() >= FEWEST_COMPLETIONS)
    )
    pending = (Task.round_id == round_.id, Task.state == TaskState.PENDING)
    session.execute(update(Task).where(*pending, Task.id.in_(enough)).values(state=TaskState.OPEN))
    session.execute(
        update(Task)
        .where(*pending)
        .values(
            state=TaskState.SHORT,
            problem=func.coalesce(Task.problem, "Fewer than two completions were made."),
        )
    )
    if round_.state == RoundState.GENERATING:
        round_.state = RoundState.OPEN
    session.flush()


def open_task_if_ready(session: Session, task: Task, wanted: int) -> bool:
    """Open a pending task to labelers once all its completions are there."""
    if task.state != TaskState.PENDING:
        return False
    made = session.scalar(select(func.count()).where(Completion.task_id == task.id)) or 0
    if made < max(wanted, FEWEST_COMPLETIONS):
        return False
    task.state = TaskState.OPEN
    task.problem = None
    return True


def next_round_number(session: Session, project_id: str) -> int:
    """The number of the project's next round; the project's row is locked so that two rounds
    started at once get two numbers.
    """
    session.execute(select(Project.id).where(Project.id == project_id).with_for_update())
    last = session.scalar(select(func.max(Round.number)).where(Round.project_id == project_id))
    return (last or 0) + 1


def check_sampling(sampling: Mapping[str, Any], prefix: str = "sampling.") -> dict[str, Any]:
    """The sampling with its defaults; a seed is drawn where none is given, and kept.

    `prefix` stands before the names of the fields that an error names.

    Raises:
        Invalid: a value is unknown, of the wrong type or out of range.
    """
    try:
        checked: RoundSampling = parse_config(RoundSampling, sampling)
    except Invalid as error:
        fields = {f"{prefix}{name}": accepted for name, accepted in error.fields.items()}
        raise Invalid(f"{prefix}{error.detail}", fields=fields) from error
    values = asdict(checked)
    if values["seed"] is None:
        values["seed"] = secrets.randbelow(2**31)
    return values


def position_policies(round_: Round) -> list[str]:
    """The policy that makes each of a task's completions, dealt in turn."""
    return [
        round_.policies[position % len(round_.policies)]
        for position in range(round_.completions_per_prompt)
    ]


def _check_numbers(completions: int, prompt_limit: int | None) -> None:
    problems = {}
    if not FEWEST_COMPLETIONS <= completions <= MOST_COMPLETIONS:
        problems["completions_per_prompt"] = f"from {FEWEST_COMPLETIONS} to {MOST_COMPLETIONS}"
    if prompt_limit is not None and prompt_limit < 1:
        problems["prompt_limit"] = "at least 1, or nothing for all prompts"
    if problems:
        name, accepted = next(iter(problems.items()))
        raise Invalid(f"{name} must be {accepted}.", fields=problems)


def _check_policies(session: Session, policies: Sequence[str], completions: int) -> list[Model]:
    if not policies:
        raise Invalid("Choose at least one policy.", fields={"policies": "ids of policies"})
    if len(set(policies)) != len(policies):
        raise Invalid("A policy is named twice.", fields={"policies": "each policy once"})
    if len(policies) > completions:
        raise Invalid(
            f"{len(policies)} policies need at least as many completions per prompt.",
            fields={"completions_per_prompt": f"from {len(policies)} to {MOST_COMPLETIONS}"},
        )
    return [require_model(session, policy, "policies", ModelKind.POLICY) for policy in policies]


def _prompts_of_round(round_: Round) -> Select[str]:
    used = (
        select(Task.prompt_id, func.count().label("tasks"))
        .where(Task.project_id == round_.project_id)
        .group_by(Task.prompt_id)
        .subquery()
    )
    return (
        select(Prompt.id)
        .outerjoin(used, used.c.prompt_id == Prompt.id)
        .where(Prompt.project_id == round_.project_id)
        .order_by(func.coalesce(used.c.tasks, 0), Prompt.id)
        .limit(round_.prompt_limit)
    )


def _add_pending_tasks(session: Session, round_: Round, prompt_ids: Sequence[str]) -> int:
    added = 0
    for start in range(0, len(prompt_ids), TASKS_PER_INSERT):
        batch = prompt_ids[start : start + TASKS_PER_INSERT]
        # Ids made in one millisecond have no order of their own.
        ids = sorted(new_id() for _ in batch)
        session.execute(
            insert(Task),
            [
                {
                    "id": task_id,
                    "project_id": round_.project_id,
                    "round_id": round_.id,
                    "prompt_id": prompt_id,
                    "state": TaskState.PENDING,
                    "priority": round_.priority,
                    "rankings_wanted": round_.labelers_per_task,
                }
                for task_id, prompt_id in zip(ids, batch, strict=True)
            ],
        )
        added += len(batch)
    return added


def start_generation(session: Session, user: User | None, round_: Round) -> Job:
    """Queue the job that makes what the round lacks; it is the round's latest afterwards."""
    config = {"round_id": round_.id}
    job = create_job(session, user, kind="generation", project_id=round_.project_id, config=config)
    round_.job_id = job.id
    round_.completions_offset = 0
    session.flush()
    return job


def _short_tasks(round_: Round) -> Select[str]:
    """Tasks with too few completions that nobody has looked at."""
    made = (
        select(func.count()).where(Completion.task_id == Task.id).correlate(Task).scalar_subquery()
    )
    return select(Task.id).where(
        Task.round_id == round_.id,
        Task.state.in_((TaskState.PENDING, TaskState.SHORT, TaskState.OPEN)),
        made < round_.completions_per_prompt,
        ~exists().where(Assignment.task_id == Task.id),
        ~exists().where(Ranking.task_id == Task.id),
    )


def refuse_active_job(session: Session, round_: Round) -> None:
    """Conflict `round_generating` while a job makes completions of the round."""
    job = find_job(session, round_.job_id) if round_.job_id else None
    if job is not None and not JobState(job.state).final:
        raise Conflict(
            "Completions are still being made; cancel the job first.", code="round_generating"
        )
