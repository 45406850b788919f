"""What imports of prompts and of rankings share: taking the file, the progress, the report."""

import csv
import io
from collections.abc import AsyncIterator
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from starlette.datastructures import FormData, UploadFile

from app.db import Database
from app.dependencies import Admin, AppDatabase, AppSettings, ReadSession
from app.errors import Invalid, TooLarge
from app.models import Project, User
from app.preferences.foreign import get_format
from app.preferences.imports import import_rankings
from app.projects.import_runs import (
    Importer,
    ImportState,
    cancel_import,
    discard_import,
    read_progress,
    start_import,
)
from app.projects.prompt_mapping import PromptMapping, PromptReading
from app.projects.prompts import import_prompts
from app.projects.reading import ImportFormat, file_name_format
from app.projects.service import get_project, refuse_archived
from app.projects.uploads import Upload, UploadKind, get_upload, keep_upload, list_uploads
from app.settings import Settings
from app.web.templating import redirect, redirect_with_message, render

router = APIRouter()

MAX_PASTED_BYTES = 5_000_000
REJECTED_SHOWN = 100
ENTRIES = {UploadKind.PROMPTS: "prompts/add", UploadKind.RANKINGS: "rankings/import"}
"""The page that a file of each kind is uploaded on, below the project's."""


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


UploadedForm = Annotated[FormData, Depends(uploaded_form, scope="function")]


def get_open_project(database: Database, project_id: str, user: User) -> Project:
    """The project that is imported into; no session is held while the file is read.

    Raises:
        NotFound: there is none, or this person may not see it.
        Conflict: it is archived.
    """
    with database.read() as session:
        project = get_project(session, project_id, user)
        refuse_archived(project)
    return project


def get_own_upload(settings: Settings, user: User, project: Project, upload_id: str) -> Upload:
    """A file that this person uploaded to the project; NotFound where there is none."""
    return get_upload(settings.uploads_dir, upload_id, owner_id=user.id, project_id=project.id)


def keep_form_file(
    settings: Settings,
    form: FormData,
    *,
    user: User,
    project: Project,
    kind: UploadKind,
    accepted: dict[str, ImportFormat],
) -> Upload:
    """Keep the form's file; Invalid where there is none or its ending is none of the accepted."""
    file = form.get("file")
    if not isinstance(file, UploadFile) or not file.filename:
        raise Invalid("Choose a file first.", fields={"file": ", ".join(accepted)})
    layout = file_name_format(file.filename)
    if layout not in accepted.values():
        endings = ", ".join(accepted)
        raise Invalid(
            f"“{file.filename}” cannot be imported here. Accepted: {endings}.",
            code="unsupported_file",
            fields={"file": endings},
        )
    return keep_upload(
        settings.uploads_dir,
        file.file,
        owner_id=user.id,
        project_id=project.id,
        kind=kind,
        file_name=file.filename,
        layout=layout,
    )


def keep_pasted(
    settings: Settings, text: str, layout: ImportFormat, *, user: User, project: Project
) -> Upload:
    """Keep pasted prompts; Invalid where there is no word in them."""
    return keep_upload(
        settings.uploads_dir,
        io.BytesIO(text.strip().encode("utf-8", "replace")),
        owner_id=user.id,
        project_id=project.id,
        kind=UploadKind.PROMPTS,
        file_name="",
        layout=layout,
    )


def entry_address(upload: Upload) -> str:
    """The page with the form that the file came from."""
    return f"/projects/{upload.project_id}/{ENTRIES[upload.kind]}"


def preview_address(upload: Upload) -> str:
    """The page that shows what the file holds."""
    return f"{entry_address(upload)}/{upload.id}"


def import_address(upload: Upload) -> str:
    """The page of the import's progress and report."""
    return f"/projects/{upload.project_id}/imports/{upload.id}"


def waiting_imports(
    settings: Settings, user: User, project_id: str, kind: UploadKind
) -> list[dict[str, Any]]:
    """What the person uploaded within a day, with how far each is and where to go on."""
    rows = []
    for upload in list_uploads(
        settings.uploads_dir, owner_id=user.id, project_id=project_id, kind=kind
    ):
        progress = read_progress(upload)
        waits = progress.state == ImportState.WAITING
        address = preview_address(upload) if waits else import_address(upload)
        rows.append({"upload": upload, "progress": progress, "address": address})
    return rows


def make_importer(database: Database, settings: Settings, upload: Upload) -> Importer:
    """What imports the upload as its owner chose."""
    limit = settings.max_line_bytes

    def prompts(source: BinaryIO, on_batch: Any) -> Any:
        return import_prompts(
            database,
            upload.project_id,
            source,
            upload.layout,
            mapping=read_mapping(upload.choices.get("mapping")),
            max_line_bytes=limit,
            on_batch=on_batch,
        )

    def rankings(source: BinaryIO, on_batch: Any) -> Any:
        return import_rankings(
            database,
            upload.project_id,
            source,
            upload.layout,
            format_name=upload.choices.get("format"),
            max_line_bytes=limit,
            on_batch=on_batch,
        )

    return prompts if upload.kind == UploadKind.PROMPTS else rankings


def read_mapping(values: dict[str, Any] | None) -> PromptMapping | None:
    """A mapping as it was kept beside its upload."""
    if values is None:
        return None
    reading, dropped = PromptReading(values["reading"]), tuple(values["dropped"])
    return PromptMapping(**{**values, "reading": reading, "dropped": dropped})


def begin_import(database: Database, settings: Settings, upload: Upload) -> Response:
    """Import what waits, and lead to the page that shows how far it is."""
    start_import(upload, make_importer(database, settings, upload))
    return redirect(import_address(upload))


@router.get("/projects/{project_id}/imports/{upload_id}")
def show_import(
    request: Request,
    session: ReadSession,
    user: Admin,
    settings: AppSettings,
    project_id: str,
    upload_id: str,
) -> Response:
    """How far an import is, or what became of every line."""
    project = get_project(session, project_id, user)
    upload = get_own_upload(settings, user, project, upload_id)
    progress = read_progress(upload)
    if progress.state == ImportState.WAITING:
        return redirect(preview_address(upload))
    chosen = upload.choices.get("format")
    return render(
        request,
        "imports/show.html",
        {
            "project": project,
            "active": "prompts" if upload.kind == UploadKind.PROMPTS else "pairs",
            "upload": upload,
            "progress": progress,
            "rejected": progress.rejected[:REJECTED_SHOWN],
            "address": import_address(upload),
            "entry": entry_address(upload),
            "format": get_format(chosen) if chosen else None,
        },
    )


@router.post("/projects/{project_id}/imports/{upload_id}/cancel")
def cancel(
    session: ReadSession, user: Admin, settings: AppSettings, project_id: str, upload_id: str
) -> Response:
    """Stop an import after the batch it is at."""
    project = get_project(session, project_id, user)
    upload = get_own_upload(settings, user, project, upload_id)
    cancel_import(upload)
    return redirect(import_address(upload))


@router.post("/projects/{project_id}/imports/{upload_id}/go-on")
def go_on(
    database: AppDatabase, user: Admin, settings: AppSettings, project_id: str, upload_id: str
) -> Response:
    """Import the rest after a stop: what was stored is not stored again."""
    project = get_open_project(database, project_id, user)
    upload = get_own_upload(settings, user, project, upload_id)
    return begin_import(database, settings, upload)


@router.post("/projects/{project_id}/imports/{upload_id}/forget")
def forget(
    session: ReadSession, user: Admin, settings: AppSettings, project_id: str, upload_id: str
) -> Response:
    """Take the uploaded file away; what was imported from it stays."""
    project = get_project(session, project_id, user)
    upload = get_own_upload(settings, user, project, upload_id)
    discard_import(upload)
    return redirect_with_message(entry_address(upload), "The uploaded file was taken away.")


@router.get("/projects/{project_id}/imports/{upload_id}/rejected.csv")
def download_rejected(
    session: ReadSession, user: Admin, settings: AppSettings, project_id: str, upload_id: str
) -> Response:
    """The bad lines, with why each was not imported, as a table."""
    project = get_project(session, project_id, user)
    upload = get_own_upload(settings, user, project, upload_id)
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(("line", "reason"))
    writer.writerows(read_progress(upload).rejected)
    return Response(
        table.getvalue(),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="rejected-{upload.id[-8:]}.csv"'},
    )
