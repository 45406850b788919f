"""`podium up | serve | worker | inference | migrate | assets | demo`."""

import gc
import os
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from app.cli.opening import open_database
from app.db import Database
from app.settings import ROOT, Settings, load_settings

DataDir = Annotated[
    Path | None, typer.Option(help="Folder of the SQLite file, models and run directories.")
]
Port = Annotated[int | None, typer.Option(help="Port the web process listens on.")]
Host = Annotated[str | None, typer.Option(help="Address the web process listens on.")]


def prepare(settings: Settings, database: Database) -> list[str]:
    """Register the starter models and remove what a crash left of erased data; the lines that say
    where Podium is, and how to begin.

    While there is no account they hold a one-time link to create the admin.
    """
    from app.accounts.links import create_setup_link
    from app.preferences.erased_files import remove_leftovers
    from app.registry.service import ensure_starters

    with database.write() as session:
        ensure_starters(session)
        token = create_setup_link(session)
    with database.read() as session:
        remove_leftovers(session, settings.data_dir.absolute() / "exports", settings.runs_dir)
    lines = [f"Podium is at {settings.base_url}"]
    if token:
        lines.append(f"Create the admin account (works once): {settings.base_url}/setup/{token}")
    return lines


def up(data_dir: DataDir = None, port: Port = None, host: Host = None) -> None:
    """Run everything on this machine: web, worker and inference. Ctrl-C stops all cleanly."""
    from app.up import port_is_free, supervise

    settings = load_settings(data_dir=data_dir, port=port, host=host)
    if not port_is_free(settings.host, settings.port):
        typer.echo(
            f"podium: port {settings.port} is in use; choose another with --port or PODIUM_PORT",
            err=True,
        )
        raise typer.Exit(1)
    with open_database(settings) as database:
        greeting = prepare(settings, database)
    typer.echo("Starting web, worker and inference; Ctrl-C stops them.")
    raise typer.Exit(supervise(settings, greeting, typer.echo))


def serve(host: Host = None, port: Port = None) -> None:
    """Run the web process."""
    import uvicorn

    settings = load_settings(host=host, port=port)
    if settings.web_processes == 1:
        # Importing makes objects that stay for good; collecting garbage meanwhile, and looking at
        # them ever after, is a sixth of the start.
        gc.disable()
        import_module("app.main")
        gc.freeze()
        gc.enable()
    uvicorn.run(
        "app.main:create_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.web_processes if settings.web_processes > 1 else None,
        log_level=settings.log_level,
        access_log=settings.log_level == "debug",
        proxy_headers=True,
        timeout_graceful_shutdown=5,
    )


def worker() -> None:
    """Take jobs from the queue and run them."""
    from app.jobs.worker import run_worker

    raise typer.Exit(run_worker(load_settings()))


def inference() -> None:
    """Serve the registry's models through the OpenAI-compatible API."""
    import uvicorn

    from app.inference.quiet import QUIET_LIBRARIES

    os.environ.update(QUIET_LIBRARIES)
    from app.inference.server import create_inference_app
    from app.registry.catalogue import DatabaseCatalogue

    settings = load_settings()
    database = Database(settings.resolved_database_url)
    app = create_inference_app(
        DatabaseCatalogue(database, settings), threads=settings.inference_threads
    )
    uvicorn.run(
        app,
        host=settings.inference_host,
        port=settings.inference_port,
        log_level=settings.log_level,
        access_log=settings.log_level == "debug",
        timeout_graceful_shutdown=5,
    )


def migrate(data_dir: DataDir = None) -> None:
    """Bring the database to the newest schema, and register the starter models."""
    settings = load_settings(data_dir=data_dir)
    with open_database(settings) as database:
        for line in prepare(settings, database):
            typer.echo(line)


def assets() -> None:
    """Install the browser assets from the lock file into static/vendor/."""
    from app.assets import install_assets

    install_assets(ROOT)


def demo(
    simulate_labelers: Annotated[
        bool, typer.Option("--simulate-labelers", help="Also rank with simulated labelers.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Add a demo project, and with --simulate-labelers fill it without an afternoon of ranking."""
    from app.demo import run_demo

    settings = load_settings(data_dir=data_dir)
    with open_database(settings) as database:
        run_demo(database, settings, simulate_labelers=simulate_labelers, echo=typer.echo)


def register(cli: typer.Typer) -> None:
    """Add these commands."""
    for command in (up, serve, worker, inference, migrate, assets, demo):
        cli.command()(command)
