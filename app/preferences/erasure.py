"""Erasing what a labeler said in a project; what snapshots froze of it leaves tombstones."""

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    delete,
    exists,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session

from app.accounts.audit import record
from app.errors import Conflict, Invalid, NotFound
from app.labeling.removal import change_rows, forget_rows, lock_rows, take_off_tasks
from app.labeling.revocation import find_touched
from app.labeling.slots import lock_labeler
from app.models import (
    Assignment,
    AuditEvent,
    Job,
    JobState,
    Model,
    Project,
    Ranking,
    RankingEntry,
    Snapshot,
    SnapshotRanking,
    User,
    utc_now,
)
from app.preferences.splits import SplitBy, Splits

PSEUDONYM = "erased-"


@dataclass(frozen=True, kw_only=True)
class ErasureReport:
    """What erasing did."""

    pseudonym: str | None
    """What stands for the labeler now, in this erasure alone; None where nothing was left."""
    rankings: int
    """All that were erased, with revisions, repeats and revoked ones."""
    deleted: int
    """Of those, the ones that no snapshot held: no trace of them is left."""
    tombstones: int
    """Of those, the ones that a snapshot holds: that there was one is all that is left."""
    assignments: int
    """Leases, drafts and skips that are gone."""
    reopened_tasks: int
    """Complete tasks that want a ranking again; those of closed rounds are not handed out."""
    snapshot_ids: list[str]
    """Snapshots that now hold tombstones of theirs."""
    job_ids: list[str]
    """Jobs that learned from one of those."""


@dataclass(frozen=True, kw_only=True)
class ForeseenErasure:
    """What erasing a labeler would do, were it done now."""

    rankings: int
    tombstones: int
    assignments: int
    snapshots: list[Snapshot]
    models: list[Model]
    """They learned from one of the snapshots, at any depth, and keep what they learned."""


def check_confirmation(labeler: str, typed: str) -> None:
    """Invalid where what was typed is not the labeler's name, but for spaces around it."""
    if typed.strip() != labeler.strip():
        raise Invalid(
            "The two names differ. Type the labeler’s name as it is written here.",
            fields={"confirm": "the labeler’s name, once more"},
        )


def refuse_stranger(session: Session, project_id: str, labeler: str) -> None:
    """NotFound where nothing in the project is the labeler's: a name mistyped must not pass for one
    that was erased."""
    accounts = _select_accounts(project_id, labeler)
    assigned = (Assignment.project_id == project_id, Assignment.user_id.in_(accounts))
    ranked = (is_by(project_id, labeler), Ranking.erased_at.is_(None))
    if not session.scalar(select(or_(exists().where(*ranked), exists().where(*assigned)))):
        raise NotFound(
            "Nobody by this name has anything to erase in the project.", code="labeler_not_found"
        )


def erase_labeler(
    session: Session, admin: User | None, project: Project, labeler: str
) -> ErasureReport:
    """Erase every ranking of the labeler in the project, and what else it says of their work.

    Afterwards nothing in the project's tables names them, but a pause, which keeps their account
    from ranking on. Tasks have their slots back. Erasing again finds nothing to do. For admins:
    the edge checks that, and removes the files after the commit: `remove_erased_files`. As many
    statements as ever, however many rankings there are.

    Raises:
        Conflict: a job is learning from a snapshot that holds rankings of theirs (`used_by_job`).
    """
    session.flush()
    unfinished = Job.state.in_([JobState.QUEUED, JobState.RUNNING])
    lock_rows(
        session, select(Job.id).where(Job.project_id == project.id, unfinished).order_by(Job.id)
    )
    account_ids = _lock_accounts(session, project.id, labeler)
    assigned = (Assignment.project_id == project.id, Assignment.user_id.in_(account_ids))
    lock_rows(session, select(Assignment.id).where(*assigned).order_by(Assignment.task_id))
    pseudonym = f"{PSEUDONYM}{secrets.token_hex(6)}"
    rankings = change_rows(
        session,
        update(Ranking)
        .where(is_by(project.id, labeler), Ranking.erased_at.is_(None))
        .values(labeler=pseudonym, erased_at=utc_now()),
    )
    # From here on the pseudonym says which they are: an import may bring new ones under the name.
    theirs = and_(Ranking.project_id == project.id, Ranking.labeler == pseudonym)
    snapshots = _lock_snapshots(session, theirs)
    snapshot_ids = [snapshot.id for snapshot in snapshots]
    job_ids = _list_readers(session, project.id, snapshot_ids)
    reopened = take_off_tasks(session, theirs, and_(*assigned))
    deleted = _bury(session, theirs)
    assignments = change_rows(session, delete(Assignment).where(*assigned))
    _note_in_snapshots(session, snapshots, theirs, labeler, pseudonym)
    _rename_in_audit(session, project.id, labeler, pseudonym)
    session.flush()
    forget_rows(session)
    if rankings or assignments:
        details = {
            "labeler": pseudonym,
            "rankings": rankings,
            "tombstones": rankings - deleted,
            "snapshots": len(snapshots),
            "assignments": assignments,
        }
        record(session, admin, "labeler.erase", "project", project.id, **details)
    return ErasureReport(
        pseudonym=pseudonym if rankings > deleted else None,
        rankings=rankings,
        deleted=deleted,
        tombstones=rankings - deleted,
        assignments=assignments,
        reopened_tasks=reopened,
        snapshot_ids=snapshot_ids,
        job_ids=job_ids,
    )


def foresee_erasure(session: Session, project_id: str, labeler: str) -> ForeseenErasure:
    """How many rankings `erase_labeler` would take, and what rests on them."""
    theirs = and_(is_by(project_id, labeler), Ranking.erased_at.is_(None))
    counted = select(func.count()).select_from(Ranking).where(theirs)
    assigned = select(func.count()).select_from(Assignment)
    assigned = assigned.where(
        Assignment.project_id == project_id,
        Assignment.user_id.in_(_select_accounts(project_id, labeler)),
    )
    touched = find_touched(session, project_id, labeler)
    return ForeseenErasure(
        rankings=session.scalar(counted) or 0,
        tombstones=session.scalar(counted.where(_is_held())) or 0,
        assignments=session.scalar(assigned) or 0,
        snapshots=touched.snapshots,
        models=touched.models,
    )


def is_by(project_id: str, labeler: str) -> ColumnElement[bool]:
    """Whether a ranking of the project is the labeler's."""
    return and_(Ranking.project_id == project_id, Ranking.labeler == labeler)


def _is_held() -> ColumnElement[bool]:
    return exists().where(SnapshotRanking.ranking_id == Ranking.id)


def _select_accounts(project_id: str, labeler: str) -> Select[str]:
    """The account behind the name; imports may name somebody who has none."""
    ranked = select(Ranking.user_id).where(is_by(project_id, labeler))
    return select(User.id).where(or_(User.handle == labeler, User.id.in_(ranked)))


def _lock_accounts(session: Session, project_id: str, labeler: str) -> list[str]:
    """Keep the labeler from leasing another task until the transaction ends."""
    ids = session.scalars(_select_accounts(project_id, labeler).order_by(User.id)).all()
    for user_id in ids:
        lock_labeler(session, session.get_one(User, user_id))
    return list(ids)


def _lock_snapshots(session: Session, theirs: ColumnElement[bool]) -> Sequence[Snapshot]:
    holding = (
        select(SnapshotRanking.snapshot_id)
        .join(Ranking, Ranking.id == SnapshotRanking.ranking_id)
        .where(theirs)
    )
    return session.scalars(
        select(Snapshot)
        .where(Snapshot.id.in_(holding))
        .order_by(Snapshot.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).all()


def _list_readers(session: Session, project_id: str, snapshot_ids: Collection[str]) -> list[str]:
    """The jobs that read one of the snapshots or, queued, will read what is left; Conflict where
    one is reading it now."""
    # Configs are JSON and jobs few, so they are sifted here.
    jobs = session.scalars(select(Job).where(Job.project_id == project_id).order_by(Job.id))
    readers = [job for job in jobs if job.config.get("snapshot_id") in snapshot_ids]
    if any(job.state == JobState.RUNNING for job in readers):
        raise Conflict(
            "A job is learning from these rankings right now. Cancel the job, or wait until it "
            "ended, and erase them then.",
            code="used_by_job",
        )
    return [job.id for job in readers]


def _bury(session: Session, theirs: ColumnElement[bool]) -> int:
    """Leave tombstones of those that a snapshot holds and nothing of the others; how many those
    were."""
    said = select(Ranking.id).where(theirs)
    change_rows(session, delete(RankingEntry).where(RankingEntry.ranking_id.in_(said)))
    deleted = change_rows(session, delete(Ranking).where(theirs, ~_is_held()))
    change_rows(
        session,
        update(Ranking)
        .where(theirs)
        .values(
            user_id=None,
            assignment_id=None,
            external_id=None,
            comment="",
            shown_order=[],
            active_ms=None,
            origin=None,
            revoked_at=None,
            revoked_by=None,
            revoke_reason="",
            current=False,
        ),
    )
    return deleted


def _note_in_snapshots(
    session: Session,
    snapshots: Sequence[Snapshot],
    theirs: ColumnElement[bool],
    labeler: str,
    pseudonym: str,
) -> None:
    """Count the tombstones of each, and take out the name where its filters or parts tell it."""
    counted = (
        select(SnapshotRanking.snapshot_id, func.count())
        .join(Ranking, Ranking.id == SnapshotRanking.ranking_id)
        .where(theirs)
        .group_by(SnapshotRanking.snapshot_id)
    )
    counts = {row[0]: row[1] for row in session.execute(counted)}
    for snapshot in snapshots:
        snapshot.erased_rankings += counts[snapshot.id]
        if snapshot.filters.get("labeler") == labeler:
            snapshot.filters = {**snapshot.filters, "labeler": pseudonym}
        splits = Splits.from_json(snapshot.splits) if snapshot.splits else None
        if splits is not None and splits.by == SplitBy.LABELER:
            others = session.scalars(
                select(Ranking.labeler)
                .join(SnapshotRanking, SnapshotRanking.ranking_id == Ranking.id)
                .where(SnapshotRanking.snapshot_id == snapshot.id, Ranking.erased_at.is_(None))
                .distinct()
            )
            snapshot.splits = splits.without_labeler(labeler, others).as_json()


def _rename_in_audit(session: Session, project_id: str, labeler: str, pseudonym: str) -> None:
    """The one change that the audit log ever sees: what was done stays, to whom does not."""
    # Details are JSON and such events few, so they are sifted here.
    events = session.scalars(
        select(AuditEvent).where(
            AuditEvent.subject_type == "project",
            AuditEvent.subject_id == project_id,
            AuditEvent.action.in_(["labeler.revoke", "labeler.restore"]),
        )
    )
    for event in events:
        if event.details.get("labeler") == labeler:
            kept = {name: value for name, value in event.details.items() if name != "reason"}
            event.details = {**kept, "labeler": pseudonym}
