"""The prompts of a project: looked through, pasted, and imported from files."""

import io
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse
from starlette.datastructures import FormData, UploadFile

from app.dependencies import Admin, AppDatabase, AppSettings, ReadSession, Researcher
from app.errors import AppError, Invalid, TooLarge
from app.models import User
from app.projects.prompt_mapping import PROMPT_COLUMNS
from app.projects.prompts import count_prompts, import_prompts, list_prompts
from app.projects.reading import SUFFIXES, ImportFormat, ImportReport, file_name_format
from app.projects.service import get_project, refuse_archived
from app.web.templating import render

router = APIRouter()

PAGE_PROMPTS = 50
MAX_PASTED_BYTES = 5_000_000
REJECTED_SHOWN = 100


async def uploaded_form(request: Request, settings: AppSettings) -> AsyncIterator[FormData]:
    """A form whose files went to disk as they came; TooLarge before any of it is read."""
    announced = request.headers.get("content-length", "")
    if not announced.isdigit():
        raise Invalid("The form must say its length.", fields={"Content-Length": "a number"})
    if int(announced) > settings.max_upload_bytes:
        limit = f"{settings.max_upload_bytes:,}"
        raise TooLarge(f"A file may have {limit} bytes; split it and send the parts.")
    async with request.form(max_part_size=MAX_PASTED_BYTES) as form:
        yield form


@router.get("/projects/{project_id}/prompts")
def show_prompts(
    request: Request,
    session: ReadSession,
    user: Researcher,
    project_id: str,
    query: str = "",
    page: int = 1,
) -> HTMLResponse:
    """A page of the prompts, those that hold the words looked for."""
    project = get_project(session, project_id, user)
    query = query.strip()[:200]
    found = count_prompts(session, project.id, query=query)
    pages = max(1, -(-found // PAGE_PROMPTS))
    page = min(max(1, page), pages)
    prompts = list_prompts(
        session, project.id, query=query, offset=(page - 1) * PAGE_PROMPTS, limit=PAGE_PROMPTS
    )
    return render(
        request,
        "prompts/page.html",
        {
            "project": project,
            "active": "prompts",
            "prompts": prompts,
            "query": query,
            "found": found,
            "total": count_prompts(session, project.id) if query else found,
            "page": page,
            "pages": pages,
            "first_number": (page - 1) * PAGE_PROMPTS + 1,
        },
    )


@router.get("/projects/{project_id}/prompts/add")
def show_add(request: Request, session: ReadSession, user: Admin, project_id: str) -> HTMLResponse:
    """The forms to paste prompts and to upload a file of them."""
    project = get_project(session, project_id, user)
    return render(request, "prompts/add.html", _add_context(project))


@router.post("/projects/{project_id}/prompts/paste")
def paste(
    request: Request,
    database: AppDatabase,
    user: Admin,
    settings: AppSettings,
    project_id: str,
    text: Annotated[str, Form()] = "",
    layout: Annotated[str, Form()] = ImportFormat.LINES,
) -> HTMLResponse:
    """Import what was pasted: a prompt a line, or a prompt a paragraph."""
    paragraphs = layout == ImportFormat.PARAGRAPHS
    chosen = ImportFormat.PARAGRAPHS if paragraphs else ImportFormat.LINES
    body = io.BytesIO(text.encode("utf-8", "replace"))
    return _import(
        request, database, user, settings, project_id, body, chosen, text=text, pasted=chosen
    )


@router.post("/projects/{project_id}/prompts/upload")
def upload(
    request: Request,
    database: AppDatabase,
    user: Admin,
    settings: AppSettings,
    project_id: str,
    form: Annotated[FormData, Depends(uploaded_form, scope="function")],
) -> HTMLResponse:
    """Import a file; its name's ending tells the format."""
    file = form.get("file")
    if not isinstance(file, UploadFile) or not file.filename:
        error = Invalid("Choose a file first.", fields={"file": ", ".join(SUFFIXES)})
        return _show_problem(request, database, user, project_id, error)
    try:
        chosen = file_name_format(file.filename)
    except Invalid as error:
        return _show_problem(request, database, user, project_id, error)
    return _import(
        request, database, user, settings, project_id, file.file, chosen, name=file.filename
    )


def _import(
    request: Request,
    database: AppDatabase,
    user: User,
    settings: AppSettings,
    project_id: str,
    body: Any,
    layout: ImportFormat,
    *,
    name: str = "",
    text: str = "",
    pasted: ImportFormat = ImportFormat.LINES,
) -> HTMLResponse:
    """Run the import and say what became of every line."""
    with database.read() as session:
        project = get_project(session, project_id, user)
        refuse_archived(project)
    try:
        report = import_prompts(
            database, project.id, body, layout, max_line_bytes=settings.max_line_bytes
        )
    except AppError as error:
        return _show_problem(request, database, user, project_id, error, text=text, pasted=pasted)
    # What was pasted stays in the form only while some of it is still to be corrected.
    kept = text if report.rejected_total else ""
    context = _add_context(project, report=report, name=name, text=kept, pasted=pasted)
    return render(request, "prompts/add.html", context)


def _show_problem(
    request: Request,
    database: AppDatabase,
    user: User,
    project_id: str,
    error: AppError,
    **fields: Any,
) -> HTMLResponse:
    with database.read() as session:
        project = get_project(session, project_id, user)
    context = _add_context(project, error=error, **fields)
    return render(request, "prompts/add.html", context, status_code=error.status)


def _add_context(
    project: Any,
    *,
    report: ImportReport | None = None,
    error: AppError | None = None,
    name: str = "",
    text: str = "",
    pasted: ImportFormat = ImportFormat.LINES,
) -> dict[str, Any]:
    return {
        "project": project,
        "active": "prompts",
        "report": report,
        "rejected": report.rejected[:REJECTED_SHOWN] if report else [],
        "error": error,
        "file_name": name,
        "text": text,
        "pasted": pasted,
        "suffixes": ",".join(SUFFIXES),
        "columns": PROMPT_COLUMNS,
    }
