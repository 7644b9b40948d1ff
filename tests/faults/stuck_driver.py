"""A process that drives a run and doesn't answer: `stuck_driver.py HOME RUN WORKSPACE MARK SCRIPT HOW`.

It holds the run's lock and runs SCRIPT in the sandbox on WORKSPACE. When that is under way its event loop is stuck (HOW `busy`), or the
whole process is stopped (`stopped`).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from pathlib import Path

from cavalcade.cli.driving import only_driver
from cavalcade.config.paths import data_folder
from cavalcade.kernel.clock import SystemClock
from cavalcade.kernel.ids import RunId
from cavalcade.sandbox.bubblewrap import Bubblewrap, find_tools
from cavalcade.sandbox.port import Command, Limits


def _beating(workspace: Path) -> bool:
    return any(workspace.glob("beat-*"))


async def main(home: str, run: str, workspace: Path, mark: str, script: str, how: str) -> None:
    sandbox = Bubblewrap(find_tools(os.environ["PATH"]), SystemClock())
    name, _, value = mark.partition("=")
    command = Command(
        argv=("/bin/sh", "-c", script), workspace=workspace, env={name: value, "BEAT": os.environ["BEAT"]}
    )
    with only_driver(data_folder({"CAVALCADE_HOME": home}).lock(RunId(run)), RunId(run)):
        job = asyncio.create_task(sandbox.run(command, Limits()))
        while not _beating(workspace):
            await asyncio.wait([job], timeout=0.01)
        if how == "stopped":
            os.kill(os.getpid(), signal.SIGSTOP)
        threading.Event().wait()


if __name__ == "__main__":
    home, run, workspace, mark, script, how = sys.argv[1:]
    asyncio.run(main(home, run, Path(workspace), mark, script, how))
