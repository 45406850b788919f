"""The versions of a project's guidelines, for everyone who may rank in it."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from app.dependencies import CurrentUser, ReadSession
from app.models import Role
from app.projects.guidelines import list_guidelines
from app.projects.service import get_project
from app.web.templating import render

router = APIRouter()

VERSIONS_PER_PAGE = 10


@router.get("/projects/{project_id}/guidelines")
def show_guidelines(
    request: Request,
    session: ReadSession,
    user: CurrentUser,
    project_id: str,
    before: int | None = None,
) -> HTMLResponse:
    """Every version, the newest first, with what it changed."""
    project = get_project(session, project_id, user)
    versions = list_guidelines(session, project, before_version=before, limit=VERSIONS_PER_PAGE + 1)
    more = len(versions) > VERSIONS_PER_PAGE
    return render(
        request,
        "guidelines/page.html",
        {
            "project": project,
            "active": "settings",
            "versions": versions[:VERSIONS_PER_PAGE],
            "before": before,
            "next_before": versions[VERSIONS_PER_PAGE - 1].version if more else None,
            "is_admin": user.role == Role.ADMIN,
        },
    )
