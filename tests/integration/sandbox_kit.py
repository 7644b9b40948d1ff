"""A sandbox opened as the product does, and one line to run Python in it: what the tests of limits, fence, network and secrets share."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from cavalcade.kernel.clock import SystemClock
from cavalcade.kernel.entropy import SystemEntropy
from cavalcade.sandbox.choosing import open_sandbox
from cavalcade.sandbox.interpreter import interpreter_roots
from cavalcade.sandbox.port import Command, Limits, Result, Sandbox

PYTHON = Path(sys.executable)
HOME = Path.home()
LIMITS = Limits(
    wall_s=20,
    cpu_s=10,
    memory_bytes=512 << 20,
    processes=32,
    file_bytes=16 << 20,
    disk_bytes=32 << 20,
    files=300,
    output_bytes=1 << 20,
)


async def opened(cache: Path) -> Sandbox:
    return await open_sandbox(
        cache=cache,
        python=PYTHON,
        home=HOME,
        search_path=os.environ["PATH"],
        clock=SystemClock(),
        entropy=SystemEntropy(),
    )


def python_command(workspace: Path, code: str, **more: Any) -> Command:
    readable = interpreter_roots(PYTHON, home=HOME)
    return Command(argv=(str(PYTHON), "-I", "-c", code), workspace=workspace, readable=readable, **more)


async def inside(sandbox: Sandbox, workspace: Path, code: str, limits: Limits = LIMITS, **more: Any) -> Result:
    return await sandbox.run(python_command(workspace, code, **more), limits)
