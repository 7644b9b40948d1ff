"""The commands that make, show and decide runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cavalcade.cli.tree import All, Json, Repo, Run, finished, terminal_of, with_system

commands = typer.Typer()


@commands.command()
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

    terminal = terminal_of(context, json)
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
    return with_system(terminal, lambda system: start(system, terminal, asked))


@commands.command(context_settings={"allow_interspersed_args": False})
def record(
    context: typer.Context,
    command: Annotated[list[str], typer.Argument(metavar="-- CMD ...", help="The program and its arguments.")],
    in_place: Annotated[
        bool,
        typer.Option("--in-place", envvar="CAVALCADE_IN_PLACE", help="Work on your own tree instead of on a copy."),
    ] = False,
    repo: Repo = Path(),
    json: Json = False,
) -> int:
    """Run any program and record each of its file changes as it happens, its output and its exit.

    It works in a copy, the result is a branch. It is not sandboxed: it has your rights. The exit status is the program's, 128 + n when
    signal n ended it. With --json its output goes to standard error.
    """
    from cavalcade.cli.record import Asked
    from cavalcade.cli.record import record as body

    terminal = terminal_of(context, json)
    asked = Asked(tuple(command), repo, in_place)
    return with_system(terminal, lambda system: body(system, terminal, asked))


@commands.command()
def runs(
    context: typer.Context,
    repo: Repo = Path(),
    every: All = False,
    tree: Annotated[
        bool, typer.Option("--tree", envvar="CAVALCADE_TREE", help="Each fork below the run it was forked from.")
    ] = False,
    json: Json = False,
) -> int:
    """List the runs of this project; outside of one, or with --all, all runs."""
    from cavalcade.cli.inspect import list_runs

    terminal = terminal_of(context, json)
    return with_system(terminal, lambda system: list_runs(system, terminal, repo, every=every, tree=tree))


@commands.command()
def show(context: typer.Context, run: Run, everything: All = False, json: Json = False) -> int:
    """Show a run: its plan while it waits, else what became of it."""
    from cavalcade.cli.inspect import show as command

    terminal = terminal_of(context, json)
    return with_system(terminal, lambda system: command(system, terminal, run, everything=everything))


@commands.command()
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

    terminal = terminal_of(context, json)
    return with_system(terminal, lambda system: command(system, terminal, run, types or [], follow=follow))


@commands.command()
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

    terminal = terminal_of(context, json)
    return with_system(terminal, lambda system: command(system, terminal, run, plan_hash, wait=not no_wait))


@commands.command()
def inject(
    context: typer.Context,
    run: Run,
    text: Annotated[list[str], typer.Argument(metavar="TEXT", help="Such as: mentions docs; without tests/data")],
    json: Json = False,
) -> int:
    """Say what should be different; the run is planned again."""
    from cavalcade.cli.decide import give_feedback

    terminal = terminal_of(context, json)
    return with_system(terminal, lambda system: give_feedback(system, terminal, run, " ".join(text)))


@commands.command()
def abort(
    context: typer.Context,
    run: Run,
    reason: Annotated[str, typer.Option(metavar="TEXT", envvar="CAVALCADE_REASON", help="For the record.")] = "",
    json: Json = False,
) -> int:
    """End a run; nothing of it lands."""
    from cavalcade.cli.decide import abort as command

    terminal = terminal_of(context, json)
    return with_system(terminal, lambda system: command(system, terminal, run, reason))


@commands.command()
def stop(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="A run's id, its beginning or end, or `last`.")] = "",
    every: Annotated[bool, typer.Option("--all", envvar="CAVALCADE_ALL", help="Whatever runs now.")] = False,
    hold: Annotated[
        bool,
        typer.Option("--hold", envvar="CAVALCADE_HOLD", help="Whatever runs now, and nothing starts until --release."),
    ] = False,
    release: Annotated[
        bool, typer.Option("--release", envvar="CAVALCADE_RELEASE", help="Let runs start again after --hold.")
    ] = False,
    reason: Annotated[str, typer.Option(metavar="TEXT", envvar="CAVALCADE_REASON", help="For the record.")] = "",
    json: Json = False,
) -> int:
    """Stop what a run has under way, within a second, with every process it started; `resume` goes on with it.

    Asked of the process that drives the run, and done to it when it does not answer. Works without the record as well.
    """
    from cavalcade.cli.stop import Asked
    from cavalcade.cli.stop import stop as command

    terminal = terminal_of(context, json)
    asked = Asked(run, every=every, hold=hold, release=release, reason=reason)
    return finished(command(terminal, asked))


@commands.command()
def resume(context: typer.Context, run: Run, json: Json = False) -> int:
    """Go on with a run where it stood, after whatever interrupted it."""
    from cavalcade.cli.decide import resume as command

    terminal = terminal_of(context, json)
    return with_system(terminal, lambda system: command(system, terminal, run))
