"""Writes the reference of the command line, `docs/cli.md`, from the command tree itself: `make reference`.

Exit statuses come from the error tree, so that neither can say what the program doesn't.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Any

import typer

from cavalcade.cli import failures
from cavalcade.cli.app import app
from cavalcade.kernel import errors
from cavalcade.kernel.errors import CavalcadeError

_HEAD = """# Command line

<!-- Written by scripts/cli_reference.py: change the commands and run `make reference`. -->

Data goes to standard output, everything else to standard error. With `--json`, standard output holds one JSON document (`log`: one event
per line); an error is a document as well, in the form of RFC 9457. On a terminal a run is shown live and asks at its plan; in a pipe it
writes plain lines, and waits at its plan with exit status 3.

`RUN` is a run's id, its beginning or its end, its branch, or `last`: the one that came on record last, of whichever project, wherever the
command is given.
"""

_ENVIRONMENT = (
    ("CAVALCADE_HOME", "where everything is kept: ledger, content stores, and the cache below it"),
    (
        "CAVALCADE_LEDGER",
        "`postgresql://USER:PASSWORD@HOST:PORT/DATABASE`: the ledger is that database (extra `postgres`), shared by whoever names it",
    ),
    (
        "CAVALCADE_SANDBOX",
        "`bubblewrap`, `landlock` or `wasm`: only that sandbox may be used; else `auto`, the strongest that contains",
    ),
    ("CAVALCADE_WASM_GUESTS", "folder with `python.wasm`, where npm can't fetch it"),
    ("XDG_DATA_HOME", "without CAVALCADE_HOME, data lies in `cavalcade` below this (else `~/.local/share`)"),
    (
        "XDG_CACHE_HOME",
        "without CAVALCADE_HOME, what can be thrown away lies in `cavalcade` below this (else `~/.cache`)",
    ),
    ("CAVALCADE_POOL", "how many workspaces may lie ready for the next run (8); 0: none"),
    ("CAVALCADE_POOL_MIB", "how much of the disk they may take, in MiB (2048)"),
    ("VIRTUAL_ENV", "an active environment: its Python runs the tests when nothing else names one"),
    ("NO_COLOR", "no colours; they never carry a meaning of their own"),
    ("TERM", "`dumb`: plain lines instead of the live view"),
)


def reference() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_commands(), *_of_any_command(), *_statuses(), *_variables()]).rstrip() + "\n"


def _commands() -> Iterator[str]:
    for name, command in _leaves(typer.main.get_command(app), ""):
        arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
        options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
        yield f"## `cavalcade {' '.join([name, *map(_usage, arguments)])}`\n"
        yield f"{_text(command.help)}\n"
        rows = [(f"`{_usage(argument)}`", "", argument.help) for argument in arguments if argument.help]
        rows += [(_option(option), _variable(option), option.help) for option in options if not option.hidden]
        yield from _table(("", "environment", ""), rows)


def _leaves(group: Any, before: str) -> Iterator[tuple[str, Any]]:
    """Each command with its whole name, a group among them where it does something by itself.

    The parser's classes are untyped for us: typer carries its own copy.
    """
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            if command.invoke_without_command:
                yield before + name, command
            yield from _leaves(command, f"{before}{name} ")
        else:
            yield before + name, command


def _of_any_command() -> Iterator[str]:
    """What is said before a command."""
    group: Any = typer.main.get_command(app)
    own = [option for option in group.params if option.opts[0].startswith(("--events", "--otlp"))]
    yield "## Options of every command\n"
    yield "They stand before or behind the command. [Side channels](side-channels.md) says what they do.\n"
    yield from _table(("", "environment", ""), [(_option(option), _variable(option), option.help) for option in own])


def _usage(argument: Any) -> str:
    shown = argument.metavar or argument.name.upper()
    return f"{shown}..." if argument.nargs == -1 and not shown.endswith("...") else shown


def _option(option: Any) -> str:
    value = "" if option.is_flag else f" {option.metavar or _kind(option)}"
    names = ", ".join(f"`{name}{value}`" for name in option.opts)
    default = "" if option.is_flag or option.default in (None, "", ()) or callable(option.default) else option.default
    return f"{names} (default `{default}`)" if default else names


def _kind(option: Any) -> str:
    annotation = option.type_descriptor.annotation
    return {"Path": "PATH", "int": "N"}.get(annotation.__name__, "TEXT")


def _variable(option: Any) -> str:
    return f"`{option.envvar}`" if option.envvar else ""


def _statuses() -> Iterator[str]:
    yield "## Exit statuses\n"
    named = {
        failures.DONE: "done",
        failures.DEFECT: "a defect of Cavalcade itself; the traceback is kept and its place is told",
        failures.WAITS: "the run waits for a person",
        failures.STOPPED: "the run stopped without landing anything, or was aborted",
        failures.DIVERGED: "a replay came out differently somewhere",
        failures.INTERRUPTED: "interrupted (Ctrl-C); the run can be resumed",
        failures.PIPE_CLOSED: "nobody reads the output any more",
    }
    meanings = {
        errors.UsageError: "the command or the objective can't be carried out as it stands",
        errors.Refused: "the rules of a run forbid this command now",
        errors.ContentError: "the project or its object store",
        errors.LedgerError: "the record: damaged, not writable, or no such run or moment",
        errors.SandboxUnavailable: "tests can't be run safely here",
        errors.ToolFailed: "an external program did not do its work",
        errors.Busy: "another process holds it",
    }
    named |= {kind.exit_status: meaning for kind, meaning in meanings.items()}
    missing = {kind.exit_status for kind in _errors()} - set(named)
    if missing:
        raise SystemExit(f"exit statuses {sorted(missing)} are not described: add them here")
    rows = [(f"{status}", named[status]) for status in sorted(named)]
    yield from _table(("status", "meaning"), rows)


def _errors() -> list[type[CavalcadeError]]:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, CavalcadeError)]
    return [kind for kind in kinds if kind is not CavalcadeError]


def _variables() -> Iterator[str]:
    yield "## Environment\n"
    yield "Each option can be given by the variable beside it. These are read as well:\n"
    yield from _table(("variable", "meaning"), [(f"`{name}`", meaning) for name, meaning in _ENVIRONMENT])


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    if not rows:
        return
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(_text(cell).replace("|", "\\|") for cell in row) + " |"
    yield ""


def _text(value: str | None) -> str:
    return " ".join((value or "").split())


if __name__ == "__main__":
    sys.stdout.write(reference())
