"""The command line: `podium up | serve | worker | inference | migrate | users | tokens | …`."""

import sys

import typer

from app.cli import accounts, pairs, preferences, processes
from app.errors import AppError

cli = typer.Typer(
    name="podium",
    help="Human feedback for language models: rank, train a reward model, tune, ask again.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
processes.register(cli)
cli.add_typer(accounts.users, name="users")
cli.add_typer(accounts.tokens, name="tokens")
cli.add_typer(preferences.prompts, name="prompts")
cli.add_typer(preferences.rankings, name="rankings")
cli.add_typer(pairs.pairs, name="pairs")


def main() -> None:
    """Run a command; an expected failure is one line on standard error and exit code 1."""
    try:
        cli()
    except AppError as error:
        print(f"podium: {error.detail}", file=sys.stderr)
        for name, problem in error.fields.items():
            print(f"  {name}: {problem}", file=sys.stderr)
        sys.exit(1)
