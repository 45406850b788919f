"""Prompts pasted or uploaded in the browser, looked at, and imported."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy.orm import Session
from starlette.datastructures import FormData, QueryParams

from app.dependencies import Admin, AppDatabase, AppSettings, ReadSession
from app.errors import AppError, Invalid
from app.models import Project, User
from app.projects.compression import SUFFIXES as COMPRESSED_SUFFIXES
from app.projects.import_runs import ImportState, discard_import, read_progress
from app.projects.prompt_mapping import PROMPT_COLUMNS, PromptMapping, PromptReading
from app.projects.prompts import PreviewedPrompt, PromptsPreview, find_stored, preview_prompts
from app.projects.reading import SUFFIXES, ImportFormat
from app.projects.service import get_project
from app.projects.uploads import Upload, UploadKind, choose
from app.settings import Settings
from app.web.forms import FormFields
from app.web.templating import redirect, render
from app.web.uploads import (
    UploadedForm,
    begin_import,
    entry_address,
    get_open_project,
    get_own_upload,
    import_address,
    keep_form_file,
    keep_pasted,
    preview_address,
    waiting_imports,
)

router = APIRouter()

PROMPTS_SHOWN = 8
ROWS_SHOWN = 5
REJECTED_SHOWN = 20
PASTED_LAYOUTS = (ImportFormat.LINES, ImportFormat.PARAGRAPHS, ImportFormat.JSONL)
WITHOUT_COLUMNS = (ImportFormat.LINES, ImportFormat.PARAGRAPHS)
READINGS = [
    (PromptReading.TEXT, "text"),
    (PromptReading.MESSAGES, "chat messages"),
    (PromptReading.PROMPT, "text or chat"),
    (PromptReading.INSTRUCTION, "instruction + input"),
    (PromptReading.TURNS, "first of the turns"),
]


@dataclass(frozen=True, kw_only=True)
class FirstRows:
    """What the preview says of the first rows, besides their prompts."""

    prompts: list[tuple[PreviewedPrompt, bool]]
    """The first few, and whether the project has each already."""
    new: int
    stored: int
    repeated: int
    """The same as one before in the file."""
    rejected: int


@router.get("/projects/{project_id}/prompts/add")
def show_add(
    request: Request, session: ReadSession, user: Admin, settings: AppSettings, project_id: str
) -> HTMLResponse:
    """The forms to paste prompts and to upload a file of them."""
    project = get_project(session, project_id, user)
    return _forms(request, settings, user, project)


@router.post("/projects/{project_id}/prompts/paste")
def paste(
    request: Request,
    database: AppDatabase,
    user: Admin,
    settings: AppSettings,
    project_id: str,
    text: Annotated[str, Form()] = "",
    layout: Annotated[str, Form()] = ImportFormat.LINES,
) -> Response:
    """Keep what was pasted until it was looked at."""
    chosen = ImportFormat(layout) if layout in PASTED_LAYOUTS else ImportFormat.LINES
    project = get_open_project(database, project_id, user)
    try:
        upload = keep_pasted(settings, text, chosen, user=user, project=project)
        _check_readable(settings, upload)
    except AppError as error:
        return _forms(request, settings, user, project, error=error, text=text, pasted=chosen)
    return redirect(preview_address(upload))


@router.post("/projects/{project_id}/prompts/upload")
def take_file(
    request: Request,
    database: AppDatabase,
    user: Admin,
    settings: AppSettings,
    project_id: str,
    form: UploadedForm,
) -> Response:
    """Keep a file until it was looked at; its name's ending tells how it is laid out."""
    project = get_open_project(database, project_id, user)
    try:
        upload = keep_form_file(
            settings,
            form,
            user=user,
            project=project,
            kind=UploadKind.PROMPTS,
            accepted=SUFFIXES,
        )
        _check_readable(settings, upload)
    except AppError as error:
        return _forms(request, settings, user, project, error=error)
    return redirect(preview_address(upload))


@router.get("/projects/{project_id}/prompts/add/{upload_id}")
def show_preview(
    request: Request,
    session: ReadSession,
    user: Admin,
    settings: AppSettings,
    project_id: str,
    upload_id: str,
) -> Response:
    """The first rows, what each column is taken for, and the prompts that come of it."""
    project = get_project(session, project_id, user)
    upload = get_own_upload(settings, user, project, upload_id)
    if read_progress(upload).state != ImportState.WAITING:
        return redirect(import_address(upload))
    return _show(request, session, settings, project, upload, request.query_params)


@router.post("/projects/{project_id}/prompts/add/{upload_id}")
def import_file(
    request: Request,
    database: AppDatabase,
    user: Admin,
    settings: AppSettings,
    project_id: str,
    upload_id: str,
    form: FormFields,
) -> Response:
    """Import the file as its columns were chosen."""
    project = get_open_project(database, project_id, user)
    upload = get_own_upload(settings, user, project, upload_id)
    if read_progress(upload).state == ImportState.WAITING:
        try:
            mapping = _chosen_mapping(settings, upload, form)
        except Invalid as error:
            with database.read() as session:
                return _show(request, session, settings, project, upload, form, error=error)
        upload = choose(upload, {"mapping": asdict(mapping) if mapping else None})
    return begin_import(database, settings, upload)


def _preview(
    settings: Settings, upload: Upload, mapping: PromptMapping | None = None
) -> PromptsPreview:
    with upload.path.open("rb") as source:
        return preview_prompts(
            source, upload.layout, mapping, max_line_bytes=settings.max_line_bytes
        )


def _check_readable(settings: Settings, upload: Upload) -> None:
    """Take the upload away again where the file as a whole cannot be meant."""
    try:
        preview = _preview(settings, upload)
        if not preview.rows and not preview.rejected:
            raise Invalid("There is no row in the file.", code="empty_file")
    except AppError:
        discard_import(upload)
        raise


def _chosen_mapping(
    settings: Settings, upload: Upload, values: FormData | QueryParams
) -> PromptMapping | None:
    """What was chosen; None where that is what the columns tell anyway.

    Then each row is recognised by its own columns, and a file may hold rows of several kinds.
    """
    if upload.layout in WITHOUT_COLUMNS:
        return None
    guess = _preview(settings, upload).mapping
    mapping = _read_mapping(values) or guess
    if mapping is None:
        raise Invalid(
            "Choose the column that holds the prompt.", fields={"column": "one of the columns"}
        )
    return None if mapping == guess else mapping


def _read_mapping(values: FormData | QueryParams) -> PromptMapping | None:
    """The mapping that the form's fields say; None where they name no column of the prompt."""

    def column(name: str) -> str | None:
        value = values.get(name)
        return value if isinstance(value, str) and value else None

    chosen = column("column")
    if chosen is None:
        return None
    reading = column("reading")
    read = PromptReading(reading) if reading in list(PromptReading) else PromptReading.PROMPT
    dropped = [name for name in values.getlist("dropped") if isinstance(name, str)]
    roles = {chosen, column("external_id"), column("tags")}
    return PromptMapping(
        column=chosen,
        reading=read,
        input=column("input") if read == PromptReading.INSTRUCTION else None,
        external_id=column("external_id"),
        tags=column("tags"),
        dropped=tuple(name for name in dropped if name not in roles),
    )


def _show(
    request: Request,
    session: Session,
    settings: Settings,
    project: Project,
    upload: Upload,
    values: FormData | QueryParams,
    *,
    error: AppError | None = None,
) -> HTMLResponse:
    guess = _preview(settings, upload)
    asked = None if upload.layout in WITHOUT_COLUMNS else _read_mapping(values)
    preview = guess if asked in (None, guess.mapping) else _preview(settings, upload, asked)
    mapping = preview.mapping
    context: dict[str, Any] = {
        "project": project,
        "active": "prompts",
        "upload": upload,
        "address": preview_address(upload),
        "entry": entry_address(upload),
        "forget": f"{import_address(upload)}/forget",
        "preview": preview,
        "has_columns": upload.layout not in WITHOUT_COLUMNS,
        "mapping": mapping,
        "guessed": asked in (None, guess.mapping),
        "readings": READINGS,
        "kept": _kept_columns(preview),
        "sample": [_cells(row.values, preview.columns) for row in preview.rows[:ROWS_SHOWN]],
        "first": _first_rows(session, project.id, preview),
        "rejected": preview.rejected[:REJECTED_SHOWN],
        "error": error,
    }
    status = error.status if error else 200
    return render(request, "imports/prompts_preview.html", context, status_code=status)


def _first_rows(session: Session, project_id: str, preview: PromptsPreview) -> FirstRows:
    stored = find_stored(session, project_id, (row.prompt for row in preview.prompts))
    marked = [(row, row.prompt.content_hash in stored) for row in preview.prompts]
    repeated = sum(row.same_as is not None for row, _ in marked)
    known = sum(is_stored and row.same_as is None for row, is_stored in marked)
    return FirstRows(
        prompts=marked[:PROMPTS_SHOWN],
        new=len(marked) - repeated - known,
        stored=known,
        repeated=repeated,
        rejected=len(preview.rejected),
    )


def _kept_columns(preview: PromptsPreview) -> list[str]:
    """The columns that become metadata, or would if they were not left out.

    An input that is a list of examples is kept too.
    """
    mapping = preview.mapping
    if mapping is None:
        return preview.columns
    taken = {mapping.column, mapping.external_id, mapping.tags}
    if any(isinstance(row.values.get(mapping.input or ""), str) for row in preview.rows):
        taken.add(mapping.input)
    return [name for name in preview.columns if name not in taken]


def _cells(values: Mapping[str, Any], columns: list[str]) -> list[str]:
    """A row as a table shows it: text as it is, anything else as its JSON."""
    return [
        ""
        if (value := values.get(name)) is None
        else value
        if isinstance(value, str)
        else orjson.dumps(value).decode()
        for name in columns
    ]


def _forms(
    request: Request,
    settings: Settings,
    user: User,
    project: Project,
    *,
    error: AppError | None = None,
    text: str = "",
    pasted: ImportFormat = ImportFormat.LINES,
) -> HTMLResponse:
    context: dict[str, Any] = {
        "project": project,
        "active": "prompts",
        "error": error,
        "text": text,
        "pasted": pasted,
        "suffixes": ",".join((*SUFFIXES, *COMPRESSED_SUFFIXES)),
        "columns": PROMPT_COLUMNS,
        "waiting": waiting_imports(settings, user, project.id, UploadKind.PROMPTS),
    }
    return render(request, "prompts/add.html", context, status_code=error.status if error else 200)
