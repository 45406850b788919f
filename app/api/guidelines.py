"""The versions of a project's guidelines over REST."""

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.api.paging import Cursor, Limit
from app.dependencies import ReadSession, Researcher
from app.errors import Invalid
from app.models import Role
from app.projects.guidelines import list_guidelines
from app.projects.service import get_project

router = APIRouter(tags=["projects"])


class GuidelinesOut(BaseModel):
    """A version of a project's guidelines."""

    version: int = Field(description="Counts from 1.", examples=[2])
    text: str = Field(description="Markdown.", examples=["Prefer the shorter answer."])
    created_at: datetime = Field(description="Since when, RFC 3339 in UTC.")
    created_by: str | None = Field(
        description="Name or address of who wrote it; null where unknown, and for who is no admin.",
        examples=["Ada Admin"],
    )
    rankings: int = Field(
        description="Rankings made under it that count now; imported ones are left out.",
        examples=[120],
    )


class GuidelinesList(BaseModel):
    """Versions, the newest first."""

    items: list[GuidelinesOut] = Field(description="The versions of this page.")
    next_cursor: str | None = Field(description="The `cursor` of the next page; null at the end.")


@router.get("/projects/{project_id}/guidelines", summary="List versions of the guidelines")
def list_all(
    project_id: str,
    session: ReadSession,
    user: Researcher,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> GuidelinesList:
    """Every version of the project's guidelines that was kept, the newest first.

    Each ranking carries the version it was made under as `guidelines_version`.
    """
    project = get_project(session, project_id, user)
    if cursor and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 10):
        raise Invalid("The cursor is none of ours.", fields={"cursor": "as `next_cursor` gave it"})
    found = list_guidelines(
        session, project, before_version=int(cursor) if cursor else None, limit=limit + 1
    )
    return GuidelinesList(
        items=[
            GuidelinesOut(
                version=item.version,
                text=item.text,
                created_at=item.created_at,
                created_by=item.author if user.role == Role.ADMIN else None,
                rankings=item.rankings,
            )
            for item in found[:limit]
        ],
        next_cursor=str(found[limit - 1].version) if len(found) > limit else None,
    )
