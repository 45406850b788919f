"""`podium prompts`, `podium rankings` and `podium pairs`."""

import typer

prompts = typer.Typer(help="Prompts of a project.", no_args_is_help=True)
rankings = typer.Typer(help="Rankings made elsewhere.", no_args_is_help=True)
pairs = typer.Typer(help="Preferred-first pairs.", no_args_is_help=True)
