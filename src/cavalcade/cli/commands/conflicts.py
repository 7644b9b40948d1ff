"""The commands about results that were made apart."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cavalcade.cli.tree import All, Json, Repo, terminal_of, with_system

commands = typer.Typer()
conflicts = typer.Typer()
commands.add_typer(conflicts, name="conflicts")

Conflict = Annotated[str, typer.Argument(metavar="CONFLICT", help="Its name, or the beginning of it.")]


@conflicts.callback(invoke_without_command=True)
def list_conflicts(context: typer.Context, repo: Repo = Path(), every: All = False, json: Json = False) -> int:
    """List results that were made apart and no merge can settle; with --all the resolved ones too."""
    from cavalcade.cli.conflicts import list_conflicts as command

    if context.invoked_subcommand is not None:
        return 0
    terminal = terminal_of(context, json)
    return with_system(terminal, lambda system: command(system, terminal, repo, every=every))


@conflicts.command()
def show(context: typer.Context, conflict: Conflict, repo: Repo = Path(), json: Json = False) -> int:
    """Show what each side did to the files of a conflict."""
    from cavalcade.cli.conflicts import show as command

    terminal = terminal_of(context, json)
    return with_system(terminal, lambda system: command(system, terminal, repo, conflict))


@conflicts.command("open")
def open_conflict(
    context: typer.Context,
    conflict: Conflict,
    into: Annotated[Path, typer.Option(metavar="DIR", envvar="CAVALCADE_INTO", help="An absent or empty folder.")],
    repo: Repo = Path(),
    json: Json = False,
) -> int:
    """Lay out its files to be edited, with both sides and what they started from beside each."""
    from cavalcade.cli.conflicts import open_conflict as command

    terminal = terminal_of(context, json)
    return with_system(terminal, lambda system: command(system, terminal, repo, conflict, into))


@conflicts.command()
def resolve(
    context: typer.Context,
    conflict: Conflict,
    take: Annotated[
        Literal["ours", "theirs"] | None,
        typer.Option(metavar="ours|theirs", envvar="CAVALCADE_TAKE", help="The conflict's files as one side has them."),
    ] = None,
    edited: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", envvar="CAVALCADE_FROM", help="The files as edited in this folder."),
    ] = None,
    repo: Repo = Path(),
    json: Json = False,
) -> int:
    """Settle a conflict; the result is a branch that holds both sides."""
    from cavalcade.cli.conflicts import resolve as command

    terminal = terminal_of(context, json)
    return with_system(terminal, lambda system: command(system, terminal, repo, conflict, take, edited))
