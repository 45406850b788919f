"""One line about each project, for the list of projects."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from app.models import (
    Job,
    JobState,
    Project,
    Prompt,
    Ranking,
    RankingSource,
    Round,
    RoundState,
    Task,
    TaskState,
)
from app.projects.comparison import ranking_counts


@dataclass(frozen=True, kw_only=True)
class ProjectSummary:
    """A project and the counts that tell it from its neighbours."""

    project: Project
    prompts: int
    rankings: int
    simulated_rankings: int
    open_tasks: int
    active_jobs: int


def summarize_projects(session: Session, projects: Sequence[Project]) -> list[ProjectSummary]:
    """Count what each of these projects holds, in four statements."""
    ids = [project.id for project in projects]
    prompts = dict(
        session.execute(
            select(Prompt.project_id, func.count(Prompt.id))
            .where(Prompt.project_id.in_(ids))
            .group_by(Prompt.project_id)
        ).all()
    )
    simulated = case((Ranking.source == RankingSource.SIMULATED, 1), else_=0)
    rankings = {
        row.project_id: (row.total, int(row.simulated or 0))
        for row in session.execute(
            select(
                Ranking.project_id,
                func.count(Ranking.id).label("total"),
                func.sum(simulated).label("simulated"),
            )
            .where(Ranking.project_id.in_(ids), ranking_counts())
            .group_by(Ranking.project_id)
        )
    }
    open_tasks = dict(
        session.execute(
            select(Task.project_id, func.count(Task.id))
            .join(Round, Round.id == Task.round_id)
            .where(
                Task.project_id.in_(ids),
                Task.state == TaskState.OPEN,
                Round.state != RoundState.CLOSED,
            )
            .group_by(Task.project_id)
        ).all()
    )
    active_jobs = dict(
        session.execute(
            select(Job.project_id, func.count(Job.id))
            .where(Job.project_id.in_(ids), Job.state.in_([JobState.QUEUED, JobState.RUNNING]))
            .group_by(Job.project_id)
        ).all()
    )
    return [
        ProjectSummary(
            project=project,
            prompts=prompts.get(project.id, 0),
            rankings=rankings.get(project.id, (0, 0))[0],
            simulated_rankings=rankings.get(project.id, (0, 0))[1],
            open_tasks=open_tasks.get(project.id, 0),
            active_jobs=active_jobs.get(project.id, 0),
        )
        for project in projects
    ]
