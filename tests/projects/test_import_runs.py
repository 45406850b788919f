"""Uploads that wait, and their imports: progress, cancelling, breaking off, going on."""

import io
import os
import threading
import time
from pathlib import Path
from typing import BinaryIO

import pyarrow
import pytest
from pyarrow import parquet

from app.db import Database
from app.errors import Conflict, Invalid, NotFound
from app.models import Project
from app.projects.import_runs import (
    Importer,
    ImportProgress,
    ImportState,
    cancel_import,
    discard_import,
    read_progress,
    start_import,
)
from app.projects.prompts import count_prompts, import_prompts
from app.projects.reading import ImportFormat, ImportReport
from app.projects.uploads import (
    Upload,
    UploadKind,
    choose,
    clear_old_uploads,
    get_upload,
    keep_upload,
    list_uploads,
)

OWNER, PROJECT = "a" * 32, "b" * 32


def keep(
    folder: Path, content: bytes = b"Why?\n", layout: ImportFormat = ImportFormat.LINES
) -> Upload:
    return keep_upload(
        folder / "uploads",
        io.BytesIO(content),
        owner_id=OWNER,
        project_id=PROJECT,
        kind=UploadKind.PROMPTS,
        file_name="mine.txt",
        layout=layout,
    )


class Steps:
    """An importer that goes a batch further each time it is let, reading ten bytes for it."""

    def __init__(self) -> None:
        self.report = ImportReport()
        self.allowed = threading.Semaphore(0)
        self.done = threading.Semaphore(0)
        self.last = 10

    def __call__(self, source: BinaryIO, on_batch: object) -> ImportReport:
        assert callable(on_batch)
        for _ in range(self.last):
            assert self.allowed.acquire(timeout=20)
            source.read(10)
            self.report.created += 1
            try:
                on_batch(self.report)
            finally:
                self.done.release()
        return self.report

    def step(self, count: int = 1) -> None:
        for _ in range(count):
            self.allowed.release()
            assert self.done.acquire(timeout=20)


def wait_until_ended(upload: Upload) -> ImportProgress:
    deadline = time.monotonic() + 20
    while (progress := read_progress(upload)).state == ImportState.RUNNING:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return progress


def test_upload_waits_with_what_was_chosen_for_its_owner_alone(tmp_path: Path) -> None:
    upload = choose(keep(tmp_path), {"mapping": {"column": "text"}})
    folder = tmp_path / "uploads"
    again = get_upload(folder, upload.id, owner_id=OWNER, project_id=PROJECT)
    assert again == upload
    assert again.path.read_bytes() == b"Why?\n"
    assert read_progress(again) == ImportProgress()
    for owner, project, upload_id in (
        ("c" * 32, PROJECT, upload.id),
        (OWNER, "c" * 32, upload.id),
        (OWNER, PROJECT, "c" * 32),
        (OWNER, PROJECT, f"../uploads/{upload.id}"),
    ):
        with pytest.raises(NotFound):
            get_upload(folder, upload_id, owner_id=owner, project_id=project)
    kinds = {
        kind: list_uploads(folder, owner_id=OWNER, project_id=PROJECT, kind=kind)
        for kind in UploadKind
    }
    assert kinds == {UploadKind.PROMPTS: [upload], UploadKind.RANKINGS: []}


def test_empty_upload_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="empty"):
        keep(tmp_path, b"")
    assert list((tmp_path / "uploads").iterdir()) == []


def test_upload_whose_copy_broke_off_is_not_there(tmp_path: Path) -> None:
    upload = keep(tmp_path)
    (upload.folder / "about.json").unlink()
    with pytest.raises(NotFound):
        get_upload(tmp_path / "uploads", upload.id, owner_id=OWNER, project_id=PROJECT)


def test_uploads_are_cleared_away_after_a_day(tmp_path: Path) -> None:
    old, live = keep(tmp_path), keep(tmp_path)
    for upload in (old, live):
        for path in (upload.folder, *upload.folder.iterdir()):
            os.utime(path, (time.time() - 25 * 3600,) * 2)
    (live.folder / "progress.json").write_text("{}")
    clear_old_uploads(tmp_path / "uploads")
    assert not old.folder.exists()
    assert live.folder.exists()


def test_import_shows_how_far_it_is_and_takes_the_file_away_at_the_end(tmp_path: Path) -> None:
    upload, steps = keep(tmp_path, b"x" * 100), Steps()
    start_import(upload, steps, wait_seconds=0)
    assert read_progress(upload).state == ImportState.RUNNING
    steps.step(4)
    time.sleep(0.4)
    steps.step()
    time.sleep(0.05)
    progress = read_progress(upload)
    assert (progress.state, progress.created, progress.rows) == (ImportState.RUNNING, 5, 5)
    assert progress.fraction == pytest.approx(0.5)
    assert progress.eta_seconds is not None
    assert progress.eta_seconds > 0
    other = Steps()
    start_import(upload, other)
    assert other.report.created == 0, "one import at a time"
    with pytest.raises(Conflict):
        discard_import(upload)
    steps.step(5)
    ended = wait_until_ended(upload)
    assert (ended.state, ended.created, ended.fraction) == (ImportState.DONE, 10, 1.0)
    deadline = time.monotonic() + 20
    while upload.path.exists():
        assert time.monotonic() < deadline, "the file stays"
    start_import(upload, other)
    assert read_progress(upload) == ended, "what is done is not done again"


def test_cancelled_import_stops_after_the_batch_and_may_be_gone_on_with(tmp_path: Path) -> None:
    upload, steps = keep(tmp_path, b"x" * 100), Steps()
    start_import(upload, steps, wait_seconds=0)
    steps.step(2)
    cancel_import(upload)
    steps.step()
    progress = wait_until_ended(upload)
    assert (progress.state, progress.created) == (ImportState.CANCELLED, 3)
    assert progress.fraction == pytest.approx(0.3)
    assert progress.can_go_on
    rest = Steps()
    rest.allowed.release(10)
    start_import(upload, rest, wait_seconds=20)
    ended = read_progress(upload)
    assert (ended.state, ended.attempt) == (ImportState.DONE, 2)


def test_failure_is_told_and_a_defect_is_not_explained(tmp_path: Path) -> None:
    def refuse(source: BinaryIO, on_batch: object) -> ImportReport:
        raise Invalid("No column holds the prompt.")

    upload = keep(tmp_path)
    start_import(upload, refuse, wait_seconds=20)
    progress = read_progress(upload)
    assert progress.state == ImportState.FAILED
    assert progress.reason == "No column holds the prompt."
    assert progress.can_go_on
    assert upload.path.exists()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_defect_leaves_a_failed_import_behind(tmp_path: Path) -> None:
    def break_down(source: BinaryIO, on_batch: object) -> ImportReport:
        raise ZeroDivisionError

    upload = keep(tmp_path)
    start_import(upload, break_down, wait_seconds=20)
    progress = read_progress(upload)
    assert progress.state == ImportState.FAILED
    assert "logged" in progress.reason


def test_progress_of_a_table_is_told_by_its_rows(sqlite_database: Database, tmp_path: Path) -> None:
    with sqlite_database.write() as session:
        project = Project(name="P")
        session.add(project)
        session.flush()
        project_id = project.id
    table = io.BytesIO()
    parquet.write_table(pyarrow.table({"text": [f"prompt {n}" for n in range(2500)]}), table)
    upload = keep(tmp_path, table.getvalue(), ImportFormat.PARQUET)
    seen: list[float | None] = []

    def watch(inner: Importer) -> Importer:
        def run(source: BinaryIO, on_batch: object) -> ImportReport:
            assert callable(on_batch)

            def after(report: ImportReport) -> None:
                on_batch(report)
                seen.append((report.created) / 2500)

            return inner(source, after)

        return run

    start_import(
        upload,
        watch(
            lambda source, on_batch: import_prompts(
                sqlite_database, project_id, source, upload.layout, on_batch=on_batch
            )
        ),
        wait_seconds=30,
    )
    assert seen == [0.4, 0.8, 1.0]
    assert read_progress(upload).created == 2500
    with sqlite_database.read() as session:
        assert count_prompts(session, project_id) == 2500
