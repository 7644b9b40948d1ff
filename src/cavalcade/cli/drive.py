"""Carrying a run on while somebody watches: to its end, or to the gate where a person decides."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from cavalcade.cli.compose import System
from cavalcade.cli.failures import DONE, STOPPED, WAITS, error_text
from cavalcade.cli.gate import Answer, ask, carry_out, show_plan
from cavalcade.cli.plan_view import next_commands
from cavalcade.cli.progress import Display, Lines, Moving
from cavalcade.cli.report import Report, make_report, problem_error
from cavalcade.cli.report_view import headline, report_sheet
from cavalcade.cli.terminal import Terminal
from cavalcade.domain.run import RunState
from cavalcade.kernel.errors import Busy, Refused, UsageError
from cavalcade.kernel.ids import RunId, run_stream
from cavalcade.protocol.envelope import Recorded

_ASK_AGAIN_S = 2.0
"""How long a run that another process drives may be silent before it is tried to take it over."""


async def carry_on(system: System, terminal: Terminal, run: RunId) -> int:
    """Drives until the run is closed, or waits and nobody can be asked; tells how it stands; the exit status."""
    terminal.run = run
    shown = ""
    while True:
        state = await _driven(system, terminal, run)
        if state.at_rest:
            terminal.run = None
            return await tell(system, terminal, run)
        if not terminal.interactive:
            return await tell(system, terminal, run)
        if state.plan_hash != shown:
            show_plan(terminal, await report_of(system, run))
            shown = state.plan_hash
        answer = await ask(system, terminal, run, state)
        if answer.verb == "leave":
            terminal.say(next_commands(run))
            return WAITS
        await _decided(system, terminal, run, answer, state)


async def _decided(system: System, terminal: Terminal, run: RunId, answer: Answer, state: RunState) -> None:
    """What the rules refuse or nobody understands is said, and the plan goes on waiting."""
    try:
        await carry_out(system, terminal, run, answer, state)
    except (UsageError, Refused) as error:
        terminal.say(error_text(error))


async def report_of(system: System, run: RunId) -> Report:
    state = await system.runs.load(run)
    driven = state.phase == "recording" and system.is_driven(run)
    return make_report(run, state, await system.runs.history(run), system.content_of(state), driven=driven)


async def tell(system: System, terminal: Terminal, run: RunId) -> int:
    """The run as it stands: data to stdout, what to do next to stderr; the exit status that it means."""
    report = await report_of(system, run)
    terminal.document(report)
    if report.problem is not None:
        terminal.say(error_text(problem_error(report.problem)))
        terminal.say(headline(report))
    else:
        terminal.data(headline(report), report_sheet(report).table)
    if report.phase == "awaiting_human":
        terminal.say(next_commands(run))
    if report.phase == "halted":
        terminal.say(f"go on with it: cavalcade resume {run}; end it: cavalcade abort {run}")
    return exit_status(report)


def exit_status(report: Report) -> int:
    match report.phase:
        case "completed":
            return DONE
        case "stopped" | "aborted" | "halted":
            return STOPPED
        case "failed" if report.problem is not None:
            return report.problem.exit_status
        case _:
            return WAITS


async def _driven(system: System, terminal: Terminal, run: RunId) -> RunState:
    """Drives, or follows whoever drives, with a display of what happens."""
    known = await system.runs.load(run)
    display: Display = Moving(run, terminal.console, system.clock.now) if terminal.live else _lines(terminal, known)
    feed = _Feed(system, run, display)
    await feed.catch_up()
    with display:
        following = asyncio.create_task(feed.follow())
        try:
            return await _drive_or_wait(system, terminal, run)
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
            await feed.catch_up()


def _lines(terminal: Terminal, known: RunState) -> Lines:
    """A run just asked for is told from its first event, one that goes on from where it stood."""
    return Lines(terminal.say, after=known.version if known.own_version > 1 else known.shared)


class _Feed:
    """Brings a run's events to a display, each once."""

    def __init__(self, system: System, run: RunId, display: Display) -> None:
        self._system = system
        self._run = run
        self._display = display
        self._shown = 0

    async def follow(self) -> None:
        async for recorded in self._system.runs.follow(self._run, after=self._shown):
            self._show(recorded)

    async def catch_up(self) -> None:
        for recorded in (await self._system.runs.history(self._run))[self._shown :]:
            self._show(recorded)

    def _show(self, recorded: Recorded) -> None:
        self._shown = recorded.version
        self._display.add(recorded)


async def _drive_or_wait(system: System, terminal: Terminal, run: RunId) -> RunState:
    told = False
    while True:
        try:
            return await system.drive(run)
        except Busy as busy:
            if not told:
                terminal.console.print(f"{busy.what}; following it")
                told = True
            state = await system.runs.load(run)
            with suppress(TimeoutError):
                await asyncio.wait_for(news(system, run, state), _ASK_AGAIN_S)


async def news(system: System, run: RunId, known: RunState) -> RunState:
    """Waits until something has happened to the run since `known`, by whomever."""
    history = await system.runs.history(run)
    position = history[min(known.version, len(history)) - 1].position
    async for _recorded in system.ledger.follow(stream=run_stream(run), after=position):
        break
    return await system.runs.load(run)
