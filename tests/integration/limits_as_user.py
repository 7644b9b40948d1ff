"""Run as an ordinary user by `test_sandbox_limits`: limits, fence, network and secrets, their outcome as JSON on standard output.

Arguments: interpreter, scratch folder. Needs nothing but the standard library, the sandbox room and the fence.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cavalcade.gates.boundary import run_fenced
from cavalcade.kernel.clock import SystemClock
from cavalcade.kernel.redaction import Redactor
from cavalcade.sandbox.brokering import Broker, Brokered
from cavalcade.sandbox.bubblewrap import Bubblewrap, find_tools
from cavalcade.sandbox.cgroups import find_groups
from cavalcade.sandbox.networked import Networked
from cavalcade.sandbox.port import Command, Limits, Sandbox, SecretRef

LIMITS = Limits(
    wall_s=20,
    cpu_s=10,
    memory_bytes=300 << 20,
    processes=32,
    file_bytes=16 << 20,
    disk_bytes=32 << 20,
    files=300,
    output_bytes=1 << 20,
)
HITS = {
    "wall": "import signal\nsignal.pause()",
    "cpu": "while True: pass",
    "memory": "import os, signal\nfor _ in range(8):\n    if os.fork() == 0: break\nx = bytearray(b'x') * (100 << 20)\nsignal.pause()",
    "processes": "import os, signal\nwhile True:\n    try:\n        if os.fork() == 0: signal.pause()\n    except OSError: pass",
    "file_size": "import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_DFL)\nf = open('b', 'wb', 0)\nwhile True: f.write(b'x' * 99999)",
    "disk": "import signal\nfor n in range(10): open(f'f{n}', 'wb').write(b'x' * (8 << 20))\nsignal.pause()",
    "files": "import signal\nfor n in range(999): open(f'f{n}', 'w').close()\nsignal.pause()",
    "output": "while True: print('x' * 9999)",
}
SHORT = {"wall": Limits(wall_s=0.3), "cpu": Limits(cpu_s=0.3)}
KEEPS_OPEN = (
    "import signal\nkept = []\ntry:\n    while True: kept.append(open('/dev/null'))\nexcept OSError: signal.pause()"
)
FENCE = """
import os
def tries(act):
    try:
        act()
        return 'done'
    except OSError:
        return 'stopped'
def makes():
    for name in ('new.py', 'other.py', '.env'): open('src/' + name, 'w').close()
    os.makedirs('src/shut/inner')
    os.chmod('src/shut', 0)
print(tries(lambda: open('src/b.py', 'w')), tries(lambda: open('top', 'w')), tries(makes))
"""
ASKS = """
import urllib.error, urllib.request
for host in ('good.example', 'bad.example'):
    try: print(urllib.request.urlopen('http://%s:{port}/' % host, timeout=10).read().decode(), end='')
    except urllib.error.HTTPError as error: print(error.code)
"""


class Inside:
    """One sandbox, and a new workspace for each command."""

    def __init__(self, python: str, scratch: Path) -> None:
        self.python, self.scratch = python, scratch
        self.sandbox: Sandbox = Bubblewrap(find_tools("/usr/bin:/bin"), SystemClock(), find_groups())

    def command(self, name: str, code: str) -> Command:
        workspace = self.scratch / name.replace(" ", "-")
        workspace.mkdir()
        return Command(argv=(self.python, "-c", code), workspace=workspace)


async def limits(inside: Inside) -> list[str]:
    return [
        (await inside.sandbox.run(inside.command(name, code), SHORT.get(name, LIMITS))).hit
        for name, code in HITS.items()
    ]


async def open_files(inside: Inside) -> list[object]:
    result = await inside.sandbox.run(
        inside.command("open files", KEEPS_OPEN), replace(LIMITS, open_files=64, wall_s=1)
    )
    return [result.hit, list(result.met)]


async def fence(inside: Inside) -> list[object]:
    command = inside.command("fence", FENCE)
    source = command.workspace / "src"
    source.mkdir()
    for name in ("a", "b"):
        (source / f"{name}.py").write_text(name)
    result, outside = await run_fenced(inside.sandbox, command, LIMITS, ["src/a.py", "src/new.py"])
    return [
        list(outside),
        result.stdout.decode(),
        sorted(path.name for path in source.iterdir()),
        (source / "b.py").read_text(),
    ]


async def network(inside: Inside) -> list[object]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\nConnection: close\r\n\r\nthis is allowed\n")
        await writer.drain()
        writer.close()

    async def loopback(name: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    command = inside.command("network", ASKS.replace("{port}", str(port)))
    networked = Networked(inside.sandbox, Path(inside.python), Path("/nonexistent"), loopback)
    result = await networked.run(replace(command, network=(f"good.example:{port}", f"127.0.0.1:{port}")), LIMITS)
    server.close()
    return [result.stdout.decode(), [[refused.host, refused.count] for refused in result.refused]]


async def secrets(inside: Inside) -> list[object]:
    value = "q7Zt/x9+LmWc2=RbVd8Ks"
    brokered = Brokered(inside.sandbox, Broker({"DEPLOY_TOKEN": value}), Redactor({}))
    command = inside.command(
        "secrets", "import os\nt = os.environ['TOKEN']\nprint(len(t), t)\nopen('/results/r', 'w').write(t)"
    )
    results = inside.scratch / "results"
    results.mkdir()
    lent = replace(command, results=results, secrets={"TOKEN": SecretRef("DEPLOY_TOKEN")})
    result = await brokered.run(lent, LIMITS)
    return [result.stdout.decode(), value not in (results / "r").read_text()]


async def main(inside: Inside) -> None:
    outcome = {
        "limits": await limits(inside),
        "open files": await open_files(inside),
        "fence": await fence(inside),
        "network": await network(inside),
        "secrets": await secrets(inside),
    }
    json.dump(outcome, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main(Inside(sys.argv[1], Path(sys.argv[2]))))
