"""A sandbox opened as the product does, and one line to run Python in it: what the tests of limits, fence, network and secrets share."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
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


NOBODY = 65534


def system_python_as_user(script: str) -> Any:
    """What a script beside this file prints as JSON, run by the system's Python. Run as root this drops to another uid."""
    folder = Path(tempfile.mkdtemp(prefix="as-user-"))
    try:
        package = Path(sys.modules["cavalcade"].__file__ or "").parent
        shutil.copytree(package, folder / "lib" / "cavalcade", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(Path(__file__).with_name(script), folder)
        (folder / "scratch").mkdir()
        user = NOBODY if os.geteuid() == 0 else None
        if user is not None:
            os.chown(folder / "scratch", user, user)
        folder.chmod(0o755)
        python = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable
        env = {
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(folder / "lib"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": "/nonexistent",
        }
        done = subprocess.run(
            [python, str(folder / script), python, str(folder / "scratch")],
            capture_output=True, text=True, timeout=120, check=False, env=env, cwd=folder,
            user=user, group=user, extra_groups=None if user is None else [],
        )  # fmt: skip
        assert done.stderr == "", done.stderr
        return json.loads(done.stdout)
    finally:
        shutil.rmtree(folder)
