"""Rankings and pairs made elsewhere, brought in from the browser."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from app.dependencies import Admin, AppDatabase, AppSettings, ReadSession
from app.errors import AppError, Invalid
from app.models import Project, User
from app.preferences.foreign import FORMATS, get_format
from app.preferences.imports import (
    ACCEPTED_FORMATS,
    RankingsPreview,
    preview_rankings,
)
from app.preferences.pairs import expand_ranking
from app.projects.compression import SUFFIXES as COMPRESSED_SUFFIXES
from app.projects.import_runs import ImportState, discard_import, read_progress
from app.projects.reading import SUFFIXES
from app.projects.service import get_project
from app.projects.uploads import Upload, UploadKind, choose
from app.settings import Settings
from app.web.forms import FormFields, text_of
from app.web.templating import redirect, render
from app.web.uploads import (
    UploadedForm,
    begin_import,
    entry_address,
    get_open_project,
    get_own_upload,
    import_address,
    keep_form_file,
    preview_address,
    waiting_imports,
)

router = APIRouter()

RANKINGS_SHOWN = 5
RANKING_SUFFIXES = {
    suffix: layout for suffix, layout in SUFFIXES.items() if layout in ACCEPTED_FORMATS
}
ANOTHER_FORMAT_MAY_DO = ("unknown_format", "unknown_columns")


@router.get("/projects/{project_id}/rankings/import")
def show_form(
    request: Request, session: ReadSession, user: Admin, settings: AppSettings, project_id: str
) -> HTMLResponse:
    """The form to upload a file, and the formats that are known."""
    project = get_project(session, project_id, user)
    return _form(request, settings, user, project)


@router.post("/projects/{project_id}/rankings/import")
def take_file(
    request: Request,
    database: AppDatabase,
    user: Admin,
    settings: AppSettings,
    project_id: str,
    form: UploadedForm,
) -> Response:
    """Keep a file until its rankings were looked at."""
    project = get_open_project(database, project_id, user)
    try:
        upload = keep_form_file(
            settings,
            form,
            user=user,
            project=project,
            kind=UploadKind.RANKINGS,
            accepted=RANKING_SUFFIXES,
        )
        try:
            _preview(settings, upload, None)
        except AppError as error:
            if error.code not in ANOTHER_FORMAT_MAY_DO:
                discard_import(upload)
                raise
    except AppError as error:
        return _form(request, settings, user, project, error=error)
    return redirect(preview_address(upload))


@router.get("/projects/{project_id}/rankings/import/{upload_id}")
def show_preview(
    request: Request,
    session: ReadSession,
    user: Admin,
    settings: AppSettings,
    project_id: str,
    upload_id: str,
    format_name: str = "",
) -> Response:
    """The first rankings of the file as they would be stored."""
    project = get_project(session, project_id, user)
    upload = get_own_upload(settings, user, project, upload_id)
    if read_progress(upload).state != ImportState.WAITING:
        return redirect(import_address(upload))
    return _show(request, settings, project, upload, format_name)


@router.post("/projects/{project_id}/rankings/import/{upload_id}")
def import_file(
    request: Request,
    database: AppDatabase,
    user: Admin,
    settings: AppSettings,
    project_id: str,
    upload_id: str,
    form: FormFields,
) -> Response:
    """Import the file in the format it has, or in the one that was chosen."""
    project = get_open_project(database, project_id, user)
    upload = get_own_upload(settings, user, project, upload_id)
    chosen = text_of(form, "format_name")
    if read_progress(upload).state == ImportState.WAITING:
        try:
            preview = _preview(settings, upload, chosen or None)
        except AppError:
            return _show(request, settings, project, upload, chosen, status_code=422)
        upload = choose(upload, {"format": preview.format.name})
    return begin_import(database, settings, upload)


def _preview(settings: Settings, upload: Upload, format_name: str | None) -> RankingsPreview:
    with upload.path.open("rb") as source:
        return preview_rankings(
            source,
            upload.layout,
            format_name=format_name,
            limit=RANKINGS_SHOWN,
            max_line_bytes=settings.max_line_bytes,
        )


def _form(
    request: Request,
    settings: Settings,
    user: User,
    project: Project,
    *,
    error: AppError | None = None,
) -> HTMLResponse:
    context: dict[str, Any] = {
        "project": project,
        "active": "pairs",
        "error": error,
        "formats": FORMATS,
        "suffixes": ",".join((*RANKING_SUFFIXES, *COMPRESSED_SUFFIXES)),
        "waiting": waiting_imports(settings, user, project.id, UploadKind.RANKINGS),
    }
    status = error.status if error else 200
    return render(request, "imports/rankings.html", context, status_code=status)


def _show(
    request: Request,
    settings: Settings,
    project: Project,
    upload: Upload,
    format_name: str,
    *,
    status_code: int = 200,
) -> HTMLResponse:
    """The preview, or why the file cannot be read in the chosen format."""
    preview, error = None, None
    try:
        preview = _preview(settings, upload, format_name or None)
    except AppError as problem:
        error = problem
    rankings = preview.rankings if preview else []
    return render(
        request,
        "imports/rankings_preview.html",
        {
            "project": project,
            "active": "pairs",
            "upload": upload,
            "address": preview_address(upload),
            "entry": entry_address(upload),
            "forget": f"{import_address(upload)}/forget",
            "formats": FORMATS,
            "format_name": format_name,
            "chosen": preview.format if preview else _find_format(format_name),
            "preview": preview,
            "pair_counts": [len(expand_ranking(one.ranks)) for one in rankings],
            "orders": [_best_first(one.ranks) for one in rankings],
            "error": error,
        },
        status_code=status_code,
    )


def _best_first(ranks: list[int | None]) -> list[tuple[int | None, int]]:
    """Rank and place of each completion, those that are unranked last."""
    order = sorted((rank is None, rank or 0, place) for place, rank in enumerate(ranks))
    return [(ranks[place], place) for _, _, place in order]


def _find_format(name: str) -> Any:
    try:
        return get_format(name) if name else None
    except Invalid:
        return None
