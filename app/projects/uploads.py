"""Uploaded files that wait, between being looked at and being imported.

Each has a folder of its own under `uploads` in the data folder: `about.json` says whose it is and
what it holds, `file` is what was uploaded, and `app.projects.import_runs` keeps beside them what
became of it. `about.json` is written last: without it an upload was never complete. What is older
than a day is cleared away when the next one comes.
"""

import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from app.errors import Invalid, NotFound
from app.models import new_id, utc_now
from app.projects.reading import ImportFormat

KEPT_SECONDS = 24 * 3600
MAX_FILE_NAME_LENGTH = 200
ID = re.compile(r"[0-9a-f]{32}")


class UploadKind(StrEnum):
    """What a file is to become."""

    PROMPTS = "prompts"
    RANKINGS = "rankings"


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A file that waits."""

    folder: Path
    owner_id: str
    """Nobody else may go on with it."""
    project_id: str
    kind: UploadKind
    file_name: str
    """As its owner called it; empty for what was pasted."""
    layout: ImportFormat
    size_bytes: int
    created_at: datetime
    choices: dict[str, Any] = field(default_factory=dict)
    """How it is to be read, once its owner has decided."""

    @property
    def id(self) -> str:
        """Its id, which is the name of its folder."""
        return self.folder.name

    @property
    def path(self) -> Path:
        """What was uploaded; gone once it was imported."""
        return self.folder / "file"

    def about(self) -> dict[str, Any]:
        """What `about.json` holds."""
        return {
            "owner_id": self.owner_id,
            "project_id": self.project_id,
            "kind": self.kind,
            "file_name": self.file_name,
            "layout": self.layout,
            "size_bytes": self.size_bytes,
            "created_at": self.created_at.isoformat(),
            "choices": self.choices,
        }


def keep_upload(
    uploads_dir: Path,
    source: BinaryIO,
    *,
    owner_id: str,
    project_id: str,
    kind: UploadKind,
    file_name: str,
    layout: ImportFormat,
) -> Upload:
    """Copy what was uploaded to a folder of its own; Invalid where it has no bytes."""
    clear_old_uploads(uploads_dir)
    folder = uploads_dir / new_id()
    folder.mkdir(parents=True, mode=0o700)
    try:
        with (folder / "file").open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
            size = target.tell()
        if not size:
            raise Invalid(
                "The file is empty." if file_name else "There is nothing to import: paste some.",
                code="empty_file",
                fields={"file" if file_name else "text": "something to import"},
            )
        upload = Upload(
            folder=folder,
            owner_id=owner_id,
            project_id=project_id,
            kind=kind,
            file_name=file_name[-MAX_FILE_NAME_LENGTH:],
            layout=layout,
            size_bytes=size,
            created_at=utc_now(),
        )
        write_json(folder / "about.json", upload.about())
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return upload


def get_upload(uploads_dir: Path, upload_id: str, *, owner_id: str, project_id: str) -> Upload:
    """The upload, for its owner in its project; NotFound for anybody and anything else."""
    upload = _read_upload(uploads_dir / upload_id) if ID.fullmatch(upload_id) else None
    if upload is None or upload.owner_id != owner_id or upload.project_id != project_id:
        raise NotFound(
            "This upload is not there any more: files wait for a day. Upload it again.",
            code="upload_not_found",
        )
    return upload


def list_uploads(
    uploads_dir: Path, *, owner_id: str, project_id: str, kind: UploadKind
) -> list[Upload]:
    """What the owner uploaded to the project within a day, the newest first."""
    found = [
        upload
        for folder in _folders(uploads_dir)
        if (upload := _read_upload(folder)) is not None
        and (upload.owner_id, upload.project_id, upload.kind) == (owner_id, project_id, kind)
    ]
    return sorted(found, key=lambda upload: upload.created_at, reverse=True)


def choose(upload: Upload, choices: dict[str, Any]) -> Upload:
    """The upload with how it is to be read, which is kept with it."""
    chosen = Upload(
        **{
            name: getattr(upload, name) for name in Upload.__dataclass_fields__ if name != "choices"
        },
        choices=choices,
    )
    write_json(upload.folder / "about.json", chosen.about())
    return chosen


def discard_upload(upload: Upload) -> None:
    """Take the file and all that was kept beside it away."""
    shutil.rmtree(upload.folder, ignore_errors=True)


def clear_old_uploads(uploads_dir: Path, *, kept_seconds: float = KEPT_SECONDS) -> None:
    """Take away what nothing was written to for a day: an import that runs writes all the time."""
    oldest = time.time() - kept_seconds
    for folder in _folders(uploads_dir):
        try:
            latest = max(entry.stat().st_mtime for entry in (folder, *folder.iterdir()))
        except FileNotFoundError:
            continue
        if latest < oldest:
            shutil.rmtree(folder, ignore_errors=True)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Replace the file in one step: whoever reads it finds the old content or the new."""
    new = path.with_suffix(".new")
    new.write_bytes(orjson.dumps(content))
    new.replace(path)


def _folders(uploads_dir: Path) -> Iterator[Path]:
    if uploads_dir.is_dir():
        yield from (path for path in uploads_dir.iterdir() if ID.fullmatch(path.name))


def _read_upload(folder: Path) -> Upload | None:
    try:
        about = orjson.loads((folder / "about.json").read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Upload(
        folder=folder,
        owner_id=about["owner_id"],
        project_id=about["project_id"],
        kind=UploadKind(about["kind"]),
        file_name=about["file_name"],
        layout=ImportFormat(about["layout"]),
        size_bytes=about["size_bytes"],
        created_at=datetime.fromisoformat(about["created_at"]).astimezone(UTC),
        choices=about["choices"],
    )
