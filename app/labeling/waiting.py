"""What is waiting for a labeler, and why nothing is; the same few statements for any number of
projects."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from app.labeling.next_task import candidates
from app.labeling.pace import Pace
from app.labeling.queue import open_projects
from app.models import (
    Assignment,
    AssignmentState,
    LabelerPause,
    Project,
    Round,
    RoundState,
    Task,
    TaskState,
    User,
    utc_now,
)

WAITING_LIMIT = 1000
"""Waiting tasks are counted up to here: nobody needs to know how many thousand there are."""


class WhyEmpty(StrEnum):
    """Why a project has nothing for a labeler now."""

    PAUSED = "paused"
    NO_ROUND = "no_round"
    GENERATING = "generating"
    ALL_LEASED = "all_leased"
    ALL_MINE = "all_mine"
    COMPLETE = "complete"


@dataclass(frozen=True, kw_only=True)
class WaitingProject:
    """One project on a labeler's home."""

    project: Project
    waiting: int
    """At most `WAITING_LIMIT`; 0 for a paused labeler."""
    live: Assignment | None
    """The task in hand."""
    done: int
    done_today: int
    revoked: int
    """Rankings of the person that an admin revoked."""
    pause: LabelerPause | None
    why_empty: WhyEmpty | None
    """None while something is waiting or in hand."""


def list_waiting(session: Session, user: User, pace: Pace) -> list[WaitingProject]:
    """Every project open to the person, those with work for them first."""
    projects = session.scalars(open_projects(user).order_by(Project.name)).all()
    waiting = _describe(session, user, projects, pace)
    return sorted(waiting, key=lambda item: (item.live is None, item.waiting == 0))


def get_waiting(session: Session, user: User, project: Project, pace: Pace) -> WaitingProject:
    """One project as the person's home shows it."""
    return _describe(session, user, [project], pace)[0]


def _describe(
    session: Session, user: User, projects: Sequence[Project], pace: Pace
) -> list[WaitingProject]:
    ids = [project.id for project in projects]
    pauses = _find_pauses(session, user)
    live = _find_live(session, user)
    counted = _count_finished(session, user)
    waiting = _count_waiting(session, user, [one for one in ids if one not in pauses])
    empty = [one for one in ids if not waiting.get(one) and one not in live and one not in pauses]
    why_empty = _explain(session, user, empty) | dict.fromkeys(pauses, WhyEmpty.PAUSED)
    return [
        WaitingProject(
            project=project,
            waiting=waiting.get(project.id, 0),
            live=live.get(project.id),
            done=counted[project.id].get(AssignmentState.SUBMITTED, 0),
            done_today=pace.today_by_project.get(project.id, 0),
            revoked=counted[project.id].get(AssignmentState.REVOKED, 0),
            pause=pauses.get(project.id),
            why_empty=why_empty.get(project.id),
        )
        for project in projects
    ]


def _find_pauses(session: Session, user: User) -> dict[str, LabelerPause]:
    pauses = session.scalars(select(LabelerPause).where(LabelerPause.user_id == user.id))
    return {pause.project_id: pause for pause in pauses}


def _find_live(session: Session, user: User) -> dict[str, Assignment]:
    held = session.scalars(
        select(Assignment)
        .where(
            Assignment.user_id == user.id,
            Assignment.state == AssignmentState.LEASED,
            Assignment.lease_expires_at >= utc_now(),
        )
        .order_by(Assignment.leased_at.desc())
    )
    return {assignment.project_id: assignment for assignment in held}


def _count_finished(session: Session, user: User) -> dict[str, dict[str, int]]:
    """By project and state."""
    counted: dict[str, dict[str, int]] = defaultdict(dict)
    rows = session.execute(
        select(Assignment.project_id, Assignment.state, func.count())
        .where(
            Assignment.user_id == user.id,
            Assignment.state.in_([AssignmentState.SUBMITTED, AssignmentState.REVOKED]),
        )
        .group_by(Assignment.project_id, Assignment.state)
    )
    for project_id, state, count in rows:
        counted[project_id][state] = count
    return counted


def _count_waiting(session: Session, user: User, project_ids: Collection[str]) -> dict[str, int]:
    some = (
        candidates(user, Project.id)
        .with_only_columns(Task.id)
        .correlate(Project)
        .limit(WAITING_LIMIT)
        .subquery()
    )
    count = select(func.count()).select_from(some).scalar_subquery()
    rows = session.execute(select(Project.id, count).where(Project.id.in_(project_ids)))
    return dict(rows.all())


def _explain(session: Session, user: User, project_ids: Collection[str]) -> dict[str, WhyEmpty]:
    """Why each of these projects, where nothing waits for the person, has nothing for them."""
    if not project_ids:
        return {}
    a_round = exists().where(Round.project_id == Project.id)
    mine = exists().where(
        Assignment.task_id == Task.id,
        Assignment.user_id == user.id,
        Assignment.state.in_(
            [AssignmentState.SUBMITTED, AssignmentState.SKIPPED, AssignmentState.REVOKED]
        ),
    )
    unfinished = exists().where(
        Round.id == Task.round_id,
        Round.state == RoundState.OPEN,
        Task.project_id == Project.id,
        Task.state == TaskState.OPEN,
    )
    # In the order in which they are told: the first that holds explains it.
    reasons = {
        WhyEmpty.NO_ROUND: ~a_round,
        WhyEmpty.GENERATING: a_round.where(Round.state == RoundState.GENERATING),
        WhyEmpty.ALL_LEASED: unfinished.where(~mine),
        WhyEmpty.ALL_MINE: unfinished,
    }
    rows = session.execute(
        select(Project.id, *(holds.label(reason) for reason, holds in reasons.items())).where(
            Project.id.in_(project_ids)
        )
    ).all()
    return {
        project_id: next(
            (reason for reason, holds in zip(reasons, answers, strict=True) if holds),
            WhyEmpty.COMPLETE,
        )
        for project_id, *answers in rows
    }
