"""Where a project stands in its loop, and which step comes next.

Read again and again by a live page, so everything here is counts and newest rows: a dozen
statements, whatever the size of the project.
"""

from dataclasses import dataclass

from sqlalchemy import Select, case, func, select
from sqlalchemy.orm import Session

from app.jobs.service import is_worker_alive
from app.models import (
    Assignment,
    AssignmentState,
    Completion,
    Job,
    JobState,
    Model,
    ModelKind,
    Promotion,
    Prompt,
    Ranking,
    RankingSource,
    Role,
    Round,
    RoundState,
    Snapshot,
    Task,
    TaskState,
    User,
    utc_now,
)
from app.projects.comparison import Comparison, find_newest_comparison, ranking_counts
from app.projects.next_step import (
    JobProgress,
    ModelSummary,
    NextStep,
    RoundProgress,
    decide_next_step,
)
from app.projects.pair_counts import count_loop_pairs

TUNING_KINDS = ("ppo", "dpo")
LOOP_JOB_KINDS = ("generation", "reward_model", *TUNING_KINDS)


@dataclass(frozen=True, kw_only=True)
class LoopState:
    """Everything the loop page shows."""

    prompts: int
    rounds: int
    completions: int
    rankings: int
    simulated_rankings: int
    rankings_missing: int
    """Rankings that open tasks still want."""
    labelers: int
    """Different labelers among the rankings."""
    ranking_now: int
    """Live leases."""
    people_who_rank: int
    """Enabled accounts with the role labeler, simulated ones left out."""
    pairs: int
    snapshots: int
    latest_round: RoundProgress | None
    """The newest round that collects rankings to learn from."""
    trial_round: RoundProgress | None
    """The newest A/B round of the newest policy."""
    reward_model: ModelSummary | None
    policy: ModelSummary | None
    promoted: str | None
    """The policy that the next round asks unless somebody says otherwise."""
    comparison: Comparison | None
    jobs: dict[str, JobProgress]
    worker_alive: bool
    next_step: NextStep

    def active_job(self, kind: str) -> JobProgress | None:
        """The job of this kind that is queued or running."""
        job = self.jobs.get(kind)
        return job if job is not None and job.active else None

    @property
    def tuning_job(self) -> JobProgress | None:
        """The newest job that tunes a policy, of whatever kind."""
        jobs = [self.jobs[kind] for kind in TUNING_KINDS if kind in self.jobs]
        return max(jobs, key=lambda job: (job.active, job.created_at), default=None)

    @property
    def any_active_job(self) -> bool:
        """Whether something is queued or running."""
        return any(job.active for job in self.jobs.values())


def get_loop_state(session: Session, project_id: str) -> LoopState:
    """Count the stations of this project's loop and decide the next step."""
    rounds = list(
        session.scalars(select(Round).where(Round.project_id == project_id).order_by(Round.number))
    )
    collected = [one for one in rounds if one.candidate_id is None]
    latest_round = _round_progress(session, collected[-1]) if collected else None
    jobs = _newest_jobs(session, project_id)
    reward_model = _newest_model(session, project_id, ModelKind.REWARD_MODEL)
    policy = _newest_model(session, project_id, ModelKind.POLICY)
    trials = [one for one in rounds if policy is not None and one.candidate_id == policy.id]
    trial_round = _round_progress(session, trials[-1]) if trials else None
    promotion = session.scalar(
        select(Promotion)
        .where(Promotion.project_id == project_id)
        .order_by(Promotion.id.desc())
        .limit(1)
    )
    rankings, simulated, labelers = _count_rankings(session, project_id)
    prompts = _count(session, select(func.count(Prompt.id)).where(Prompt.project_id == project_id))
    pairs = count_loop_pairs(session, project_id)
    missing = count_missing_rankings(session, project_id)
    return LoopState(
        prompts=prompts,
        rounds=len(rounds),
        completions=_count(
            session,
            select(func.count(Completion.id))
            .join(Task, Task.id == Completion.task_id)
            .where(Task.project_id == project_id),
        ),
        rankings=rankings,
        simulated_rankings=simulated,
        rankings_missing=missing,
        labelers=labelers,
        ranking_now=_count_live_leases(session, project_id),
        people_who_rank=_count(
            session,
            select(func.count(User.id)).where(
                User.role == Role.LABELER,
                User.disabled_at.is_(None),
                User.simulation_rule.is_(None),
            ),
        ),
        pairs=pairs,
        snapshots=_count(
            session, select(func.count(Snapshot.id)).where(Snapshot.project_id == project_id)
        ),
        latest_round=latest_round,
        trial_round=trial_round,
        reward_model=reward_model,
        policy=policy,
        promoted=promotion.model_id if promotion else None,
        comparison=find_newest_comparison(session, rounds),
        jobs=jobs,
        worker_alive=is_worker_alive(session),
        next_step=decide_next_step(
            prompts=prompts,
            latest_round=latest_round,
            rankings_missing=missing,
            pairs=pairs,
            reward_model=reward_model,
            policy=policy,
            trial_round=trial_round,
            decided_at=promotion.created_at if promotion else None,
            jobs=jobs,
        ),
    )


def _count(session: Session, statement: Select[int]) -> int:
    return int(session.scalar(statement) or 0)


def _count_rankings(session: Session, project_id: str) -> tuple[int, int, int]:
    simulated = case((Ranking.source == RankingSource.SIMULATED, 1), else_=0)
    row = session.execute(
        select(
            func.count(Ranking.id),
            func.coalesce(func.sum(simulated), 0),
            func.count(Ranking.labeler.distinct()),
        ).where(Ranking.project_id == project_id, ranking_counts())
    ).one()
    return int(row[0]), int(row[1]), int(row[2])


def count_missing_rankings(session: Session, project_id: str) -> int:
    """Rankings that the open tasks of rounds not closed still want."""
    missing = Task.rankings_wanted - Task.rankings_got
    return _count(
        session,
        select(func.coalesce(func.sum(case((missing > 0, missing), else_=0)), 0))
        .join(Round, Round.id == Task.round_id)
        .where(
            Task.project_id == project_id,
            Task.state == TaskState.OPEN,
            Round.state != RoundState.CLOSED,
        ),
    )


def _count_live_leases(session: Session, project_id: str) -> int:
    return _count(
        session,
        select(func.count(Assignment.id))
        .join(Task, Task.id == Assignment.task_id)
        .where(
            Task.project_id == project_id,
            Assignment.state == AssignmentState.LEASED,
            Assignment.lease_expires_at > utc_now(),
        ),
    )


def _round_progress(session: Session, newest: Round) -> RoundProgress:
    states = dict(
        session.execute(
            select(Task.state, func.count(Task.id))
            .where(Task.round_id == newest.id)
            .group_by(Task.state)
        ).all()
    )
    completions = _count(
        session,
        select(func.count(Completion.id))
        .join(Task, Task.id == Completion.task_id)
        .where(Task.round_id == newest.id),
    )
    tasks = sum(states.values())
    wanted = tasks * newest.completions_per_prompt if newest.policies else completions
    return RoundProgress(
        id=newest.id,
        number=newest.number,
        state=RoundState(newest.state),
        policies=newest.policies,
        created_at=newest.created_at,
        tasks=tasks,
        pending=states.get(TaskState.PENDING, 0),
        open=states.get(TaskState.OPEN, 0),
        short=states.get(TaskState.SHORT, 0),
        completions=completions,
        completions_wanted=wanted,
    )


def _newest_jobs(session: Session, project_id: str) -> dict[str, JobProgress]:
    """The newest job of each kind; columns are named, for a log tail can be long."""
    jobs: dict[str, JobProgress] = {}
    for kind in LOOP_JOB_KINDS:
        row = session.execute(
            select(
                Job.id,
                Job.state,
                Job.progress,
                Job.stage,
                Job.eta_seconds,
                Job.reason,
                Job.created_at,
            )
            .where(Job.project_id == project_id, Job.kind == kind)
            .order_by(Job.id.desc())
            .limit(1)
        ).one_or_none()
        if row is not None:
            jobs[kind] = JobProgress(**{**row._mapping, "state": JobState(row.state)})
    return jobs


def _newest_model(session: Session, project_id: str, kind: ModelKind) -> ModelSummary | None:
    model = session.scalar(
        select(Model)
        .where(
            Model.project_id == project_id,
            Model.kind == kind,
            Model.job_id.is_not(None),
            Model.archived_at.is_(None),
        )
        .order_by(Model.created_at.desc())
        .limit(1)
    )
    if model is None:
        return None
    return ModelSummary(
        id=model.id,
        name=model.name,
        parent_id=model.parent_id,
        job_id=model.job_id,
        reward_model_id=model.reward_model_id,
        simulated_labels=model.simulated_labels,
        metrics=model.metrics,
        created_at=model.created_at,
    )
