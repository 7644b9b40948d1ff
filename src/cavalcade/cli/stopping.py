"""Ending what a run has under way: asked of the process that drives it, and, where that does not answer in time, done to it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Literal, NamedTuple

from cavalcade.cli.driving import Driver, Holding
from cavalcade.cli.holding import wait_held
from cavalcade.config.paths import DataFolder
from cavalcade.domain.run import HELD, Stop
from cavalcade.kernel.clock import Clock
from cavalcade.kernel.ids import RunId
from cavalcade.recorder.program import Running
from cavalcade.sandbox.ending import Ended, Process, end, family, identify, signal_process
from cavalcade.supervisor.runs import RunService

GRACE_S = 0.5
"""How long a driver has to end its work by itself. With what follows the last side effect comes within a second."""
_PROGRAM_GRACE_S = 0.25
"""How long a recorded program has after SIGTERM."""
_KILL_S = 5.0
_LOOK_S = 0.01

How = Literal["idle", "ended", "killed"]


class Ending(NamedTuple):
    """`idle`: nothing of the run was under way. `ended`: its own process did it. `killed`: that process was killed with all it had."""

    how: How
    killed: int
    left: tuple[int, ...]


def mark_of(run: RunId) -> str:
    """What every process of a recorded program carries in its environment."""
    return f"CAVALCADE_RUN={run}"


def driven_runs(folder: DataFolder) -> list[RunId]:
    """The runs that have a process now, oldest first: one that drives or records it, or one that a recorded program left."""
    known = sorted(RunId(path.stem) for path in folder.lock(RunId("r0")).parent.glob("r*.lock"))
    return [run for run in known if Driver(folder.lock(run)).process() is not None or family((), mark_of(run))]


async def end_run(folder: DataFolder, run: RunId, clock: Clock) -> Ending:
    """Nothing of the run is under way when this returns, but for what is `left`."""
    return await asyncio.to_thread(_end_run, folder.lock(run), mark_of(run), clock)


def _end_run(lock: Path, mark: str, clock: Clock) -> Ending:
    driver = Driver(lock)
    process = driver.process()
    deadline_s = clock.monotonic_s() + GRACE_S
    how: How = "idle" if process is None else "ended"
    while (process := driver.process()) is not None and not driver.resting:
        if clock.monotonic_s() >= deadline_s:
            how = "killed"
            signal_process(process, signal.SIGSTOP)  # it starts nothing more while its children are looked for
            break
        time.sleep(_LOOK_S)
    roots = {process.pid} if process is not None and how == "killed" else set[int]()
    besides = {os.getpid()}
    ended = end(lambda: family(_still(roots, process), mark, besides=besides), clock, within_s=_KILL_S)
    return Ending("killed" if ended.killed else how, ended.killed, ended.left)


def _still(roots: set[int], process: Process | None) -> set[int]:
    return roots if process is not None and identify(process.pid) == process else set()


def end_children(clock: Clock) -> Ended:
    """Of this process: all that its jobs have started."""
    own = os.getpid()

    def below() -> set[Process]:
        return {process for process in family({own}) if process.pid != own}

    return end(below, clock, within_s=_KILL_S)


async def obey_stop_file(runs: RunService, run: RunId, file: Path) -> None:
    """Stops the run when the stop file appears."""
    await runs.execute(run, Stop(HELD, await wait_held(file)))


async def end_program_when_stopped(
    runs: RunService, run: RunId, running: Running, holding: Holding, clock: Clock
) -> None:
    """Waits until somebody stops the recording, then ends its program with all that it started: asked first, killed then."""
    program = identify(running.pid)
    if not (await runs.wait_ended(run)).halting:
        return

    def find() -> set[Process]:
        return family(_still({running.pid}, program), mark_of(run), besides={os.getpid()})

    for process in await asyncio.to_thread(find):
        signal_process(process, signal.SIGTERM)
    deadline_s = clock.monotonic_s() + _PROGRAM_GRACE_S
    while clock.monotonic_s() < deadline_s and await asyncio.to_thread(find):  # noqa: ASYNC110 - others' end
        await asyncio.sleep(_LOOK_S)
    # Not frozen first: who watches a terminal's program takes its being stopped for a wish to be stopped as well.
    await asyncio.to_thread(end, find, clock, within_s=_KILL_S, freeze=False)
    holding.rest()
