"""The commands about the past: compare, bring back, explain, check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cavalcade.cli.tree import All, Json, Repo, Run, terminal_of, with_system

commands = typer.Typer()

_AT = "An event (`12`, its id, `last`) or a time (`2026-03-01T14:05`, `10m ago`)."


@commands.command()
def diff(
    context: typer.Context,
    run: Run,
    at: Annotated[str, typer.Option(metavar="EVENT|TIME", envvar="CAVALCADE_AT", help=_AT)] = "",
    stat: Annotated[bool, typer.Option("--stat", envvar="CAVALCADE_STAT", help="Only counts for each file.")] = False,
    json: Json = False,
) -> int:
    """Show what a run has changed, up to its end or to any moment."""
    from cavalcade.cli.rewind import diff as command

    terminal = terminal_of(context, json)
    return with_system(terminal, lambda system: command(system, terminal, run, at, stat=stat))


@commands.command()
def restore(
    context: typer.Context,
    what: Annotated[str, typer.Argument(metavar="RUN|PROJECT", help="A run, or a project by its folder.")],
    at: Annotated[
        str, typer.Option(metavar="EVENT|TIME", envvar="CAVALCADE_AT", help=f"{_AT} Without it: `last`.")
    ] = "",
    task: Annotated[
        str, typer.Option(metavar="TASK", envvar="CAVALCADE_TASK", help="That task's own state then.")
    ] = "",
    agent: Annotated[
        str, typer.Option(metavar="AGENT", envvar="CAVALCADE_AGENT", help="What that agent saw then: `coder/t2`.")
    ] = "",
    everything: Annotated[
        bool,
        typer.Option("--everything", envvar="CAVALCADE_EVERYTHING", help="The heads of the run and of all its tasks."),
    ] = False,
    saved: Annotated[
        str, typer.Option(metavar="NAME", envvar="CAVALCADE_SAVED", help="Work that --in-place saved, or `last`.")
    ] = "",
    into: Annotated[
        Path | None, typer.Option(metavar="DIR", envvar="CAVALCADE_INTO", help="An absent or empty folder.")
    ] = None,
    branch: Annotated[
        str, typer.Option(metavar="NAME", envvar="CAVALCADE_BRANCH", help="A new branch in the repository.")
    ] = "",
    in_place: Annotated[
        bool,
        typer.Option(
            "--in-place", envvar="CAVALCADE_IN_PLACE", help="Your own working tree; what it holds is saved first."
        ),
    ] = False,
    replace_ignored: Annotated[
        bool,
        typer.Option(
            "--replace-ignored",
            envvar="CAVALCADE_REPLACE_IGNORED",
            help="With --in-place: also files that git ignores; they are saved too.",
        ),
    ] = False,
    json: Json = False,
) -> int:
    """Bring back the project as it was at any event or time, or work that was saved."""
    from cavalcade.cli.restore import Asked
    from cavalcade.cli.restore import restore as command

    terminal = terminal_of(context, json)
    asked = Asked(what, at, task, agent, everything, saved, into, branch, in_place, replace_ignored)
    return with_system(terminal, lambda system: command(system, terminal, asked))


@commands.command()
def saved(context: typer.Context, repo: Repo = Path(), json: Json = False) -> int:
    """List the work that was saved before `restore --in-place` replaced it."""
    from cavalcade.cli.restore import list_saved

    terminal = terminal_of(context, json)
    return with_system(terminal, lambda system: list_saved(system, terminal, repo))


@commands.command()
def fork(
    context: typer.Context,
    run: Run,
    at: Annotated[str, typer.Option(metavar="EVENT|TIME", envvar="CAVALCADE_AT", help=_AT)],
    guidance: Annotated[
        str,
        typer.Option(
            "--with",
            metavar="TEXT",
            envvar="CAVALCADE_WITH",
            help="Plan anew from there: another objective, or what `inject` takes.",
        ),
    ] = "",
    yes: Annotated[
        bool, typer.Option("--yes", "-y", envvar="CAVALCADE_YES", help="Approve the plan without being asked.")
    ] = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", envvar="CAVALCADE_NO_WAIT", help="Record it and don't carry it out.")
    ] = False,
    json: Json = False,
) -> int:
    """Go on from any event of a run once more, as a run of its own."""
    from cavalcade.cli.fork import fork as command

    terminal = terminal_of(context, json)
    return with_system(terminal, lambda system: command(system, terminal, run, at, guidance, yes=yes, wait=not no_wait))


@commands.command()
def replay(
    context: typer.Context,
    run: Run,
    tests: Annotated[
        bool, typer.Option("--tests", envvar="CAVALCADE_TESTS", help="Run the tests again too, in the sandbox.")
    ] = False,
    json: Json = False,
) -> int:
    """Do a run again from its record, aside, and name whatever comes out differently."""
    from cavalcade.cli.replay import replay as command

    terminal = terminal_of(context, json)
    return with_system(terminal, lambda system: command(system, terminal, run, tests=tests))


@commands.command()
def why(
    context: typer.Context,
    place: Annotated[str, typer.Argument(metavar="FILE:LINE")],
    repo: Annotated[
        Path | None, typer.Option(envvar="CAVALCADE_REPO", help="A folder in the repository (else the file's own).")
    ] = None,
    run: Annotated[
        str, typer.Option(metavar="RUN", envvar="CAVALCADE_RUN", help="The line as this run's result has it.")
    ] = "",
    history: Annotated[
        bool, typer.Option("--history", envvar="CAVALCADE_HISTORY", help="Every change of the line, newest first.")
    ] = False,
    json: Json = False,
) -> int:
    """Say who made a line as it is: edit, task, plan, approval and gates; a recorded program and what it was asked; or git's answer."""
    from cavalcade.cli.explain import explain

    terminal = terminal_of(context, json)
    return with_system(terminal, lambda system: explain(system, terminal, place, repo, run, history=history))


@commands.command()
def verify(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="A run, or `last`.")] = "",
    gates: Annotated[
        bool, typer.Option("--gates", envvar="CAVALCADE_GATES", help="Ask every gate of the run again and compare.")
    ] = False,
    content: Annotated[
        bool,
        typer.Option("--content", envvar="CAVALCADE_CONTENT", help="Read every object that the record names, too."),
    ] = False,
    key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HEX", envvar="CAVALCADE_KEY", help="A public key that signs heads; repeat it for several."
        ),
    ] = None,
    json: Json = False,
) -> int:
    """Check the whole record and its signatures; with --content every object, with --gates a run's verdicts."""
    from cavalcade.cli.check import verify as command

    return command(terminal_of(context, json), run, gates=gates, content=content, keys=key or [])


@commands.command()
def trace(
    context: typer.Context,
    run: Run,
    everything: All = False,
    export: Annotated[
        Path | None, typer.Option(metavar="PATH", envvar="CAVALCADE_EXPORT", help="Also as OTLP JSON, a new file.")
    ] = None,
    json: Json = False,
) -> int:
    """Show where a run's time went: its spans as bars; --json and --export for tools."""
    from cavalcade.cli.trace import trace as command

    terminal = terminal_of(context, json)
    return with_system(terminal, lambda system: command(system, terminal, run, export, everything=everything))
