"""A small made-up family: rankings, two snapshots, a reward model, policies and a round."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Database
from app.labeling.rankings import store_ranking
from app.models import (
    Completion,
    ModelKind,
    Project,
    Ranking,
    RankingSource,
    Round,
    Snapshot,
    Task,
    utc_now,
)
from app.preferences.erasure import erase_labeler
from app.preferences.filters import PairFilters
from app.preferences.snapshots import create_snapshot
from app.preferences.splits import SplitPlan
from tests.preferences.conftest import load_rankings, make_project, ranking
from tests.projects.rounds_factory import make_model


@dataclass(frozen=True, kw_only=True)
class Family:
    """The ids of what there is.

    `judge` was trained on the first snapshot, which holds ann's first revision; `tuned` against
    `judge`, and names no snapshot itself; `child` started from `tuned`, which wrote for the second
    round. `judge-2` was trained on the second snapshot, which holds ann's second revision. `alone`
    learned from nothing.
    """

    project_id: str
    first_revision: str
    second_revision: str
    bob: str
    """Revoked after the first snapshot."""
    cyd: str
    """A tombstone in the first snapshot."""
    fay: str
    """In no snapshot."""
    first_snapshot: str
    second_snapshot: str
    round_id: str


def make_family(database: Database) -> Family:
    """ann (revised), bob (revoked), cyd (erased), bot (simulated), fay (after the snapshots)."""
    project_id = make_project(database, "Family")
    texts = ("a", "bbb", "ccccc")
    lines = [ranking(texts=texts, labeler=name) for name in ("ann", "bob", "cyd")]
    lines.append(ranking(prompt="How?", texts=texts, labeler="ann", ranks=[1, 1, 2]))
    lines.append(ranking(prompt="Bot?", texts=texts, labeler="bot", simulated=True))
    load_rankings(database, project_id, lines)
    with database.write() as session:
        first = create_snapshot(
            session,
            None,
            project_id,
            name="First",
            plan=SplitPlan(shares={"train": 0.5, "test": 0.5}),
        )
        ann, bob, cyd = (_id_of(session, name) for name in ("ann", "bob", "cyd"))
        second_revision = revise(session, ann, [3, 2, 1])
        session.get_one(Ranking, bob).revoked_at = utc_now()
        erase(session, project_id, "cyd")
    with database.write() as session:
        second = create_snapshot(
            session,
            None,
            project_id,
            name="Second",
            filters=PairFilters(simulated=False, max_length_difference=2),
        )
        _add_models(session, project_id, first, second)
        round_ = Round(project_id=project_id, number=2, policies=["tuned", "alone"])
        session.add(round_)
        session.flush()
    load_rankings(database, project_id, [ranking(prompt="Late?", labeler="fay")])
    with database.read() as session:
        fay = _id_of(session, "fay")
    return Family(
        project_id=project_id,
        first_revision=ann,
        second_revision=second_revision,
        bob=bob,
        cyd=cyd,
        fay=fay,
        first_snapshot=first.id,
        second_snapshot=second.id,
        round_id=round_.id,
    )


def _add_models(session: Session, project_id: str, first: Snapshot, second: Snapshot) -> None:
    judge, policy = ModelKind.REWARD_MODEL, ModelKind.POLICY
    make_model(session, "alone")
    for model_id, kind, made_from in (
        ("judge", judge, {"snapshot_id": first.id, "simulated_labels": True}),
        (
            "tuned",
            policy,
            {"parent_id": "alone", "reward_model_id": "judge"},
        ),
        ("child", policy, {"parent_id": "tuned"}),
        ("judge-2", judge, {"parent_id": "judge", "snapshot_id": second.id}),
    ):
        make_model(session, model_id, kind, project_id=project_id, **made_from)


def _id_of(session: Session, labeler: str) -> str:
    found = select(Ranking.id).where(Ranking.labeler == labeler).order_by(Ranking.id)
    return session.scalars(found).first() or ""


def revise(session: Session, ranking_id: str, ranks: list[int]) -> str:
    """The same labeler says something else of the same task; the id of the new revision."""
    earlier = session.get_one(Ranking, ranking_id)
    completions = session.scalars(
        select(Completion.id)
        .where(Completion.task_id == earlier.task_id)
        .order_by(Completion.position)
    )
    stored = store_ranking(
        session,
        task=session.get_one(Task, earlier.task_id),
        labeler=earlier.labeler,
        ranks=dict(zip(completions, ranks, strict=True)),
        source=RankingSource.IMPORT,
    )
    return stored.id


def erase(session: Session, project_id: str, labeler: str) -> None:
    """Erase the labeler; of what snapshots hold a tombstone stays."""
    erase_labeler(session, None, session.get_one(Project, project_id), labeler)
    session.flush()
