"""Finished tuning jobs and the A/B rounds that come of them, as the job kinds leave them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Database
from app.evaluation.opening import open_ab_round
from app.labeling.queue import lease_next_task
from app.labeling.rankings import submit_ranking
from app.labeling.submissions import Submission
from app.models import (
    Completion,
    CompletionReward,
    Job,
    ModelKind,
    Project,
    Prompt,
    Round,
    Task,
    TaskState,
    User,
    new_id,
    utc_now,
)
from app.projects.rounds import position_policies, settle_round
from app.settings import Settings
from tests.labeling.factory import make_user
from tests.projects.rounds_factory import make_model, make_project, tasks_of


@dataclass(frozen=True)
class Contest:
    """Ids of a project whose tuning job has ended: `old` was tuned into `new` against `judge`."""

    project_id: str
    job_id: str
    held_out: list[str]


def settings_in(folder: Path) -> Settings:
    return Settings(data_dir=folder)


def make_contest(
    session: Session,
    *,
    prompts: int = 6,
    held_out: int = 4,
    kind: str = "ppo",
    old: str = "old",
    new: str = "new",
    **outputs: Any,
) -> Contest:
    """The last prompts of the project are the ones held out."""
    project = make_project(session, prompts, name=f"Haiku {new_id()[-4:]}")
    ids = list(
        session.scalars(
            select(Prompt.id).where(Prompt.project_id == project.id).order_by(Prompt.id)
        )
    )[prompts - held_out :]
    job = Job(
        kind=kind,
        project_id=project.id,
        config={"policy": old, "temperature": 1.0, "max_new_tokens": 32},
        state="succeeded",
        progress=1.0,
        outputs={"model_id": new, "held_out_prompts": ids, **outputs},
        finished_at=utc_now(),
    )
    session.add(job)
    session.flush()
    make_model(session, old)
    trained = Job(kind="reward_model", project_id=project.id, state="succeeded", progress=1.0)
    session.add(trained)
    session.flush()
    make_model(session, "judge", ModelKind.REWARD_MODEL, project_id=project.id, job_id=trained.id)
    make_model(
        session,
        new,
        project_id=project.id,
        parent_id=old,
        reward_model_id="judge",
        job_id=job.id,
    )
    return Contest(project_id=project.id, job_id=job.id, held_out=ids)


def fill_round(
    session: Session,
    round_: Round,
    text: Callable[[str, int], str] = lambda policy, task: f"{policy} says {task}",
    rewards: dict[str, float] | None = None,
) -> list[Task]:
    """Give every task its completions, as the generation job does, and open it."""
    tasks = tasks_of(session, round_.id)
    for number, task in enumerate(tasks):
        for position, policy in enumerate(position_policies(round_)):
            completion = Completion(
                task_id=task.id,
                position=position,
                text=text(policy, number),
                model_id=policy,
                finish_reason="stop",
            )
            session.add(completion)
            session.flush()
            if rewards and policy in rewards:
                session.add(
                    CompletionReward(
                        completion_id=completion.id, model_id="judge", reward=rewards[policy]
                    )
                )
    session.flush()
    settle_round(session, round_)
    round_.job_id = None
    assert all(task.state == TaskState.OPEN for task in tasks)
    return tasks


def rank(session: Session, project_id: str, labeler: User, verdicts: Sequence[str | None]) -> None:
    """Lease and rank as many tasks as there are verdicts: a policy that wins, or None for a tie."""
    for winner in verdicts:
        assignment = lease_next_task(session, labeler, project_id, lease_seconds=600)
        assert assignment is not None, "nothing is waiting"
        policies = {
            one: session.get_one(Completion, one).model_id for one in assignment.shown_order
        }
        ranks = {one: 1 if winner in (None, policy) else 2 for one, policy in policies.items()}
        submit_ranking(session, labeler, assignment.id, Submission(ranks=ranks))


@dataclass(frozen=True)
class Judged:
    """A contest whose A/B round people have ranked."""

    contest: Contest
    round_id: str


def make_judged(
    database: Database,
    folder: Path,
    verdicts: Sequence[str | None] = ("new", "new", "new", "old", None, "new"),
    *,
    labelers: Sequence[str] = ("ada",),
    prompts: int = 6,
    rewards: dict[str, float] | None = None,
    text: Callable[[str, int], str] = lambda policy, task: f"{policy} says {task}",
    others: Sequence[str] = (),
) -> Judged:
    """Each labeler gives these verdicts, in the order in which the queue hands tasks out."""
    with database.write() as session:
        contest = make_contest(session, prompts=2 * prompts, held_out=prompts)
        for other in others:
            make_model(session, other)
        round_ = open_ab_round(
            session,
            None,
            settings_in(folder),
            session.get_one(Job, contest.job_id),
            labelers_per_task=len(labelers),
            others=others,
        )
        fill_round(session, round_, text, rewards or {"new": 1.5, "old": 0.5})
        for name in labelers:
            rank(session, contest.project_id, make_user(session, name), verdicts)
    return Judged(contest, round_.id)


def project_of(session: Session, contest: Contest) -> Project:
    return session.get_one(Project, contest.project_id)
