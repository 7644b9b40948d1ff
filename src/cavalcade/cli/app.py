"""The command tree: names, flags and their environment variables. What a command does is imported when it is called."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cavalcade import __version__
from cavalcade.cli.failures import PIPE_CLOSED, USAGE, disk_full, report_failure
from cavalcade.cli.terminal import Terminal
from cavalcade.kernel.errors import CavalcadeError, Interrupted, OutputClosed, UsageError

if TYPE_CHECKING:
    from cavalcade.cli.compose import System

_HELP = """Changes code with a plan you approve, gates, and a record of every step.

Exit status: 0 done, 2 usage, 3 waits for you, 4 refused by the rules, 5 repository, 6 record, 7 no sandbox, 8 a tool failed, 9 busy,
10 stopped without landing, 1 defect, 130 interrupted. Data goes to stdout, everything else to stderr. Everything is kept in
CAVALCADE_HOME (without it: $XDG_DATA_HOME/cavalcade)."""

app = typer.Typer(name="cavalcade", rich_markup_mode=None, pretty_exceptions_enable=False)

Run = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, its beginning or end, or `last`.")]
Json = Annotated[bool, typer.Option("--json", envvar="CAVALCADE_JSON", help="One JSON document on stdout.")]
Repo = Annotated[Path, typer.Option("--repo", envvar="CAVALCADE_REPO", help="A folder in the repository.")]
All = Annotated[bool, typer.Option("--all", envvar="CAVALCADE_ALL", help="Everything, however long.")]


def _terminal(context: typer.Context, json: bool) -> Terminal:
    terminal: Terminal = context.obj
    terminal.json = json
    return terminal


def _with_system(terminal: Terminal, command: Callable[[System], Awaitable[int]]) -> int:
    """Runs a command on the embedded system."""
    from cavalcade.cli.compose import open_system
    from cavalcade.cli.find import make_data_folder

    make_data_folder(terminal.environ)

    async def body() -> int:
        async with open_system(terminal.environ) as system:
            return await command(system)

    return _finished(body())


def _finished(body: Coroutine[Any, Any, int]) -> int:
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
def without_command(context: typer.Context) -> int:
    """Without a command: what there is."""
    if context.invoked_subcommand is None:
        _terminal(context, json=False).stderr.write(context.get_help() + "\n")
        return USAGE
    return 0


@app.command()
def run(
    context: typer.Context,
    objective: Annotated[
        list[str],
        typer.Argument(metavar="OBJECTIVE", help='Such as "rename package.module:old to new"; or: rename A B.'),
    ],
    repo: Repo = Path(),
    yes: Annotated[
        bool, typer.Option("--yes", "-y", envvar="CAVALCADE_YES", help="Approve the plan without being asked.")
    ] = False,
    json: Json = False,
    mentions: Annotated[
        str,
        typer.Option(
            metavar="KINDS", envvar="CAVALCADE_MENTIONS", help="Change mentions in text too: docs,comments,strings."
        ),
    ] = "",
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", envvar="CAVALCADE_ONLY", help="Change nothing elsewhere; may be repeated."),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", envvar="CAVALCADE_WITHOUT", help="Change nothing there; may be repeated."),
    ] = None,
    no_tests: Annotated[
        bool, typer.Option("--no-tests", envvar="CAVALCADE_NO_TESTS", help="Don't judge the result by tests.")
    ] = False,
    python: Annotated[
        Path | None,
        typer.Option(metavar="PATH", envvar="CAVALCADE_PYTHON", help="The interpreter that runs the project's tests."),
    ] = None,
    test_command: Annotated[
        str,
        typer.Option(metavar="COMMAND", envvar="CAVALCADE_TEST_COMMAND", help="Runs the tests instead of pytest."),
    ] = "",
    head: Annotated[bool, typer.Option("--head", envvar="CAVALCADE_HEAD", help="Ignore uncommitted changes.")] = False,
    attempts: Annotated[
        int, typer.Option(min=1, max=20, envvar="CAVALCADE_ATTEMPTS", help="How often a task may be tried.")
    ] = 3,
) -> int:
    """Plan a change, ask you, carry it out through gates and tests, and make a result branch."""
    from cavalcade.cli.request import Asked, start

    terminal = _terminal(context, json)
    asked = Asked(
        words=objective,
        repo=repo,
        yes=yes,
        mentions=mentions,
        only=only or [],
        without=without or [],
        no_tests=no_tests,
        python=python,
        test_command=test_command,
        head=head,
        attempts=attempts,
    )
    return _with_system(terminal, lambda system: start(system, terminal, asked))


@app.command()
def runs(context: typer.Context, repo: Repo = Path(), every: All = False, json: Json = False) -> int:
    """List the runs of this project; outside of one, or with --all, all runs."""
    from cavalcade.cli.inspect import list_runs

    terminal = _terminal(context, json)
    return _with_system(terminal, lambda system: list_runs(system, terminal, repo, every=every))


@app.command()
def show(context: typer.Context, run: Run, everything: All = False, json: Json = False) -> int:
    """Show a run: its plan while it waits, else what became of it."""
    from cavalcade.cli.inspect import show as command

    terminal = _terminal(context, json)
    return _with_system(terminal, lambda system: command(system, terminal, run, everything=everything))


@app.command()
def log(
    context: typer.Context,
    run: Run,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", envvar="CAVALCADE_FOLLOW", help="Go on until the run is closed.")
    ] = False,
    types: Annotated[
        list[str] | None,
        typer.Option(
            "--type", metavar="T", envvar="CAVALCADE_TYPE", help="Only these: edit, gate.judged, ...; may be repeated."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", envvar="CAVALCADE_JSON", help="One JSON event per line.")] = False,
) -> int:
    """Show every event of a run with its number."""
    from cavalcade.cli.inspect import log as command

    terminal = _terminal(context, json)
    return _with_system(terminal, lambda system: command(system, terminal, run, types or [], follow=follow))


@app.command()
def approve(
    context: typer.Context,
    run: Run,
    plan_hash: Annotated[
        str, typer.Option("--hash", metavar="H", envvar="CAVALCADE_HASH", help="Only if the plan has this hash.")
    ] = "",
    no_wait: Annotated[
        bool, typer.Option("--no-wait", envvar="CAVALCADE_NO_WAIT", help="Record it and don't carry it out.")
    ] = False,
    json: Json = False,
) -> int:
    """Approve the plan of a run, then carry it out."""
    from cavalcade.cli.decide import approve as command

    terminal = _terminal(context, json)
    return _with_system(terminal, lambda system: command(system, terminal, run, plan_hash, wait=not no_wait))


@app.command()
def inject(
    context: typer.Context,
    run: Run,
    text: Annotated[list[str], typer.Argument(metavar="TEXT", help="Such as: mentions docs; without tests/data")],
    json: Json = False,
) -> int:
    """Say what should be different; the run is planned again."""
    from cavalcade.cli.decide import give_feedback

    terminal = _terminal(context, json)
    return _with_system(terminal, lambda system: give_feedback(system, terminal, run, " ".join(text)))


@app.command()
def abort(
    context: typer.Context,
    run: Run,
    reason: Annotated[str, typer.Option(metavar="TEXT", envvar="CAVALCADE_REASON", help="For the record.")] = "",
    json: Json = False,
) -> int:
    """End a run; nothing of it lands."""
    from cavalcade.cli.decide import abort as command

    terminal = _terminal(context, json)
    return _with_system(terminal, lambda system: command(system, terminal, run, reason))


@app.command()
def resume(context: typer.Context, run: Run, json: Json = False) -> int:
    """Go on with a run where it stood, after whatever interrupted it."""
    from cavalcade.cli.decide import resume as command

    terminal = _terminal(context, json)
    return _with_system(terminal, lambda system: command(system, terminal, run))


_AT = "An event (`12`, its id, `last`) or a time (`2026-03-01T14:05`, `10m ago`)."


@app.command()
def diff(
    context: typer.Context,
    run: Run,
    at: Annotated[str, typer.Option(metavar="EVENT|TIME", envvar="CAVALCADE_AT", help=_AT)] = "",
    stat: Annotated[bool, typer.Option("--stat", envvar="CAVALCADE_STAT", help="Only counts for each file.")] = False,
    json: Json = False,
) -> int:
    """Show what a run has changed, up to its end or to any moment."""
    from cavalcade.cli.rewind import diff as command

    terminal = _terminal(context, json)
    return _with_system(terminal, lambda system: command(system, terminal, run, at, stat=stat))


@app.command()
def restore(
    context: typer.Context,
    what: Annotated[str, typer.Argument(metavar="RUN|PROJECT", help="A run, or a project by its folder.")],
    at: Annotated[str, typer.Option(metavar="EVENT|TIME", envvar="CAVALCADE_AT", help=_AT)],
    into: Annotated[
        Path | None, typer.Option(metavar="DIR", envvar="CAVALCADE_INTO", help="An absent or empty folder.")
    ] = None,
    branch: Annotated[
        str, typer.Option(metavar="NAME", envvar="CAVALCADE_BRANCH", help="A new branch in the repository.")
    ] = "",
    json: Json = False,
) -> int:
    """Bring back the project as it was at any event or time."""
    from cavalcade.cli.rewind import restore as command

    terminal = _terminal(context, json)
    return _with_system(terminal, lambda system: command(system, terminal, what, at, into, branch))


@app.command()
def why(
    context: typer.Context,
    place: Annotated[str, typer.Argument(metavar="FILE:LINE")],
    repo: Annotated[
        Path | None, typer.Option(envvar="CAVALCADE_REPO", help="A folder in the repository (else the file's own).")
    ] = None,
    run: Annotated[
        str, typer.Option(metavar="RUN", envvar="CAVALCADE_RUN", help="The line as this run's result has it.")
    ] = "",
    json: Json = False,
) -> int:
    """Say who made a line as it is: edit, task, plan, approval and gates; or git's answer."""
    from cavalcade.cli.explain import explain

    terminal = _terminal(context, json)
    return _with_system(terminal, lambda system: explain(system, terminal, place, repo, run))


@app.command()
def verify(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="A run, or `last`.")] = "",
    gates: Annotated[
        bool, typer.Option("--gates", envvar="CAVALCADE_GATES", help="Ask every gate of the run again and compare.")
    ] = False,
    json: Json = False,
) -> int:
    """Check the whole record; with --gates also a run's verdicts."""
    from cavalcade.cli.check import verify as command

    terminal = _terminal(context, json)
    return _with_system(terminal, lambda system: command(system, terminal, run, gates=gates))


@app.command()
def doctor(context: typer.Context, json: Json = False) -> int:
    """Say what this machine has and lacks, and what to do."""
    from cavalcade.cli.doctor import doctor as command

    return _finished(command(_terminal(context, json)))


@app.command()
def version(context: typer.Context, json: Json = False) -> int:
    """Say which version this is."""
    terminal = _terminal(context, json)
    if json:
        terminal.document({"version": __version__})
    else:
        terminal.stdout.write(f"cavalcade {__version__}\n")
    return 0


def command_line(arguments: Sequence[str], terminal: Terminal) -> int:
    """Carries out one command; its exit status. Only a defect is raised."""
    terminal.json = "--json" in arguments or terminal.environ.get("CAVALCADE_JSON", "").lower() in _TRUE
    command = typer.main.get_command(app)
    try:
        _check_text(arguments)
        done = command.main(list(arguments), prog_name="cavalcade", standalone_mode=False, obj=terminal)
        terminal.stdout.flush()
    except (OutputClosed, BrokenPipeError):
        return PIPE_CLOSED
    except CavalcadeError as error:
        return report_failure(terminal, error)
    except typer.TyperException as error:
        return report_failure(terminal, _usage_error(error))
    return int(done or 0)


def _check_text(arguments: Sequence[str]) -> None:
    """What is put on the record has to be text."""
    for argument in arguments:
        if not argument.isprintable() and any("\ud800" <= char <= "\udfff" for char in argument):
            raise UsageError(f"{argument!r} is not UTF-8 text", expected="arguments in UTF-8")


_TRUE = {"1", "true", "t", "yes", "y", "on"}


def _usage_error(error: typer.TyperException) -> UsageError:
    """What the parser found wrong, in our own form."""
    context: typer.Context | None = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "cavalcade"
    return UsageError(error.format_message(), hint=f"`{command} --help` shows what is possible")
