"""The whole command tree, and the carrying out of one command line."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import typer

from cavalcade.cli.commands import about, conflicts, ledger, past, runs
from cavalcade.cli.failures import PIPE_CLOSED, report_failure
from cavalcade.cli.terminal import Terminal
from cavalcade.cli.tree import app
from cavalcade.kernel.errors import CavalcadeError, OutputClosed, UsageError

__all__ = ["app", "command_line"]

for _part in (runs, past, conflicts, ledger, about):  # the order in which help shows them
    app.add_typer(_part.commands)


def command_line(arguments: Sequence[str], terminal: Terminal) -> int:
    """Carries out one command; its exit status. Only a defect is raised."""
    terminal.json = "--json" in arguments or terminal.environ.get("CAVALCADE_JSON", "").lower() in _TRUE
    command = typer.main.get_command(app)
    try:
        _check_text(arguments)
        done = command.main(
            _of_any_command_first(arguments), prog_name="cavalcade", standalone_mode=False, obj=terminal
        )
        terminal.stdout.flush()
    except (OutputClosed, BrokenPipeError):
        return PIPE_CLOSED
    except CavalcadeError as error:
        return report_failure(terminal, error)
    except typer.TyperException as error:
        return report_failure(terminal, _usage_error(error))
    return int(done or 0)


def _of_any_command_first(arguments: Sequence[str]) -> list[str]:
    """Flags that every command has may stand behind it; not behind `--`, where another program's begin."""
    own = list(arguments[: arguments.index("--")] if "--" in arguments else arguments)
    first: list[str] = []
    rest: list[str] = []
    words = iter(own)
    for word in words:
        if word.partition("=")[0] not in _OF_ANY_COMMAND:
            rest.append(word)
        else:
            first += [word] if "=" in word else [word, *islice(words, 1)]
    return [*first, *rest, *arguments[len(own) :]]


def _check_text(arguments: Sequence[str]) -> None:
    """What is put on the record has to be text."""
    for argument in arguments:
        if not argument.isprintable() and any("\ud800" <= char <= "\udfff" for char in argument):
            raise UsageError(f"{argument!r} is not UTF-8 text", expected="arguments in UTF-8")


_OF_ANY_COMMAND = frozenset(
    {"--events-fd", "--events-file", "--events-socket", "--events-wait", "--otlp", "--otlp-file"}
)
_TRUE = {"1", "true", "t", "yes", "y", "on"}


def _usage_error(error: typer.TyperException) -> UsageError:
    """What the parser found wrong, in our own form."""
    context: typer.Context | None = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "cavalcade"
    return UsageError(error.format_message(), hint=f"`{command} --help` shows what is possible")
