"""Forks a run once for each of the writes that this takes, and dies there; then goes on: `fork_driver.py HOME SCRATCH AT GUIDANCE`.

Each time a child of this process works on its own copy of the data folder `HOME`, whose only run is forked at event `AT`. A second child
goes on as a person would: with the fork if it is on record, else it forks again. What became of it is a JSON line on stdout; the last
one is of a fork that nobody disturbed.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from io import StringIO
from itertools import count
from pathlib import Path

import msgspec
from run_driver import CrashingSystem

from cavalcade.cli.fork import fork
from cavalcade.cli.terminal import Terminal
from cavalcade.config.paths import data_folder
from cavalcade.kernel.clock import SystemClock
from cavalcade.kernel.entropy import SystemEntropy
from cavalcade.ledger.sqlite import SqliteLedger
from cavalcade.testing.crashing import CRASHED, CrashingLedger, Fuse


async def work(home: Path, at: str, guidance: str, fuse: Fuse, out: int) -> None:
    """Forks the one run, or goes on with the fork that there is; writes how it ended to the descriptor `out`."""
    environ = {"CAVALCADE_HOME": str(home), "PATH": os.environ["PATH"]}
    folder = data_folder(environ)
    clock, entropy = SystemClock(), SystemEntropy()
    ledger = await SqliteLedger.open(folder.ledger, clock=clock, entropy=entropy)
    system = CrashingSystem(folder, CrashingLedger(ledger, fuse), clock, entropy, environ)
    system.fuse = fuse
    parent, *forks = await system.runs.list()
    if not forks:
        terminal = Terminal(environ, StringIO(), StringIO(), StringIO())
        await fork(system, terminal, parent, at, guidance, yes=True, wait=False)
    run = (await system.runs.list())[-1]
    state = await system.drive(run)
    own = (await system.runs.history(run))[state.shared :]
    content = system.content_of(state)
    assert content.ref(f"refs/runs/{run}/base"), "what the fork stands on is named"
    lines = {
        "phase": state.phase,
        "runs": 1 + max(1, len(forks)),
        "tree": state.head_tree,
        "events": [[each.event.type, msgspec.json.decode(each.event.data)] for each in own],
    }
    await ledger.aclose()
    os.write(out, json.dumps(lines).encode() + b"\n")


def in_child(body: Callable[[], None]) -> int:
    """Exit status of a process that does this and nothing else."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        body()
    except BaseException:  # noqa: BLE001 - a child must never come back
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def main(home: Path, scratch: Path, at: str, guidance: str) -> None:
    for limit in count(1):
        copy = shutil.copytree(home, scratch / str(limit))
        silent = os.open(os.devnull, os.O_WRONLY)
        died = in_child(lambda: asyncio.run(work(copy, at, guidance, Fuse(limit), silent)))  # noqa: B023
        os.close(silent)
        if died not in (0, CRASHED):
            raise SystemExit(f"write {limit}: exit status {died}")
        again = copy if died else shutil.copytree(home, scratch / "undisturbed")
        if in_child(lambda: asyncio.run(work(again, at, guidance, Fuse(0), 1))):  # noqa: B023
            raise SystemExit(f"killed at write {limit}, it does not go on")
        shutil.rmtree(copy)
        if not died:
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
