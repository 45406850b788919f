"""A labeler's home: what is waiting, what was done today, and why nothing is waiting."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from statistics import median
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from app.labeling.next_task import candidates
from app.labeling.queue import find_live_assignment, open_projects
from app.models import (
    Assignment,
    AssignmentState,
    Project,
    Ranking,
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
    """At most `WAITING_LIMIT`."""
    live: Assignment | None
    """The task in hand."""
    done: int
    done_today: int
    why_empty: WhyEmpty | None
    """None while something is waiting or in hand."""


def list_waiting(session: Session, user: User) -> list[WaitingProject]:
    """Every project open to the person, those with work for them first."""
    projects = session.scalars(open_projects(user).order_by(Project.name)).all()
    waiting = [_describe(session, user, project) for project in projects]
    return sorted(waiting, key=lambda item: (item.live is None, item.waiting == 0))


def get_waiting(session: Session, user: User, project: Project) -> WaitingProject:
    """One project as the person's home shows it."""
    return _describe(session, user, project)


def count_done_since(
    session: Session, user: User, since: datetime | None, project_id: str | None = None
) -> int:
    """How many tasks the person ranked since then; edits do not count twice."""
    done = select(func.count()).where(
        Ranking.user_id == user.id, Ranking.current, Ranking.assignment_id.is_not(None)
    )
    if project_id is not None:
        done = done.where(Ranking.project_id == project_id)
    if since is not None:
        first = select(Assignment.id).where(
            Assignment.user_id == user.id,
            Assignment.state == AssignmentState.SUBMITTED,
            Assignment.finished_at >= since,
        )
        done = done.where(Ranking.assignment_id.in_(first))
    return session.scalars(done).one()


def median_active_ms(session: Session, user: User, since: datetime) -> int | None:
    """The middle active time of the person's rankings since then, where it was measured."""
    measured = session.scalars(
        select(Ranking.active_ms).where(
            Ranking.user_id == user.id,
            Ranking.current,
            Ranking.created_at >= since,
        )
    )
    times = [time for time in measured if time]
    return round(median(times)) if times else None


def start_of_day(user: User) -> datetime:
    """When today began where the person is, as their browser said; in UTC until it has."""
    name = user.preferences.get("time_zone", "UTC")
    try:
        zone = ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        zone = ZoneInfo("UTC")
    return utc_now().astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)


def _describe(session: Session, user: User, project: Project) -> WaitingProject:
    some = candidates(user, project.id).with_only_columns(Task.id).limit(WAITING_LIMIT).subquery()
    waiting = session.scalars(select(func.count()).select_from(some)).one()
    live = find_live_assignment(session, user, project.id)
    return WaitingProject(
        project=project,
        waiting=waiting,
        live=live,
        done=count_done_since(session, user, None, project.id),
        done_today=count_done_since(session, user, start_of_day(user), project.id),
        why_empty=None if waiting or live else _explain(session, user, project),
    )


def _explain(session: Session, user: User, project: Project) -> WhyEmpty:
    states: Sequence[str] = session.scalars(
        select(Round.state).where(Round.project_id == project.id).distinct()
    ).all()
    if not states:
        return WhyEmpty.NO_ROUND
    if RoundState.GENERATING in states:
        return WhyEmpty.GENERATING
    mine = exists().where(
        Assignment.task_id == Task.id,
        Assignment.user_id == user.id,
        Assignment.state.in_([AssignmentState.SUBMITTED, AssignmentState.SKIPPED]),
    )
    unfinished = (
        select(Task.id)
        .join(Round, Round.id == Task.round_id)
        .where(
            Task.project_id == project.id,
            Task.state == TaskState.OPEN,
            Round.state == RoundState.OPEN,
        )
        .limit(1)
    )
    if session.scalar(unfinished.where(~mine)) is not None:
        return WhyEmpty.ALL_LEASED
    if session.scalar(unfinished) is not None:
        return WhyEmpty.ALL_MINE
    return WhyEmpty.COMPLETE
