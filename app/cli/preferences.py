"""`podium prompts`, `podium rankings` and `podium pairs`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from app.cli.opening import get_project_by_name_or_id, open_database
from app.errors import NotFound
from app.preferences.filters import PairFilters
from app.preferences.formats import PairFormat, PairSchema, export_pairs
from app.projects.reading import ImportFormat, ImportReport, content_type_format, file_name_format
from app.settings import load_settings

prompts = typer.Typer(help="Prompts of a project.", no_args_is_help=True)
rankings = typer.Typer(help="Rankings made elsewhere.", no_args_is_help=True)
pairs = typer.Typer(help="Preferred-first pairs.", no_args_is_help=True)

ProjectOption = Annotated[str, typer.Option("--project", help="The project's name or id.")]
FileArgument = Annotated[Path, typer.Argument(help="The file; - reads JSONL from standard input.")]


@contextmanager
def open_source(path: Path) -> Iterator[tuple[BinaryIO, ImportFormat]]:
    """The bytes to import and the format its name tells.

    Raises:
        NotFound: there is no such file.
    """
    if str(path) == "-":
        yield sys.stdin.buffer, content_type_format("application/x-ndjson")
        return
    if not path.is_file():
        raise NotFound(f"there is no file {path}")
    with path.open("rb") as source:
        yield source, file_name_format(path.name)


def show_report(report: ImportReport) -> None:
    """Print what became of the lines; exit code 1 when any was rejected."""
    for rejected in report.rejected:
        typer.echo(f"line {rejected.line}: {rejected.reason}", err=True)
    typer.echo(
        f"created {report.created}, duplicates {report.duplicates}, "
        f"rejected {report.rejected_total}"
    )
    if report.rejected_total:
        raise typer.Exit(1)


@prompts.command("import")
def import_prompt_file(file: FileArgument, project: ProjectOption) -> None:
    """Import prompts from JSONL, JSON, CSV, Parquet or text; every good line is kept once."""
    from app.projects.prompts import import_prompts

    settings = load_settings()
    with open_database(settings) as database, open_source(file) as (source, layout):
        with database.read() as session:
            project_id = get_project_by_name_or_id(session, project).id
        report = import_prompts(
            database, project_id, source, layout, max_line_bytes=settings.max_line_bytes
        )
    show_report(report)


@rankings.command("import")
def import_ranking_file(
    file: FileArgument,
    project: ProjectOption,
    format_name: Annotated[
        str | None,
        typer.Option("--format", help="What the rows are; left out, the first rows tell."),
    ] = None,
) -> None:
    """Import rankings and pairs made elsewhere; every good one is kept once."""
    from app.preferences.imports import import_rankings

    settings = load_settings()
    with open_database(settings) as database, open_source(file) as (source, layout):
        with database.read() as session:
            project_id = get_project_by_name_or_id(session, project).id
        report = import_rankings(
            database,
            project_id,
            source,
            layout,
            format_name=format_name,
            max_line_bytes=settings.max_line_bytes,
        )
    typer.echo(f"read as {report.format or 'nothing: no row could be read'}", err=True)
    show_report(report)


@pairs.command("export")
def export_pair_file(
    project: ProjectOption,
    out: Annotated[
        Path | None, typer.Option(help="The file to write; without it, standard output.")
    ] = None,
    layout: Annotated[PairFormat, typer.Option("--format", help="File format.")] = PairFormat.JSONL,
    schema: Annotated[PairSchema, typer.Option(help="Columns.")] = PairSchema.PLAIN,
    snapshot: Annotated[
        str | None, typer.Option(help="Id of a frozen snapshot; without it, the pairs of now.")
    ] = None,
    include_identical: Annotated[
        bool, typer.Option("--include-identical", help="Also pairs of two identical texts.")
    ] = False,
) -> None:
    """Export pairs as the REST API does."""
    from app.preferences.queries import iter_frozen_pairs, iter_pairs
    from app.preferences.snapshots import get_snapshot

    with open_database(load_settings()) as database, database.read() as session:
        project_id = get_project_by_name_or_id(session, project).id
        if snapshot is None:
            found = iter_pairs(
                session, project_id, PairFilters(), include_identical=include_identical
            )
        elif get_snapshot(session, snapshot).project_id != project_id:
            raise NotFound(f"project {project!r} has no snapshot {snapshot}")
        else:
            found = iter_frozen_pairs(session, get_snapshot(session, snapshot))
        written = 0
        with out.open("wb") if out else nullcontext(sys.stdout.buffer) as target:
            for chunk in export_pairs(found, schema, layout):
                written += target.write(chunk)
    typer.echo(f"wrote {written:,} bytes", err=True)
