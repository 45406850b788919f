"""The picture of what came of a ranking: stages from its revisions down to rounds."""

from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from app.models import Model, Project, Role, Round, User
from app.registry.ranking_lineage import RankingLineage
from app.web.filters import plural

MOST_NODES = 12
"""Nodes of one stage that are shown at once; the others are folded away."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """Something in the picture of a lineage: where it leads, and how it hangs together."""

    name: str
    href: str
    how: str
    badges: list[tuple[str, str]] = field(default_factory=list)
    """Colour and words."""
    here: bool = False


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One column of the picture; without nodes it says what would bring some."""

    title: str
    icon: str
    nodes: list[Node]
    missing: str = ""
    href: str = ""
    action: str = ""


def draw_lineage(
    session: Session, lineage: RankingLineage, project: Project, user: User
) -> list[Stage]:
    """The ranking and what came of it, stage by stage, up to the first that has nothing in it."""
    stages = [
        _revision_stage(lineage),
        _snapshot_stage(lineage, project),
        _reward_model_stage(lineage, project),
        _policy_stage(lineage, project),
        _round_stage(session, lineage, project),
    ]
    while len(stages) > 2 and not stages[-1].nodes and not stages[-2].nodes:
        stages.pop()
    if user.role != Role.ADMIN:
        stages = [_without_action(stage) for stage in stages]
    return stages


def _without_action(stage: Stage) -> Stage:
    """The same for who may not train or open rounds."""
    if stage.title == "Snapshots":
        return stage
    return Stage(title=stage.title, icon=stage.icon, nodes=stage.nodes, missing=stage.missing)


def _revision_stage(lineage: RankingLineage) -> Stage:
    nodes = []
    for revision in lineage.revisions:
        badges = []
        if revision.erased_at is not None:
            badges.append(("red", "erased"))
        elif revision.revoked_at is not None:
            badges.append(("red", "revoked"))
        elif revision.current:
            badges.append(("green", "counts"))
        nodes.append(
            Node(
                name=f"Revision {revision.revision}",
                href=f"/rankings/{revision.id}",
                how="this page" if revision.id == lineage.ranking.id else "",
                badges=badges,
                here=revision.id == lineage.ranking.id,
            )
        )
    return Stage(title="Ranking", icon="list-numbers", nodes=nodes)


def _snapshot_stage(lineage: RankingLineage, project: Project) -> Stage:
    several = len(lineage.revisions) > 1
    nodes = []
    for holding in lineage.holdings:
        erased = holding.ranking.erased_at is not None
        held = f"revision {holding.ranking.revision}, " if several else ""
        pairs = "a tombstone, no pairs" if erased else plural(holding.pairs, "pair")
        badges = [("azure", holding.part)] if holding.part else []
        nodes.append(
            Node(
                name=snapshot_name(holding.snapshot.name, holding.snapshot.id),
                href=f"/snapshots/{holding.snapshot.id}",
                how=f"holds {held}{pairs}",
                badges=badges,
            )
        )
    counts = lineage.revisions[-1].current and lineage.revisions[-1].revoked_at is None
    if not counts:
        return Stage(
            title="Snapshots",
            icon="camera",
            nodes=nodes,
            missing="No snapshot holds it, and no new one will: it does not count any more.",
        )
    return Stage(
        title="Snapshots",
        icon="camera",
        nodes=nodes,
        missing="No snapshot holds it yet: freeze one from Pairs.",
        href=f"/projects/{project.id}/pairs#freeze",
        action="To the pairs",
    )


def snapshot_name(name: str, snapshot_id: str) -> str:
    """Its name, or the end of its id where it has none."""
    return name or f"Snapshot {snapshot_id[-6:]}"


def _reward_model_stage(lineage: RankingLineage, project: Project) -> Stage:
    return Stage(
        title="Reward models",
        icon="scale",
        nodes=_model_nodes(lineage, lineage.reward_models),
        missing="No reward model was trained on them yet.",
        href=_job_href(project, "reward_model", "snapshot_id", _last_snapshot(lineage)),
        action="Train a reward model",
    )


def _policy_stage(lineage: RankingLineage, project: Project) -> Stage:
    judges = lineage.reward_models
    href = _job_href(project, "dpo", "snapshot_id", _last_snapshot(lineage))
    if judges:
        href = _job_href(project, "ppo", "reward_model", judges[-1].id)
    return Stage(
        title="Policies",
        icon="message-2",
        nodes=_model_nodes(lineage, lineage.policies),
        missing="No policy was tuned on them yet.",
        href=href,
        action="Tune a policy",
    )


def _round_stage(session: Session, lineage: RankingLineage, project: Project) -> Stage:
    touched = {model.id for model in lineage.models}
    nodes = []
    for round_ in lineage.rounds:
        other = session.get(Project, round_.project_id) if _is_other(round_, project) else None
        nodes.append(
            Node(
                name=f"Round {round_.number}" + (f" of {other.name}" if other else ""),
                href=f"/rounds/{round_.id}",
                how="completions by " + ", ".join(p for p in round_.policies if p in touched),
                badges=[("secondary", round_.state)],
            )
        )
    ids = ",".join(model.id for model in lineage.policies[-1:])
    return Stage(
        title="Rounds",
        icon="refresh",
        nodes=nodes,
        missing="They wrote completions for no round yet.",
        href=f"/projects/{project.id}/rounds/new?policies={ids}",
        action="Start a round",
    )


def _is_other(round_: Round, project: Project) -> bool:
    return round_.project_id != project.id


def _last_snapshot(lineage: RankingLineage) -> str:
    return lineage.holdings[-1].snapshot.id if lineage.holdings else ""


def _job_href(project: Project, kind: str, name: str, value: str) -> str:
    return f"/projects/{project.id}/jobs/new?kind={kind}&{name}={value}"


def _model_nodes(lineage: RankingLineage, models: list[Model]) -> list[Node]:
    """How each came of what stands before it in the picture."""
    snapshots = {
        holding.snapshot.id: snapshot_name(holding.snapshot.name, holding.snapshot.id)
        for holding in lineage.holdings
    }
    touched = {model.id for model in lineage.models}
    nodes = []
    for model in models:
        how = []
        if model.reward_model_id in touched:
            how.append(f"tuned against {model.reward_model_id}")
        elif model.snapshot_id in snapshots:
            how.append(f"trained on {snapshots[model.snapshot_id]}")
        if model.parent_id in touched:
            how.append(f"started from {model.parent_id}")
        badges = [("purple", "simulated")] if model.simulated_labels else []
        if model.archived_at is not None:
            badges.append(("secondary", "archived"))
        nodes.append(
            Node(name=model.id, href=f"/models/{model.id}", how=", ".join(how), badges=badges)
        )
    return nodes
