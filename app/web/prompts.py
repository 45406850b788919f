"""The prompts of a project: looked through, by their words, tags and metadata."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from app.dependencies import ReadSession, Researcher
from app.errors import Invalid
from app.projects.prompts import count_prompts, list_prompts
from app.projects.service import get_project
from app.projects.tags import list_tags
from app.web.templating import render

router = APIRouter()

PAGE_PROMPTS = 50
LONGEST_WORDS = 200
LONGEST_CONDITION = 500


@router.get("/projects/{project_id}/prompts")
def show_prompts(
    request: Request,
    session: ReadSession,
    user: Researcher,
    project_id: str,
    query: str = "",
    tag: str = "",
    metadata: str = "",
    page: int = 1,
) -> HTMLResponse:
    """A page of the prompts, those that hold the words and have the tag and the metadata."""
    project = get_project(session, project_id, user)
    asked = {
        "query": query.strip()[:LONGEST_WORDS],
        "tag": tag.strip()[:LONGEST_WORDS],
        "metadata": metadata.strip()[:LONGEST_CONDITION],
    }
    filters, error = dict(asked), None
    total = count_prompts(session, project.id)
    try:
        found = count_prompts(session, project.id, **filters)
    except Invalid as problem:
        error = problem
        filters["metadata"] = ""
        found = count_prompts(session, project.id, **filters)
    pages = max(1, -(-found // PAGE_PROMPTS))
    page = min(max(1, page), pages)
    offset = (page - 1) * PAGE_PROMPTS
    prompts = list_prompts(session, project.id, **filters, offset=offset, limit=PAGE_PROMPTS)
    context: dict[str, Any] = {
        "project": project,
        "active": "prompts",
        "prompts": prompts,
        "tags": list_tags(session, project.id),
        "asked": asked,
        "filters": {name: value for name, value in filters.items() if value},
        "error": error,
        "found": found,
        "total": total,
        "page": page,
        "pages": pages,
        "first_number": offset + 1,
    }
    return render(request, "prompts/page.html", context, status_code=error.status if error else 200)
