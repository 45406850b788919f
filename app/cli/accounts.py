"""`podium users` and `podium tokens`."""

import secrets
import sys
from typing import Annotated

import typer
from sqlalchemy import select

from app.cli.opening import get_user_by_email, open_database
from app.models import Role, User
from app.settings import load_settings

users = typer.Typer(help="People.", no_args_is_help=True)
tokens = typer.Typer(help="API tokens.", no_args_is_help=True)

Email = Annotated[str, typer.Option(help="The person's address.")]


@users.command("create")
def create(
    email: Email,
    role: Annotated[Role, typer.Option(help="What the person may do.")],
    name: Annotated[str, typer.Option(help="What pages call the person.")] = "",
) -> None:
    """Create an account; the password comes from standard input, or is made up and printed once."""
    from app.accounts.audit import record
    from app.accounts.users import create_user

    given = "" if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    password = given or secrets.token_urlsafe(12)
    with open_database(load_settings()) as database, database.write() as session:
        user = create_user(session, email=email, role=role, name=name, password=password)
        record(session, None, "user.create", "user", user.id, email=user.email, role=role)
    typer.echo(f"created {role} {email}", err=True)
    if not given:
        typer.echo(f"password (shown once): {password}")


@users.command("list")
def list_all() -> None:
    """List accounts: address, role, handle."""
    with open_database(load_settings()) as database, database.read() as session:
        for user in session.scalars(select(User).order_by(User.created_at)):
            marks = [user.role] + ["simulated"] * user.simulated
            marks += ["disabled"] * (user.disabled_at is not None)
            typer.echo(f"{user.email}\t{' '.join(marks)}\t{user.handle}")


@tokens.command("create")
def create_api_token(
    email: Email,
    name: Annotated[str, typer.Option(help="What the token is for.")] = "command line",
) -> None:
    """Create an API token of a person and print it alone; it is stored hashed only."""
    from app.accounts.audit import record
    from app.accounts.tokens import create_token

    with open_database(load_settings()) as database, database.write() as session:
        user = get_user_by_email(session, email)
        token = create_token(session, user, name)
        record(session, None, "token.create", "user", user.id, name=name)
    typer.echo(token)
