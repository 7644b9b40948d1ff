"""The commands about this installation."""

from __future__ import annotations

import typer

from cavalcade import __version__
from cavalcade.cli.tree import Json, finished, terminal_of

commands = typer.Typer()


@commands.command()
def doctor(context: typer.Context, json: Json = False) -> int:
    """Say what this machine has and lacks, and what to do."""
    from cavalcade.cli.doctor import doctor as command

    return finished(command(terminal_of(context, json)))


@commands.command()
def version(context: typer.Context, json: Json = False) -> int:
    """Say which version this is."""
    terminal = terminal_of(context, json)
    if json:
        terminal.document({"version": __version__})
    else:
        terminal.stdout.write(f"cavalcade {__version__}\n")
    return 0
