"""How much a labeler ranked, and how fast, as their own pages tell them."""

from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from statistics import median
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from app.models import Assignment, AssignmentState, Ranking, User, utc_now

PACE_DAYS = 14
LEAST_ACTIVE_MS = 60_000
"""A rate per hour means nothing before somebody worked for a minute."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """What a person ranked in the last `PACE_DAYS` days; edits do not count twice."""

    today: date
    """Where the person is."""
    days: dict[date, int]
    today_by_project: dict[str, int]
    measured: int
    """Rankings whose active time is known: `median_active_ms` and `per_active_hour` are theirs."""
    median_active_ms: int | None
    per_active_hour: float | None

    @property
    def done_today(self) -> int:
        """Rankings since midnight."""
        return self.days.get(self.today, 0)


def measure_pace(session: Session, user: User) -> Pace:
    """The person's last days, in days as they have them."""
    zone = time_zone_of(user)
    today = utc_now().astimezone(zone).date()
    since = start_of_day(user) - timedelta(days=PACE_DAYS - 1)
    rows = session.execute(
        select(Assignment.finished_at, Assignment.project_id, Ranking.active_ms)
        .join(Ranking, and_(Ranking.assignment_id == Assignment.id, Ranking.current))
        .where(
            Assignment.user_id == user.id,
            Assignment.state == AssignmentState.SUBMITTED,
            Assignment.finished_at >= since,
        )
    ).all()
    days: Counter[date] = Counter()
    today_by_project: Counter[str] = Counter()
    for finished_at, project_id, _ in rows:
        assert finished_at is not None  # the condition above
        day = finished_at.astimezone(zone).date()
        days[day] += 1
        if day == today:
            today_by_project[project_id] += 1
    times = [active_ms for *_, active_ms in rows if active_ms]
    enough = sum(times) >= LEAST_ACTIVE_MS
    return Pace(
        today=today,
        days=dict(days),
        today_by_project=dict(today_by_project),
        measured=len(times),
        median_active_ms=round(median(times)) if times else None,
        per_active_hour=len(times) * 3_600_000 / sum(times) if enough else None,
    )


def count_done_since(session: Session, user: User, since: datetime) -> int:
    """How many tasks the person ranked since then; edits do not count twice."""
    return session.scalars(
        select(func.count()).where(
            Assignment.user_id == user.id,
            Assignment.state == AssignmentState.SUBMITTED,
            Assignment.finished_at >= since,
        )
    ).one()


def start_of_day(user: User) -> datetime:
    """When today began where the person is."""
    now = utc_now().astimezone(time_zone_of(user))
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def time_zone_of(user: User) -> ZoneInfo:
    """Where the person is, as their browser said; UTC until it has."""
    try:
        return ZoneInfo(user.preferences.get("time_zone", "UTC"))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")
