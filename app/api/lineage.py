"""Lineage over REST: what came of a ranking, and who taught a model."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from app.api.model_schemas import LineageOut
from app.api.models import describe_lineage
from app.api.paging import Limit, page_of
from app.dependencies import ReadSession, Researcher
from app.models import Model, Ranking, Round, Snapshot
from app.preferences.revisions import get_ranking
from app.projects.service import get_project
from app.registry.labelers import ErasedTeaching, Teacher, get_model_labelers
from app.registry.lineage import get_lineage
from app.registry.ranking_lineage import Holding, get_ranking_lineage
from app.registry.service import get_model

router = APIRouter(tags=["lineage"])

VERSIONS = "How many of the rankings were made under each version of the project's guidelines."
LabelersCursor = Annotated[
    str | None,
    Query(
        max_length=300,
        description="`next_cursor` of the labelers of the page before; empty for the first.",
        examples=[None],
    ),
]


class RevisionOut(BaseModel):
    """One revision of a ranking."""

    id: str = Field(description="Its id: each revision has its own.")
    revision: int = Field(description="1 is the first.", examples=[1])
    current: bool = Field(
        description="Whether it is the one that counts, unless it was revoked.", examples=[True]
    )
    created_at: datetime = Field(description="When it was made, RFC 3339 in UTC.")
    guidelines_version: int = Field(
        description="The version of the guidelines it was made under.", examples=[2]
    )
    revoked_at: datetime | None = Field(
        description="When it was revoked: kept, and out of every pair from then on; or null.",
        examples=[None],
    )
    erased_at: datetime | None = Field(
        description="When what it said had to go, so that this tombstone is all there is; or null.",
        examples=[None],
    )


class HoldingOut(BaseModel):
    """A snapshot that holds a revision of the ranking."""

    snapshot_id: str = Field(description="Id of the snapshot.")
    name: str = Field(description="Its name.", examples=["First week"])
    ranking_id: str = Field(description="The revision that it holds.")
    revision: int = Field(description="The number of that revision.", examples=[1])
    part: str | None = Field(
        description="The part of its split the ranking fell into; null where it has none, and of a "
        "tombstone in a split by labeler.",
        examples=["train"],
    )
    pairs: int = Field(description="Pairs of the ranking in it; none of a tombstone.", examples=[6])


class TouchedModelOut(BaseModel):
    """A model that rests on the ranking."""

    id: str = Field(description="Id of the model.", examples=["reward-model-1"])
    kind: str = Field(description="`policy`, `reward_model` or `encoder`.", examples=["policy"])
    snapshot_id: str | None = Field(description="The snapshot it learned from.")
    parent_id: str | None = Field(
        description="What it started from.", examples=["smollm2-135m-instruct"]
    )
    reward_model_id: str | None = Field(
        description="What it was tuned against.", examples=["reward-model-1"]
    )


class RoundRefOut(BaseModel):
    """A round."""

    id: str = Field(description="Its id.", examples=["019a0c2044b14d6fa1b2c3d4e5f60718"])
    project_id: str = Field(description="Its project.")
    number: int = Field(description="Its number in the project.", examples=[2])


class TouchedRoundOut(RoundRefOut):
    """A round that models which rest on the ranking wrote completions for."""

    policies: list[str] = Field(description="Which of those models.", examples=[["ppo-policy-1"]])


class RankingLineageOut(BaseModel):
    """Everything that rests on a ranking, whichever revision of it."""

    ranking_id: str = Field(description="The ranking that was asked about.")
    project_id: str = Field(description="Its project.")
    task_id: str = Field(description="Its task.")
    labeler: str = Field(
        description="The handle, or the name an import gave; a pseudonym once it was erased.",
        examples=["lena"],
    )
    revisions: list[RevisionOut] = Field(
        description="What the labeler said of the task, the first first."
    )
    snapshots: list[HoldingOut] = Field(
        description="Snapshots that hold one of the revisions, the oldest first."
    )
    models: list[TouchedModelOut] = Field(
        description="Models trained on one of those, tuned against or started from such a model, "
        "at any depth; the oldest first."
    )
    rounds: list[TouchedRoundOut] = Field(
        description="Rounds that one of the models wrote completions for, the newest first."
    )


class TeacherOut(BaseModel):
    """What one labeler of one project contributed to a model."""

    project_id: str = Field(description="The project they worked in.")
    labeler: str = Field(description="The handle, or the name an import gave.", examples=["lena"])
    user_id: str | None = Field(description="Their account; null where imports alone name them.")
    simulated: bool = Field(description="Whether a rule ranks, and no person.", examples=[False])
    rankings: int = Field(
        description="Rankings in any snapshot behind the model, each once.", examples=[120]
    )
    pairs: int = Field(description="Pairs of those, each once.", examples=[702])
    revoked: int = Field(
        description="How many of the rankings were revoked since; the model still rests on them.",
        examples=[0],
    )
    rounds: list[RoundRefOut] = Field(description="The rounds they ranked in.")
    guidelines_versions: dict[int, int] = Field(description=VERSIONS, examples=[{"1": 40, "2": 80}])


class TeacherList(BaseModel):
    """Labelers behind a model; who contributed most comes first."""

    items: list[TeacherOut] = Field(description="The labelers of this page.")
    next_cursor: str | None = Field(description="The `cursor` of the next page; null at the end.")


class ErasedTeachingOut(BaseModel):
    """Rankings behind a model of which tombstones alone are left."""

    rankings: int = Field(description="How many.", examples=[12])
    simulated_rankings: int = Field(
        description="How many of those simulated labelers made.", examples=[0]
    )
    rounds: list[RoundRefOut] = Field(description="The rounds they were made in.")
    guidelines_versions: dict[int, int] = Field(description=VERSIONS, examples=[{"1": 12}])


class SnapshotBehindOut(BaseModel):
    """A snapshot behind a model."""

    id: str = Field(description="Its id.", examples=["019a0c25f1e14b23e6f708192a3b4c5d"])
    project_id: str = Field(description="Its project.")
    name: str = Field(description="Its name.", examples=["First week"])
    sha256: str = Field(
        description="SHA-256 of its pairs on the day it was made.",
        examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    )
    rankings: int = Field(description="Rankings on that day.", examples=[400])
    pairs: int = Field(description="Pairs on that day.", examples=[2212])
    simulated_rankings: int = Field(
        description="Rankings by simulated labelers on that day.", examples=[0]
    )
    erased_rankings: int = Field(description="Rankings that are tombstones since.", examples=[12])


class ModelLineageOut(LineageOut):
    """What a model was made from, down to its labelers, and what used it."""

    model_id: str = Field(description="The model.", examples=["ppo-policy-1"])
    snapshots: list[SnapshotBehindOut] = Field(
        description="Every snapshot that it, or something it was made from, learned from."
    )
    rankings: int = Field(
        description="Rankings in those, each once, the erased ones left out.", examples=[400]
    )
    pairs: int = Field(description="Their pairs, each once.", examples=[2212])
    simulated_rankings: int = Field(
        description="How many of the rankings simulated labelers made.", examples=[0]
    )
    revoked: int = Field(description="How many of the rankings were revoked since.", examples=[3])
    erased: ErasedTeachingOut | None = Field(
        description="What is known of rankings that had to be erased; null where there are none."
    )
    labelers: TeacherList = Field(description="The labelers behind it, a page of them.")


@router.get("/rankings/{ranking_id}/lineage", summary="Follow a ranking to what it touched")
def follow_ranking(ranking_id: str, session: ReadSession, user: Researcher) -> RankingLineageOut:
    """Its revisions, the snapshots that hold them, and the models and rounds that came of those.

    Revoked and erased rankings have a lineage too: what learned from them has not forgotten them.
    """
    ranking = get_ranking(session, ranking_id)
    get_project(session, ranking.project_id, user)
    lineage = get_ranking_lineage(session, ranking)
    touched = {model.id for model in lineage.models}
    return RankingLineageOut(
        ranking_id=ranking.id,
        project_id=ranking.project_id,
        task_id=ranking.task_id,
        labeler=ranking.labeler,
        revisions=[_describe_revision(revision) for revision in lineage.revisions],
        snapshots=[_describe_holding(holding) for holding in lineage.holdings],
        models=[_describe_model(model) for model in lineage.models],
        rounds=[
            TouchedRoundOut(
                **_describe_round(round_).model_dump(),
                policies=[policy for policy in round_.policies if policy in touched],
            )
            for round_ in lineage.rounds
        ],
    )


@router.get("/models/{model_id}/lineage", summary="Follow a model down to its labelers")
def follow_model(
    model_id: str,
    session: ReadSession,
    _user: Researcher,
    limit: Limit = 50,
    cursor: LabelersCursor = None,
) -> ModelLineageOut:
    """What it was made from and what used it, as `GET /models/{id}` gives it, and below that every
    snapshot behind it with the labelers whose rankings are in any of them.

    `limit` and `cursor` page through `labelers`; all counts are of all of them.
    """
    model = get_model(session, model_id)
    taught = get_model_labelers(session, model)
    page, next_cursor = page_of(taught.labelers, _name, limit, cursor)
    return ModelLineageOut(
        **describe_lineage(get_lineage(session, model)).model_dump(),
        model_id=model.id,
        snapshots=[_describe_snapshot(snapshot) for snapshot in taught.snapshots],
        rankings=taught.rankings,
        pairs=taught.pairs,
        simulated_rankings=taught.simulated_rankings,
        revoked=taught.revoked,
        erased=_describe_erased(taught.erased) if taught.erased else None,
        labelers=TeacherList(
            items=[_describe_teacher(teacher) for teacher in page], next_cursor=next_cursor
        ),
    )


def _name(teacher: Teacher) -> str:
    """What a page of labelers begins after; a name alone may be in two projects."""
    return f"{teacher.project.id} {teacher.labeler}"


def _describe_revision(ranking: Ranking) -> RevisionOut:
    return RevisionOut.model_validate(ranking, from_attributes=True)


def _describe_holding(holding: Holding) -> HoldingOut:
    return HoldingOut(
        snapshot_id=holding.snapshot.id,
        name=holding.snapshot.name,
        ranking_id=holding.ranking.id,
        revision=holding.ranking.revision,
        part=holding.part,
        pairs=holding.pairs,
    )


def _describe_model(model: Model) -> TouchedModelOut:
    return TouchedModelOut.model_validate(model, from_attributes=True)


def _describe_round(round_: Round) -> RoundRefOut:
    return RoundRefOut.model_validate(round_, from_attributes=True)


def _describe_snapshot(snapshot: Snapshot) -> SnapshotBehindOut:
    return SnapshotBehindOut.model_validate(snapshot, from_attributes=True)


def _describe_erased(erased: ErasedTeaching) -> ErasedTeachingOut:
    return ErasedTeachingOut(
        rankings=erased.rankings,
        simulated_rankings=erased.simulated_rankings,
        rounds=[_describe_round(round_) for round_ in erased.rounds],
        guidelines_versions=erased.guidelines_versions,
    )


def _describe_teacher(teacher: Teacher) -> TeacherOut:
    return TeacherOut(
        project_id=teacher.project.id,
        labeler=teacher.labeler,
        user_id=teacher.user_id,
        simulated=teacher.simulated,
        rankings=teacher.rankings,
        pairs=teacher.pairs,
        revoked=teacher.revoked,
        rounds=[_describe_round(round_) for round_ in teacher.rounds],
        guidelines_versions=teacher.guidelines_versions,
    )
