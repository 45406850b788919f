"""What a model was made from, and what was made from it."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from app.models import Job, Model, Round, Snapshot


@dataclass(frozen=True)
class Ancestor:
    """A model with what it was made from, all the way up."""

    model: Model
    parent: "Ancestor | None" = None
    reward_model: "Ancestor | None" = None
    snapshot: Snapshot | None = None
    job: Job | None = None
    told_above: bool = False
    """It stands in this ancestry more than once, and what it was made from is told there."""


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """A model's ancestors, and what used it."""

    ancestry: Ancestor
    children: list[Model] = field(default_factory=list)
    """Models that started from it."""
    tuned: list[Model] = field(default_factory=list)
    """Policies tuned against it as their reward model."""
    rounds: list[Round] = field(default_factory=list)
    """Rounds it generated completions for."""


def get_lineage(session: Session, model: Model) -> Lineage:
    """The lineage of a model both ways."""
    children = session.scalars(
        select(Model).where(Model.parent_id == model.id).order_by(Model.created_at)
    )
    tuned = session.scalars(
        select(Model).where(Model.reward_model_id == model.id).order_by(Model.created_at)
    )
    return Lineage(
        ancestry=find_ancestry(session, model),
        children=list(children),
        tuned=list(tuned),
        rounds=list_rounds_of(session, [model.id]),
    )


def find_ancestry(session: Session, model: Model) -> Ancestor:
    """A model with everything behind it.

    A model is made after what it is made from, so there is no circle to fall into; but there may be
    many ways up to the same one, which is gone into the first time only.
    """
    return _go_up(session, model, set())


def _go_up(session: Session, model: Model, told: set[str]) -> Ancestor:
    made_from = (model.parent_id, model.reward_model_id)
    again = model.id in told and any(made_from)
    told.add(model.id)
    above = [
        _go_up(session, session.get_one(Model, id_), told) if id_ and not again else None
        for id_ in made_from
    ]
    return Ancestor(
        model=model,
        parent=above[0],
        reward_model=above[1],
        snapshot=session.get(Snapshot, model.snapshot_id) if model.snapshot_id else None,
        job=session.get(Job, model.job_id) if model.job_id else None,
        told_above=again,
    )


def list_snapshots_behind(session: Session, model: Model) -> list[Snapshot]:
    """Every snapshot that the model or something it was made from learned from, each once, the
    oldest first. One query for each step from child to parent, each model looked at once."""
    behind = {model.id: model}
    frontier = [model]
    while frontier:
        above = {id_ for one in frontier for id_ in (one.parent_id, one.reward_model_id) if id_}
        fresh = select(Model).where(Model.id.in_(above - behind.keys()))
        frontier = list(session.scalars(fresh))
        behind |= {one.id: one for one in frontier}
    ids = {one.snapshot_id for one in behind.values() if one.snapshot_id}
    snapshots = select(Snapshot).where(Snapshot.id.in_(ids)).order_by(Snapshot.id)
    return list(session.scalars(snapshots))


def list_models_from(session: Session, snapshot_ids: Collection[str]) -> list[Model]:
    """What was trained on one of the snapshots, or made from such a model at any depth; the
    oldest first. One query for each step from parent to child."""
    found: dict[str, Model] = {}
    frontier: ColumnElement[bool] = Model.snapshot_id.in_(snapshot_ids)
    while fresh := session.scalars(select(Model).where(frontier, Model.id.not_in(found))).all():
        found |= {model.id: model for model in fresh}
        ids = [model.id for model in fresh]
        frontier = Model.parent_id.in_(ids) | Model.reward_model_id.in_(ids)
    return sorted(found.values(), key=lambda model: (model.created_at, model.id))


def list_rounds_of(session: Session, model_ids: Collection[str]) -> list[Round]:
    """The rounds that any of the models generated for, the newest first.

    Policies are a JSON list in the round's row and rounds are few, so they are sifted here.
    """
    if not model_ids:
        return []
    rounds = session.scalars(select(Round).order_by(Round.created_at.desc(), Round.id.desc()))
    return [round_ for round_ in rounds if not set(model_ids).isdisjoint(round_.policies)]


def learned_from_simulated(models: Iterable[Model | None], snapshot: Snapshot | None) -> bool:
    """Whether a model made from these rests on any ranking of a simulated labeler."""
    if snapshot is not None and snapshot.simulated_rankings:
        return True
    return any(model is not None and model.simulated_labels for model in models)
