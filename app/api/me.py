"""What a person did themselves, over REST."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from app.api.paging import Cursor, Limit
from app.dependencies import Labeler, ReadSession
from app.labeling.history import PastRanking, PastRevision, list_own_rankings

router = APIRouter(tags=["labeling"])

COMPLETION_ID = "5f0c2b9e6f6f4a0e8d5a1f3f7e0b9c1d"


class RevisionOut(BaseModel):
    """A ranking as it was given once."""

    id: str = Field(description="Id of this revision of the ranking.")
    revision: int = Field(description="1, and one more after each edit.", examples=[1])
    order: str = Field(
        description="The order given, in the letters that the page showed: best first, `=` a tie.",
        examples=["B > A = C"],
    )
    ranks: dict[str, int | None] = Field(
        description="Ranks by completion id, dense.", examples=[{COMPLETION_ID: 1}]
    )
    comment: str = Field(description="Your remark.", examples=["The second is right but long."])
    active_ms: int | None = Field(
        description="Time spent on it, in milliseconds.", examples=[42_000]
    )
    guidelines_version: int = Field(
        description="The version of the guidelines that you read.", examples=[1]
    )
    created_at: datetime = Field(description="When it was stored, RFC 3339 UTC.")


class OwnRankingOut(RevisionOut):
    """One of your rankings as it stands now."""

    assignment_id: str = Field(description="Your assignment, by which you can edit it.")
    project_id: str = Field(description="Id of the project.")
    project: str = Field(description="Name of the project.", examples=["Short answers"])
    task_id: str = Field(description="Id of the task.")
    excerpt: str = Field(
        description="The beginning of what was asked.", examples=["Why is the sky blue?"]
    )
    revoked_at: datetime | None = Field(
        description="When an admin revoked it; null while it counts."
    )
    earlier: list[RevisionOut] = Field(description="What you edited, the newest first.")


class OwnRankingList(BaseModel):
    """A page of rankings."""

    items: list[OwnRankingOut] = Field(description="Your rankings, the last changed first.")
    next_cursor: str | None = Field(description="The `cursor` of the next page; null at the end.")


@router.get("/me/rankings", summary="Look back at your own rankings")
def list_mine(
    session: ReadSession,
    user: Labeler,
    project_id: Annotated[
        str | None, Query(max_length=100, description="Those of one project only.")
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> OwnRankingList:
    """Your own rankings with the revisions before, the last changed first."""
    found = list_own_rankings(
        session, user, project_id=project_id or None, before_id=cursor or None, limit=limit + 1
    )
    more = len(found) > limit
    return OwnRankingList(
        items=[describe(one) for one in found[:limit]],
        next_cursor=found[limit - 1].latest.ranking.id if more else None,
    )


def describe(one: PastRanking) -> OwnRankingOut:
    """The ranking as JSON."""
    ranking = one.latest.ranking
    return OwnRankingOut(
        **describe_revision(one.latest).model_dump(),
        assignment_id=ranking.assignment_id or "",
        project_id=one.project.id,
        project=one.project.name,
        task_id=ranking.task_id,
        excerpt=one.excerpt,
        revoked_at=ranking.revoked_at,
        earlier=[describe_revision(revision) for revision in one.earlier],
    )


def describe_revision(revision: PastRevision) -> RevisionOut:
    """One revision as JSON."""
    ranking = revision.ranking
    return RevisionOut(
        id=ranking.id,
        revision=ranking.revision,
        order=revision.order,
        ranks=dict(revision.ranks),
        comment=ranking.comment,
        active_ms=ranking.active_ms,
        guidelines_version=ranking.guidelines_version,
        created_at=ranking.created_at,
    )
