"""The root of the command tree, and what its commands share. What a command does is imported when it is called."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cavalcade.cli.failures import USAGE, disk_full
from cavalcade.cli.terminal import Terminal
from cavalcade.kernel.errors import Interrupted, OutputClosed
from cavalcade.telemetry import settings

if TYPE_CHECKING:
    from cavalcade.cli.compose import System

_HELP = """Changes code with a plan you approve, gates, and a record of every step.

Exit status: 0 done, 2 usage, 3 waits for you, 4 refused by the rules, 5 repository, 6 record, 7 no sandbox, 8 a tool failed, 9 busy,
10 stopped without landing, 11 a replay diverged, 1 defect, 130 interrupted. Data goes to stdout, everything else to stderr. Everything
is kept in CAVALCADE_HOME (without it: $XDG_DATA_HOME/cavalcade)."""

app = typer.Typer(name="cavalcade", rich_markup_mode=None, pretty_exceptions_enable=False)

Run = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, its beginning or end, or `last`.")]
Json = Annotated[bool, typer.Option("--json", envvar="CAVALCADE_JSON", help="One JSON document on stdout.")]
Repo = Annotated[Path, typer.Option("--repo", envvar="CAVALCADE_REPO", help="A folder in the repository.")]
All = Annotated[bool, typer.Option("--all", envvar="CAVALCADE_ALL", help="Everything, however long.")]


def terminal_of(context: typer.Context, json: bool) -> Terminal:
    terminal: Terminal = context.obj
    terminal.json = json
    return terminal


def with_system(terminal: Terminal, command: Callable[[System], Awaitable[int]]) -> int:
    """Runs a command on the embedded system."""
    from cavalcade.cli.compose import open_system
    from cavalcade.cli.find import make_data_folder

    make_data_folder(terminal.environ)

    async def body() -> int:
        async with open_system(terminal.environ, terminal.say) as system:
            return await command(system)

    return finished(body())


def finished(body: Coroutine[Any, Any, int]) -> int:
    """Raises Interrupted for Ctrl-C: what was under way is cancelled and stays resumable."""
    import asyncio

    try:
        return asyncio.run(body)
    except KeyboardInterrupt as exc:
        raise Interrupted("interrupted") from exc
    except BrokenPipeError as exc:
        raise OutputClosed("nobody reads what is written here") from exc
    except OSError as exc:
        if (full := disk_full(exc)) is None:
            raise
        raise full from exc


@app.callback(invoke_without_command=True, help=_HELP)
def root(
    context: typer.Context,
    events_fd: Annotated[
        int | None,
        typer.Option(metavar="N", envvar=settings.FD, help="Events as lines to this open descriptor, such as 3."),
    ] = None,
    events_file: Annotated[
        Path | None, typer.Option(metavar="PATH", envvar=settings.FILE, help="Events as lines at the end of this file.")
    ] = None,
    events_socket: Annotated[
        Path | None, typer.Option(metavar="PATH", envvar=settings.SOCKET, help="Events as lines to who connects here.")
    ] = None,
    otlp: Annotated[
        str, typer.Option(metavar="URL", envvar=settings.OTLP, help="OpenTelemetry spans to this collector.")
    ] = "",
    otlp_file: Annotated[
        Path | None, typer.Option(metavar="PATH", envvar=settings.OTLP_FILE, help="OpenTelemetry spans into this file.")
    ] = None,
    events_wait: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", envvar=settings.WAIT, help="At the end wait so long for readers (2)."),
    ] = None,
) -> int:
    """Without a command: what there is."""
    given = {
        settings.FD: events_fd,
        settings.FILE: events_file,
        settings.SOCKET: events_socket,
        settings.OTLP: otlp,
        settings.OTLP_FILE: otlp_file,
        settings.WAIT: events_wait,
    }
    terminal: Terminal = context.obj
    terminal.environ = {
        **terminal.environ,
        **{name: str(value) for name, value in given.items() if value not in (None, "")},
    }
    if context.invoked_subcommand is None:
        terminal_of(context, json=False).stderr.write(context.get_help() + "\n")
        return USAGE
    return 0
