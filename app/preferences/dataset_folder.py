"""A snapshot as a folder that `datasets.load_dataset` reads and that a hub takes as it is.

`README.md` is the dataset card; `data/` has a Parquet file for each part of the snapshot, or one
named train where it has none.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO
from zipfile import ZipFile, ZipInfo

from sqlalchemy.orm import Session

from app.models import Snapshot
from app.preferences.card import dataset_card, part_file
from app.preferences.formats import PairFormat, PairSchema, export_pairs
from app.preferences.pair_stream import Pair
from app.preferences.queries import iter_frozen_pairs
from app.preferences.splits import get_splits

CARD_NAME = "README.md"
Watch = Callable[[Iterator[Pair]], Iterator[Pair]]


def write_dataset_folder(
    session: Session,
    snapshot: Snapshot,
    schema: PairSchema,
    folder: Path,
    *,
    watch: Watch = iter,
) -> None:
    """Write the snapshot's card and files into the folder; `watch` sees every pair go by."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD_NAME).write_text(dataset_card(session, snapshot, schema), encoding="utf-8")
    names = [part.name for part in get_splits(snapshot).parts] if snapshot.splits else [None]
    for split in names:
        path = folder / part_file(split)
        path.parent.mkdir(exist_ok=True)
        pairs = watch(iter_frozen_pairs(session, snapshot, split=split))
        with path.open("wb") as file:
            for chunk in export_pairs(pairs, schema, PairFormat.PARQUET):
                file.write(chunk)


def write_dataset_zip(
    session: Session, snapshot: Snapshot, schema: PairSchema, file: BinaryIO, scratch_dir: Path
) -> None:
    """The same folder as a ZIP, stored (Parquet is compressed already); the same bytes always."""
    with tempfile.TemporaryDirectory(dir=scratch_dir, suffix=".partial") as name:
        folder = Path(name)
        write_dataset_folder(session, snapshot, schema, folder)
        with ZipFile(file, "w") as archive:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                moment = snapshot.created_at.timetuple()[:6]
                member = ZipInfo(path.relative_to(folder).as_posix(), moment)
                member.external_attr = 0o644 << 16
                with path.open("rb") as source, archive.open(member, "w", force_zip64=True) as part:
                    shutil.copyfileobj(source, part)
