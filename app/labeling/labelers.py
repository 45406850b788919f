"""Who ranked in a project: the account behind a name, revoked rankings, skips and pauses."""

from collections import Counter, defaultdict
from dataclasses import dataclass

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from app.models import Assignment, AssignmentState, LabelerPause, Ranking, Task
from app.preferences.filters import PairFilters, select_rankings, simulated_condition


@dataclass(frozen=True, kw_only=True)
class LabelerRecord:
    """A labeler of a project, and what is known of them beside their rankings."""

    labeler: str
    user_id: str | None
    """None for a labeler whom only imports name."""
    simulated: bool
    paused: bool
    revoked: int
    """Rankings that were revoked."""
    skip_reasons: dict[str, int]
    """How often they skipped, by the key of the reason; the most frequent first."""


def list_labeler_records(
    session: Session, project_id: str, filters: PairFilters
) -> list[LabelerRecord]:
    """Everybody with a ranking that fits the filters, revoked ones included, by name."""
    found = session.execute(
        select_rankings(project_id, filters, include_revoked=True)
        .with_only_columns(
            Ranking.labeler,
            func.max(Ranking.user_id).label("user_id"),
            func.max(case((simulated_condition(), 1), else_=0)).label("simulated"),
            func.count(Ranking.revoked_at).label("revoked"),
        )
        .group_by(Ranking.labeler)
    ).all()
    skips = _count_skips(session, project_id, filters)
    paused = set(
        session.scalars(select(LabelerPause.user_id).where(LabelerPause.project_id == project_id))
    )
    return [
        LabelerRecord(
            labeler=row.labeler,
            user_id=row.user_id,
            simulated=bool(row.simulated),
            paused=row.user_id in paused,
            revoked=row.revoked,
            skip_reasons=dict(skips[row.user_id].most_common()) if row.user_id else {},
        )
        for row in sorted(found, key=lambda row: row.labeler)
    ]


def _count_skips(
    session: Session, project_id: str, filters: PairFilters
) -> dict[str, Counter[str]]:
    """Skips of each person by the key of the reason, in the filters' round and time."""
    skipped = (
        select(Assignment.user_id, Assignment.skip_reason, func.count())
        .where(Assignment.project_id == project_id, Assignment.state == AssignmentState.SKIPPED)
        .group_by(Assignment.user_id, Assignment.skip_reason)
    )
    if filters.round_id is not None:
        skipped = skipped.join(Task, Task.id == Assignment.task_id).where(
            Task.round_id == filters.round_id
        )
    if filters.created_after is not None:
        skipped = skipped.where(Assignment.finished_at >= filters.created_after)
    if filters.created_before is not None:
        skipped = skipped.where(Assignment.finished_at < filters.created_before)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for user_id, reason, count in session.execute(skipped):
        counts[user_id][reason_key(reason or "")] += count
    return counts


def reason_key(reason: str) -> str:
    """The part of a skip's reason that names its kind: what stands before ": "."""
    return reason.split(": ", 1)[0]
