"""The people of a project beyond those who ranked, and what revoking one's rankings would do."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import exists, func, or_, select
from sqlalchemy.orm import Session

from app.errors import Invalid, NotFound
from app.labeling.comparing import agreements, pair_signs
from app.labeling.estimates import Estimate, ratio_estimates
from app.labeling.judgements import JudgedTask, load_judged_tasks
from app.labeling.labelers import LabelerRecord, reason_key
from app.labeling.quality import LabelerQuality, measure_quality, summarize_quality
from app.labeling.remembering import remembered
from app.labeling.revocation import Touched, find_touched
from app.models import (
    Assignment,
    AssignmentState,
    LabelerPause,
    Ranking,
    Round,
    Task,
    TaskState,
    User,
)
from app.preferences.filters import PairFilters


@dataclass(frozen=True, kw_only=True)
class ForeseenRevocation:
    """What revoking a labeler's rankings would do, were it done now."""

    rankings: int
    reopened_tasks: int
    """Complete tasks that would want a ranking again."""
    touched: Touched


@dataclass(frozen=True, kw_only=True)
class RevokedNote:
    """When rankings were revoked, why, and by whom; None for the command line."""

    at: datetime
    reason: str
    by: User | None


def list_project_labelers(
    session: Session, project_id: str, filters: PairFilters | None = None
) -> list[LabelerQuality]:
    """Everybody who ranked in the project, by name, with the figures of the rankings that fit.

    Without filters also who only skipped or is paused.
    """
    ranked = measure_quality(session, project_id, filters).labelers
    if filters is not None and filters != PairFilters():
        return ranked
    idle = summarize_quality([], _list_idle(session, project_id)).labelers
    return sorted([*ranked, *idle], key=lambda one: one.labeler)


def get_project_labeler(session: Session, project_id: str, labeler: str) -> LabelerQuality:
    """One of them, or NotFound."""
    return pick_labeler(list_project_labelers(session, project_id), labeler)


def pick_labeler(labelers: Sequence[LabelerQuality], name: str) -> LabelerQuality:
    """The labeler of this name, or NotFound."""
    for one in labelers:
        if one.labeler == name:
            return one
    raise NotFound("Nobody by this name has worked in the project.", code="labeler_not_found")


def agreement_of_all(labelers: Sequence[LabelerQuality]) -> float | None:
    """Pairwise agreement of all labelers together: each comparison is in two labelers' figures,
    so that their mean weighted by pairs is that of the project."""
    known = [one.agreement for one in labelers if one.agreement.value is not None]
    pairs = sum(figure.n for figure in known)
    return sum((figure.value or 0.0) * figure.n for figure in known) / pairs if pairs else None


def measure_with_others(
    session: Session, project_id: str, labeler: str
) -> list[tuple[str, Estimate]]:
    """Pairwise agreement of a labeler with each other one, by name; n = completion pairs.

    Remembered until a ranking comes or is revoked.
    """
    found: list[tuple[str, Estimate]] = remembered(
        session,
        f"others {labeler}",
        project_id,
        PairFilters(),
        lambda: compare_with_others(load_judged_tasks(session, project_id), labeler),
    )
    return found


def compare_with_others(tasks: Iterable[JudgedTask], labeler: str) -> list[tuple[str, Estimate]]:
    """The same of judged tasks; pure."""
    sums: dict[str, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for task in sorted(tasks, key=lambda task: task.id):
        mine = next((one for one in task.firsts if one.labeler == labeler), None)
        if mine is None:
            continue
        signs = pair_signs(mine.ranks)
        for other in task.firsts:
            if other is not mine:
                agreed, pairs = agreements(signs, pair_signs(other.ranks))
                sums[other.labeler][0].append(agreed)
                sums[other.labeler][1].append(pairs)
    names = sorted(sums)
    return list(zip(names, ratio_estimates([sums[name] for name in names]), strict=True))


def find_account(session: Session, labeler: LabelerQuality) -> User | None:
    """The account of a labeler; None for one whom only imports name."""
    return session.get(User, labeler.user_id) if labeler.user_id else None


def get_account(session: Session, project_id: str, labeler: str) -> User:
    """The account behind a labeler's name, who can be paused; Invalid where imports alone name
    them, NotFound where nobody does."""
    found = select(User).where(
        or_(
            User.id.in_(
                select(Ranking.user_id).where(
                    Ranking.project_id == project_id, Ranking.labeler == labeler
                )
            ),
            User.handle == labeler,
        )
    )
    user = session.scalars(found.order_by(User.handle != labeler).limit(1)).first()
    if user is not None:
        return user
    get_project_labeler(session, project_id, labeler)
    raise Invalid(
        "Only imports name this labeler: there is no account to pause.",
        code="labeler_without_account",
        fields={"labeler": "the handle of an account"},
    )


def _list_idle(session: Session, project_id: str) -> list[LabelerRecord]:
    """People who skipped tasks of the project or are paused in it, without any ranking."""
    ranked = exists().where(Ranking.project_id == project_id, Ranking.user_id == User.id)
    skipped = exists().where(
        Assignment.project_id == project_id,
        Assignment.user_id == User.id,
        Assignment.state == AssignmentState.SKIPPED,
    )
    paused = exists().where(LabelerPause.project_id == project_id, LabelerPause.user_id == User.id)
    people = session.execute(
        select(User, paused.label("paused")).where(~ranked, or_(skipped, paused))
    ).all()
    if not people:
        return []
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    for user_id, reason, count in session.execute(
        select(Assignment.user_id, Assignment.skip_reason, func.count())
        .where(
            Assignment.project_id == project_id,
            Assignment.state == AssignmentState.SKIPPED,
            Assignment.user_id.in_([user.id for user, _ in people]),
        )
        .group_by(Assignment.user_id, Assignment.skip_reason)
    ):
        reasons[user_id][reason_key(reason or "")] += count
    return [
        LabelerRecord(
            labeler=user.handle,
            user_id=user.id,
            simulated=user.simulated,
            paused=bool(is_paused),
            revoked=0,
            skip_reasons=dict(reasons[user.id].most_common()),
        )
        for user, is_paused in people
    ]


def find_revoked_note(session: Session, project_id: str, labeler: str) -> RevokedNote | None:
    """Of the revoked rankings of a labeler the latest revoking, where there is any."""
    row = session.execute(
        select(Ranking.revoked_at, Ranking.revoke_reason, User)
        .outerjoin(User, User.id == Ranking.revoked_by)
        .where(
            Ranking.project_id == project_id,
            Ranking.labeler == labeler,
            Ranking.current,
            Ranking.revoked_at.is_not(None),
        )
        .order_by(Ranking.revoked_at.desc())
        .limit(1)
    ).first()
    if row is None or row[0] is None:
        return None
    return RevokedNote(at=row[0], reason=row[1], by=row[2])


def foresee_revocation(session: Session, project_id: str, labeler: str) -> ForeseenRevocation:
    """How many rankings `revoke_rankings` would take out, and what rests on them."""
    mine = (
        Ranking.project_id == project_id,
        Ranking.labeler == labeler,
        Ranking.current,
        Ranking.revoked_at.is_(None),
    )
    reopening = (
        select(func.count())
        .select_from(Task)
        .join(Round, Round.id == Task.round_id)
        .where(
            Task.id.in_(select(Ranking.task_id).where(*mine, ~Ranking.is_repeat)),
            Task.state == TaskState.COMPLETE,
            Task.rankings_got - 1 < Task.rankings_wanted,
            Round.labelers_per_task > 0,
        )
    )
    return ForeseenRevocation(
        rankings=session.scalar(select(func.count()).select_from(Ranking).where(*mine)) or 0,
        reopened_tasks=session.scalar(reopening) or 0,
        touched=find_touched(session, project_id, labeler),
    )
