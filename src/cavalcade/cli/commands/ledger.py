"""The commands that carry the record from one installation to another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cavalcade.cli.tree import Json, terminal_of, with_system

commands = typer.Typer()
ledger = typer.Typer(name="ledger", help="Take the record to another installation.", rich_markup_mode=None)
commands.add_typer(ledger)


@ledger.command("export")
def export_ledger(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file.")],
    project: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIR|ID",
            envvar="CAVALCADE_PROJECT",
            help="Content of this project only (events always go whole); may be repeated.",
        ),
    ] = None,
    json: Json = False,
) -> int:
    """Put the whole record into one file: every event, and the content they name."""
    from cavalcade.cli.transfer import export_ledger as command

    terminal = terminal_of(context, json)
    return with_system(terminal, lambda system: command(system, terminal, file, project or []))


@ledger.command("import")
def import_ledger(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `ledger export` made.")],
    repo: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OLD=NEW",
            envvar="CAVALCADE_REPO_MAP",
            help="A project's folder there (or its id), and its repository here; may be repeated.",
        ),
    ] = None,
    json: Json = False,
) -> int:
    """Check such a file, then take over everything in it that isn't here yet."""
    from cavalcade.cli.transfer import import_ledger as command

    terminal = terminal_of(context, json)
    return with_system(terminal, lambda system: command(system, terminal, file, repo or []))
