"""`podium prompts` and `podium rankings`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from app.cli.opening import get_project_by_name_or_id, open_database
from app.errors import Invalid, NotFound
from app.projects.prompt_mapping import PromptMapping, PromptReading
from app.projects.reading import ImportFormat, ImportReport, content_type_format, file_name_format
from app.settings import load_settings

prompts = typer.Typer(help="Prompts of a project.", no_args_is_help=True)
rankings = typer.Typer(help="Rankings made elsewhere.", no_args_is_help=True)

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
def import_prompt_file(
    file: FileArgument,
    project: ProjectOption,
    column: Annotated[
        str | None,
        typer.Option(help="Column of the prompt; left out, each row's own columns tell."),
    ] = None,
    read_as: Annotated[
        PromptReading, typer.Option(help="How the column of --column is read.")
    ] = PromptReading.PROMPT,
    input_column: Annotated[
        str | None, typer.Option(help="With --read-as instruction: column of its input.")
    ] = None,
    id_column: Annotated[
        str | None, typer.Option(help="With --column: column of the external id.")
    ] = None,
    tags_column: Annotated[
        str | None, typer.Option(help="With --column: column of the tags.")
    ] = None,
    drop: Annotated[
        list[str] | None, typer.Option(help="With --column: a column that is not kept.")
    ] = None,
) -> None:
    """Import prompts from JSONL, JSON, CSV, Parquet or text; every good line is kept once."""
    from app.projects.prompts import import_prompts

    mapping = None
    if column is not None:
        mapping = PromptMapping(
            column=column,
            reading=read_as,
            input=input_column,
            external_id=id_column,
            tags=tags_column,
            dropped=tuple(drop or ()),
        )
    elif input_column or id_column or tags_column or drop:
        raise Invalid("Name the column of the prompt too: --column.")
    settings = load_settings()
    with open_database(settings) as database, open_source(file) as (source, layout):
        with database.read() as session:
            project_id = get_project_by_name_or_id(session, project).id
        report = import_prompts(
            database,
            project_id,
            source,
            layout,
            mapping=mapping,
            max_line_bytes=settings.max_line_bytes,
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
