"""Files of a snapshot, written once and then kept, so that ranges of them can be sent.

The folder is a cache: whatever is deleted from it is written again. A file's name tells all that
its bytes depend on, the erasures so far among it, and the SHA-256 of the bytes, which is its ETag.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sqlalchemy.orm import Session

from app.db import Database
from app.errors import Conflict
from app.labeling.flags import known_flags
from app.models import Project, Snapshot
from app.preferences.card import dataset_card
from app.preferences.dataset_folder import write_dataset_zip
from app.preferences.formats import (
    FORMAT_VERSION,
    PairFormat,
    PairSchema,
    RankingFormat,
    RankingSchema,
    export_pairs,
    export_rankings,
)
from app.preferences.queries import iter_frozen_pairs, iter_frozen_rankings
from app.preferences.splits import get_splits

DIGEST_LENGTH = 32


@dataclass(frozen=True, kw_only=True)
class KeptFile:
    """A file that is there, and what tells its bytes from others."""

    path: Path
    etag: str


def keep_pairs(
    database: Database,
    snapshot: Snapshot,
    schema: PairSchema,
    layout: PairFormat,
    exports_dir: Path,
    *,
    split: str | None = None,
) -> KeptFile:
    """The snapshot's pairs, or those of one of its parts, as a file.

    Raises:
        Invalid: the snapshot has no such part.
    """
    check_split(snapshot, split)

    def write(session: Session, file: BinaryIO) -> None:
        pairs = iter_frozen_pairs(session, snapshot, split=split)
        _write(file, export_pairs(pairs, schema, layout))

    return _keep(database, snapshot, _named("pairs", schema, split), layout, exports_dir, write)


def keep_rankings(
    database: Database,
    snapshot: Snapshot,
    schema: RankingSchema,
    layout: RankingFormat,
    exports_dir: Path,
    *,
    split: str | None = None,
) -> KeptFile:
    """The snapshot's rankings, or those of one of its parts, as a file.

    Raises:
        Invalid: the snapshot has no such part.
    """
    check_split(snapshot, split)

    def write(session: Session, file: BinaryIO) -> None:
        rankings = iter_frozen_rankings(session, snapshot, split=split)
        labels = known_flags(session.get_one(Project, snapshot.project_id))
        _write(file, export_rankings(rankings, schema, layout, labels))

    return _keep(database, snapshot, _named("rankings", schema, split), layout, exports_dir, write)


def keep_card(
    database: Database, snapshot: Snapshot, schema: PairSchema, exports_dir: Path
) -> KeptFile:
    """The snapshot's dataset card as a file."""

    def write(session: Session, file: BinaryIO) -> None:
        file.write(dataset_card(session, snapshot, schema).encode())

    return _keep(database, snapshot, _named("card", schema, None), "md", exports_dir, write)


def keep_dataset(
    database: Database, snapshot: Snapshot, schema: PairSchema, exports_dir: Path
) -> KeptFile:
    """The whole snapshot as a ZIP: its card, and a Parquet file for each of its parts."""

    def write(session: Session, file: BinaryIO) -> None:
        write_dataset_zip(session, snapshot, schema, file, exports_dir)

    return _keep(database, snapshot, _named("dataset", schema, None), "zip", exports_dir, write)


def check_split(snapshot: Snapshot, split: str | None) -> None:
    """Invalid says which parts there are where this is none."""
    if split is not None:
        get_splits(snapshot).get_part(split)


def _named(content: str, schema: str, split: str | None) -> str:
    return f"{content}-{schema}" if split is None else f"{content}-{schema}-{split}"


def _write(file: BinaryIO, chunks: Iterator[bytes]) -> None:
    for chunk in chunks:
        file.write(chunk)


def _keep(
    database: Database,
    snapshot: Snapshot,
    name: str,
    ending: str,
    exports_dir: Path,
    write: Callable[[Session, BinaryIO], None],
) -> KeptFile:
    version = f"{FORMAT_VERSION}{_library_version(ending)}-e{snapshot.erased_rankings}"
    key = f"{snapshot.id}-{name}-{version}"
    for path in sorted(exports_dir.glob(f"{key}.{'?' * DIGEST_LENGTH}.{ending}")):
        return KeptFile(path=path, etag=_etag(path.name, key))
    exports_dir.mkdir(parents=True, exist_ok=True)
    handle, partial_name = tempfile.mkstemp(dir=exports_dir, suffix=".partial")
    partial = Path(partial_name)
    try:
        with os.fdopen(handle, "w+b") as file:
            with database.read() as session:
                write(session, file)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:DIGEST_LENGTH]
        path = partial.replace(exports_dir / f"{key}.{digest}.{ending}")
    finally:
        partial.unlink(missing_ok=True)
    _refuse_outdated(database, snapshot, path)
    return KeptFile(path=path, etag=_etag(path.name, key))


def _refuse_outdated(database: Database, snapshot: Snapshot, path: Path) -> None:
    """Whoever erases removes the files that are there then, not the one being written."""
    with database.read() as session:
        now = session.get(Snapshot, snapshot.id)
        if now is not None and now.erased_rankings == snapshot.erased_rankings:
            return
    path.unlink(missing_ok=True)
    raise Conflict(
        "Some of these rankings were erased while the file was written. Download it again.",
        code="rankings_erased",
    )


def _etag(name: str, key: str) -> str:
    return f'"{name[len(key) + 1 :][:DIGEST_LENGTH]}"'


def _library_version(ending: str) -> str:
    """That of the library whose compression decides some of the bytes."""
    if ending in (PairFormat.PARQUET, "zip"):
        import pyarrow

        return f"-{pyarrow.__version__}"
    if ending == PairFormat.JSONL_ZST:
        import zstandard

        return f"-{zstandard.__version__}"
    return ""
