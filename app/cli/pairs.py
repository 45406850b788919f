"""`podium pairs export`: what REST exports, from a terminal."""

import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from sqlalchemy.orm import Session

from app.cli.opening import get_project_by_name_or_id, open_database
from app.errors import Conflict, Invalid, NotFound
from app.models import Project, Snapshot, TaskPurpose
from app.preferences.filters import AbRounds, PairFilters
from app.preferences.formats import PairFormat, PairSchema, export_pairs
from app.preferences.pair_counts import count_pairs
from app.preferences.pair_stream import Pair
from app.preferences.queries import iter_frozen_pairs, iter_pairs
from app.preferences.splits import get_splits
from app.settings import load_settings

pairs = typer.Typer(help="Preferred-first pairs.", no_args_is_help=True)
Watch = Callable[[Iterator[Pair]], Iterator[Pair]]
PAIRS_A_STEP = 500


@dataclass(frozen=True, kw_only=True)
class _Source:
    """Which pairs to export: those of a snapshot, or of a project as they are now."""

    project: Project
    snapshot: Snapshot | None
    split: str | None
    filters: PairFilters
    include_identical: bool

    def count(self, session: Session) -> int:
        """How many pairs there will be."""
        if self.snapshot is None:
            counts = count_pairs(session, self.project.id, self.filters)
            return counts.pairs + (counts.identical if self.include_identical else 0)
        if self.split is None:
            return self.snapshot.pairs
        return get_splits(self.snapshot).get_part(self.split).pairs

    def pairs(self, session: Session) -> Iterator[Pair]:
        """The pairs themselves."""
        if self.snapshot is not None:
            return iter_frozen_pairs(session, self.snapshot, split=self.split)
        return iter_pairs(
            session, self.project.id, self.filters, include_identical=self.include_identical
        )


@pairs.command("export")
def export_pair_file(
    project: Annotated[str, typer.Option(help="The project's name or id.")],
    out: Annotated[
        str | None,
        typer.Option(
            help="The file to write; a folder (FOLDER/) takes a whole snapshot as a dataset with "
            "its card. Without it, standard output."
        ),
    ] = None,
    layout: Annotated[PairFormat, typer.Option("--format", help="File format.")] = PairFormat.JSONL,
    schema: Annotated[PairSchema, typer.Option(help="Columns.")] = PairSchema.PLAIN,
    snapshot: Annotated[
        str | None, typer.Option(help="Id of a frozen snapshot; without it, the pairs of now.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="One part of the snapshot, such as train.")
    ] = None,
    include_identical: Annotated[
        bool, typer.Option("--include-identical", help="Also pairs of two identical texts.")
    ] = False,
    round_id: Annotated[str | None, typer.Option(help="Rankings of this round.")] = None,
    labeler: Annotated[str | None, typer.Option(help="Rankings by this labeler.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Rankings of tasks this model wrote a completion for.")
    ] = None,
    simulated: Annotated[
        bool | None, typer.Option(help="Only, or no, simulated labelers.", show_default=False)
    ] = None,
    repeats: Annotated[bool, typer.Option(help="Also what a labeler ranked again.")] = True,
    purpose: Annotated[
        TaskPurpose | None, typer.Option(help="Rankings of tasks of this purpose.")
    ] = None,
    ab_rounds: Annotated[
        AbRounds, typer.Option(help="Rankings of A/B rounds, which judge a policy.")
    ] = AbRounds.EXCLUDE,
    created_after: Annotated[
        datetime | None, typer.Option(help="Rankings made at this moment (UTC) or later.")
    ] = None,
    created_before: Annotated[
        datetime | None, typer.Option(help="Rankings made before this moment (UTC).")
    ] = None,
    tag: Annotated[str | None, typer.Option(help="Rankings of prompts with this tag.")] = None,
    metadata: Annotated[
        str | None, typer.Option(help="Rankings of prompts with this metadata, key=value.")
    ] = None,
    flag: Annotated[str | None, typer.Option(help="Rankings with this flag.")] = None,
    without_flag: Annotated[str | None, typer.Option(help="Rankings without this flag.")] = None,
    min_agreement: Annotated[
        float | None, typer.Option(min=0, max=1, help="Least agreement of a task's labelers.")
    ] = None,
    max_agreement: Annotated[
        float | None, typer.Option(min=0, max=1, help="Most agreement of a task's labelers.")
    ] = None,
    min_length_difference: Annotated[
        int | None, typer.Option(help="Least characters that chosen is longer than rejected.")
    ] = None,
    max_length_difference: Annotated[
        int | None, typer.Option(help="Most characters that chosen is longer than rejected.")
    ] = None,
) -> None:
    """Export pairs as the REST API does; a file appears under its name when it is complete."""
    from app.api.pair_filters import TrainingFilters, checked_filters

    known = TrainingFilters.model_fields
    chosen = {name: value for name, value in locals().items() if name in known}
    if snapshot is not None and (chosen != TrainingFilters().model_dump() or include_identical):
        raise Invalid("A snapshot has the filters it was made with: leave them out.")
    with open_database(load_settings()) as database, database.read() as session:
        found = get_project_by_name_or_id(session, project)
        source = _Source(
            project=found,
            snapshot=_get_snapshot(session, found, snapshot, split),
            split=split,
            filters=checked_filters(session, found.id, TrainingFilters.model_validate(chosen)),
            include_identical=include_identical,
        )
        with _progress(session, source) as watch:
            if out is not None and (out.endswith("/") or Path(out).is_dir()):
                _write_folder(session, source, schema, Path(out), watch)
            else:
                _write_file(session, source, schema, layout, out, watch)


def _get_snapshot(
    session: Session, project: Project, snapshot_id: str | None, split: str | None
) -> Snapshot | None:
    from app.preferences.snapshot_files import check_split
    from app.preferences.snapshots import get_snapshot

    if snapshot_id is None:
        if split is not None:
            raise Invalid("Only a snapshot has parts: name it with --snapshot.")
        return None
    snapshot = get_snapshot(session, snapshot_id)
    if snapshot.project_id != project.id:
        raise NotFound(f"project {project.name!r} has no snapshot {snapshot_id}")
    check_split(snapshot, split)
    return snapshot


@contextmanager
def _progress(session: Session, source: _Source) -> Iterator[Watch]:
    """A bar with the time left on standard error, where that is a terminal."""
    if not sys.stderr.isatty():
        yield iter
        return
    with typer.progressbar(
        length=source.count(session), label="Pairs", show_pos=True, file=sys.stderr
    ) as bar:

        def watch(found: Iterator[Pair]) -> Iterator[Pair]:
            seen = 0
            for pair in found:
                yield pair
                seen += 1
                if seen == PAIRS_A_STEP:
                    bar.update(seen)
                    seen = 0
            bar.update(seen)

        yield watch


def _write_file(
    session: Session,
    source: _Source,
    schema: PairSchema,
    layout: PairFormat,
    out: str | None,
    watch: Watch,
) -> None:
    chunks = export_pairs(watch(source.pairs(session)), schema, layout)
    if out is None:
        written = _write_all(sys.stdout.buffer, chunks)
    else:
        with _renamed_when_done(Path(out)) as partial, partial.open("xb") as file:
            written = _write_all(file, chunks)
    typer.echo(f"wrote {written:,} bytes", err=True)


def _write_all(file: BinaryIO, chunks: Iterator[bytes]) -> int:
    return sum(file.write(chunk) for chunk in chunks)


def _write_folder(
    session: Session, source: _Source, schema: PairSchema, folder: Path, watch: Watch
) -> None:
    from app.preferences.dataset_folder import write_dataset_folder

    if source.snapshot is None or source.split is not None:
        raise Invalid("A folder takes a whole snapshot: name it with --snapshot, without --split.")
    if folder.is_dir() and any(folder.iterdir()):
        raise Conflict(f"{folder} is not empty")
    with _renamed_when_done(folder) as partial:
        write_dataset_folder(session, source.snapshot, schema, partial, watch=watch)
    typer.echo(f"wrote {folder}/README.md and {folder}/data", err=True)


@contextmanager
def _renamed_when_done(path: Path) -> Iterator[Path]:
    """A name beside the path to write under: whoever looks finds all of it there, or nothing."""
    if not path.absolute().parent.is_dir():
        raise NotFound(f"there is no folder {path.parent}")
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial)
        partial.unlink(missing_ok=True)
