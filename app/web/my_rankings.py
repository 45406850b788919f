"""A labeler's own rankings, to look back at and to edit."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.dependencies import Labeler, ReadSession
from app.labeling.history import list_own_rankings, list_ranked_projects
from app.web.templating import render

router = APIRouter()

RANKINGS_PER_PAGE = 20


@router.get("/my-rankings")
def show_my_rankings(
    request: Request,
    session: ReadSession,
    user: Labeler,
    project: str = "",
    cursor: str = "",
) -> Response:
    """Own rankings, the last changed first."""
    found = list_own_rankings(
        session,
        user,
        project_id=project or None,
        before_id=cursor or None,
        limit=RANKINGS_PER_PAGE + 1,
    )
    shown = found[:RANKINGS_PER_PAGE]
    more = len(found) > RANKINGS_PER_PAGE
    return render(
        request,
        "rank/mine.html",
        {
            "rankings": shown,
            "projects": list_ranked_projects(session, user),
            "project_id": project,
            "cursor": cursor,
            "next_cursor": shown[-1].latest.ranking.id if more else "",
        },
    )
