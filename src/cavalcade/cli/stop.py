"""`stop`: the kill switch. It needs the record to say that a run was stopped, and nothing but the data folder to stop it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from rich.text import Text

from cavalcade.cli.compose import System, open_system
from cavalcade.cli.driving import Driver
from cavalcade.cli.failures import DONE, error_text
from cavalcade.cli.find import choose_run, make_data_folder
from cavalcade.cli.holding import hold, release
from cavalcade.cli.report import Whole
from cavalcade.cli.stopping import Ending, driven_runs, end_run
from cavalcade.cli.terminal import Terminal
from cavalcade.config.paths import DataFolder, data_folder
from cavalcade.domain.run import Stop
from cavalcade.kernel.clock import SystemClock
from cavalcade.kernel.errors import Busy, CavalcadeError, NotRecorded, ToolFailed, UsageError
from cavalcade.kernel.ids import RunId
from cavalcade.supervisor.timeline import count, duration

_RECORD_S = 0.5
"""How long the record may take to open before what runs is stopped without it."""
_CLEARING_S = 10.0
"""How long a process that has ended its work may go on clearing up before it is no longer waited for."""


class Asked(NamedTuple):
    run: str
    every: bool
    hold: bool
    release: bool
    reason: str


class Stopped(Whole, frozen=True):
    """`how` as in `Ending`; `seconds` from the command to the end of the last process; `phase` the run's now, empty when not known."""

    run: str
    phase: str
    how: str
    killed: int
    left: tuple[int, ...]
    seconds: float


class _Stopping:
    """One stop: what is recorded and what is ended go side by side, so that neither waits for the other."""

    def __init__(self, terminal: Terminal, asked: Asked, folder: DataFolder) -> None:
        self._terminal = terminal
        self._asked = asked
        self._folder = folder
        self._clock = SystemClock()
        self._begun_s = self._clock.monotonic_s()
        self._chosen: asyncio.Future[Sequence[RunId]] = asyncio.get_running_loop().create_future()
        self._ended: dict[RunId, tuple[Ending, float]] = {}
        self._over = asyncio.Event()

    async def run(self) -> list[Stopped]:
        """Raises what the record raises, after everything has ended."""
        recording = asyncio.create_task(self._record())
        try:
            await asyncio.wait({self._chosen, recording}, timeout=_RECORD_S, return_when=asyncio.FIRST_COMPLETED)
            if not self._chosen.done() and not (recording.done() and isinstance(recording.exception(), UsageError)):
                self._chosen.set_result(await self._without_record())
            if self._chosen.done():
                await self._end(self._chosen.result())
        finally:
            self._over.set()
        return await recording

    async def _without_record(self) -> Sequence[RunId]:
        driven = await asyncio.to_thread(driven_runs, self._folder)
        if self._asked.run and driven:
            return [choose_run(self._asked.run, driven)]
        return driven

    async def _end(self, runs: Sequence[RunId]) -> None:
        for run, ending in zip(runs, await asyncio.gather(*map(self._end_one, runs)), strict=True):
            before, _ = self._ended.get(run, (Ending("idle", 0, ()), 0.0))
            how = before.how if ending.how == "idle" else ending.how
            ending = Ending(how, before.killed + ending.killed, ending.left)
            self._ended[run] = (ending, self._clock.monotonic_s() - self._begun_s)

    async def _end_one(self, run: RunId) -> Ending:
        return await end_run(self._folder, run, self._clock)

    async def _record(self) -> list[Stopped]:
        async with open_system(self._terminal.environ, self._terminal.say) as system:
            runs = self._chosen.result() if self._chosen.done() else await self._choose(system)
            if not self._chosen.done():
                self._chosen.set_result(runs)
            halted = [run for run in runs if await self._halt(system, run)]
            await self._over.wait()
            # Who waited to take a run over may have done so before it was on record that nobody may.
            late = [run for run in halted if Driver(self._folder.lock(run)).process() is not None]
            await self._end(late)
            return [await self._stopped(system, run) for run in runs]

    async def _choose(self, system: System) -> Sequence[RunId]:
        if self._asked.run:
            return [choose_run(self._asked.run, await system.runs.list())]
        return await asyncio.to_thread(driven_runs, self._folder)

    async def _halt(self, system: System, run: RunId) -> bool:
        try:
            state = await system.runs.load(run)
        except NotRecorded:  # it is about to begin, and finds its process gone
            return False
        if not state.closed:
            await system.runs.execute(run, Stop(self._terminal.user, self._asked.reason))
        return not state.closed

    async def _stopped(self, system: System, run: RunId) -> Stopped:
        ending, seconds = self._ended.get(run, (Ending("idle", 0, ()), 0.0))
        phase = ""
        try:
            await self._cleared(run)
            if (await system.runs.load(run)).phase == "recording":
                await system.end_recording(run)
            phase = (await system.runs.load(run)).phase
        except (NotRecorded, Busy) as error:
            self._terminal.say(error_text(error))
        return Stopped(
            run=run, phase=phase, how=ending.how, killed=ending.killed, left=ending.left, seconds=round(seconds, 3)
        )

    async def _cleared(self, run: RunId) -> None:
        deadline_s = self._clock.monotonic_s() + _CLEARING_S
        driver = Driver(self._folder.lock(run))
        while driver.process() and self._clock.monotonic_s() < deadline_s:  # noqa: ASYNC110 - another process's end
            await asyncio.sleep(0.02)

    def ended(self) -> dict[RunId, Ending]:
        return {run: ending for run, (ending, _) in self._ended.items()}


async def stop(terminal: Terminal, asked: Asked) -> int:
    """Raises UsageError for what doesn't go together, ToolFailed when a process lives on."""
    _check(asked)
    make_data_folder(terminal.environ)
    folder = data_folder(terminal.environ)
    if asked.release:
        return _release(terminal, folder)
    if asked.hold:
        hold(folder.stop_file, terminal.user, asked.reason)
        terminal.say(
            f"nothing starts while {folder.stop_file} is there; let runs start again: cavalcade stop --release"
        )
    stopping = _Stopping(terminal, asked, folder)
    try:
        stopped = await stopping.run()
    except CavalcadeError as error:
        for run, ending in stopping.ended().items():
            terminal.say(f"run {run}: {_how(ending.how, ending.killed)}; that is not on the record")
        raise error
    _tell(terminal, stopped)
    return DONE


def _check(asked: Asked) -> None:
    given = [name for name in ("every", "hold", "release") if getattr(asked, name)]
    if len(given) + bool(asked.run) != 1:
        raise UsageError(
            "it is not clear what is to be stopped",
            expected="one of RUN, --all, --hold, --release",
            hint="cavalcade stop last; cavalcade stop --all",
        )


def _release(terminal: Terminal, folder: DataFolder) -> int:
    released = release(folder.stop_file)
    terminal.document({"released": released})
    terminal.say("runs may start again" if released else "nothing was held")
    return DONE


def _tell(terminal: Terminal, stopped: Sequence[Stopped]) -> None:
    terminal.document(stopped)
    if not stopped:
        terminal.say("nothing is under way")
    for one in stopped:
        text = Text.assemble((f"run {one.run} ", "bold"), _how(one.how, one.killed), f" in {duration(one.seconds)}")
        terminal.data(text)
        if one.phase == "halted":
            terminal.say(f"go on with it: cavalcade resume {one.run}")
    left = [pid for one in stopped for pid in one.left]
    if left:
        raise ToolFailed(
            f"{count(len(left), 'process')} could not be ended: {', '.join(map(str, left))}",
            hint="they belong to another user, or the kernel holds them; stop as that user, or as root",
        )


def _how(how: str, killed: int) -> str:
    match how:
        case "idle":
            return "stopped: nothing of it was under way"
        case "ended":
            return "stopped by the process that drives it"
        case _:
            return f"stopped, with {killed:,} processes killed" if killed != 1 else "stopped, with 1 process killed"
