"""Run as an ordinary user by `test_sandbox_attacks`: a handful of attacks, their outcome as JSON on standard output.

Arguments: interpreter, scratch folder. Needs nothing but the standard library and the sandbox room.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from cavalcade.kernel.clock import SystemClock
from cavalcade.kernel.entropy import SystemEntropy
from cavalcade.sandbox.canary import open_sandbox
from cavalcade.sandbox.port import Command, Limits

ATTACKS = {
    "fork bomb": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    "memory of many": "import os,time\nfor _ in range(8):\n    if os.fork() == 0: break\nx = b'x' * (100 << 20)\ntime.sleep(30)",
    "many files": "import itertools\nfor n in itertools.count(): open(f'f{n}', 'w').close()",
    "files in tmp": "import itertools\nfor n in itertools.count(): open(f'/tmp/f{n}', 'w').close()",
    "large files": "import itertools\nfor n in itertools.count(): open(f'f{n}', 'wb').write(b'x' * (8 << 20))",
    "hidden growth": "import os\nos.mkdir('d'); os.chmod('d', 0o300)\nfor n in range(60): open(f'd/f{n}', 'wb').write(b'x' * (8 << 20))",
    "processor": "import os\nos.fork()\nwhile True: pass",
    "user namespace": "import ctypes\nprint(ctypes.CDLL(None, use_errno=True).unshare(0x10000000), ctypes.get_errno())",
    "setuid file": "import os\nopen('s', 'w').close()\ntry: os.chmod('s', 0o4755)\nexcept PermissionError: print('refused')",
    "user": "import os\nprint(os.getuid())",
    "work": "open('made', 'w').write('x')\nprint(open('made').read())",
}
LIMITS = Limits(
    wall_s=20,
    cpu_s=3,
    memory_bytes=300 << 20,
    processes=32,
    file_bytes=64 << 20,
    disk_bytes=64 << 20,
    files=2000,
    output_bytes=1 << 20,
)


async def main(python: Path, scratch: Path) -> None:
    sandbox = await open_sandbox(
        cache=scratch / "verdict",
        python=python,
        home=Path("/nonexistent"),
        search_path=os.environ["PATH"],
        clock=SystemClock(),
        entropy=SystemEntropy(),
    )
    outcome: dict[str, list[object]] = {"described": [sandbox.describe()["identity"]]}
    for name, code in ATTACKS.items():
        workspace = scratch / name.replace(" ", "-")
        workspace.mkdir()
        result = await sandbox.run(Command(argv=(str(python), "-c", code), workspace=workspace), LIMITS)
        outcome[name] = [result.hit, result.exit_code, result.stdout.decode()]
    json.dump(outcome, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
