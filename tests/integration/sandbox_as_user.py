"""Run as an ordinary user by `test_sandbox_attacks`: the attacks on each native sandbox, their outcome as JSON on standard output.

Arguments: interpreter, scratch folder. Needs nothing but the standard library and the sandbox room. Attacks that end by themselves
share one guest.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from attacks import (
    CALLS,
    EXHAUSTS,
    FAMILIES,
    NAMESPACES,
    NATIVE,
    OTHERS,
    PRIVATE,
    REACHES_OUT,
    SETUID,
    attack,
    call,
    namespace,
    opens,
    raw_socket,
    together,
)

from cavalcade.kernel.clock import SystemClock
from cavalcade.kernel.entropy import SystemEntropy
from cavalcade.sandbox.choosing import open_sandbox
from cavalcade.sandbox.port import Command, Limits, Result, Sandbox

LIMITS = Limits(
    wall_s=20,
    cpu_s=3,
    memory_bytes=300 << 20,
    processes=32,
    file_bytes=32 << 20,
    disk_bytes=64 << 20,
    files=1000,
    output_bytes=1 << 20,
)


class Round:
    """One sandbox under attack; each run has a folder of its own."""

    def __init__(self, sandbox: Sandbox, python: Path, scratch: Path) -> None:
        self._sandbox, self._python, self._scratch = sandbox, python, scratch
        self._count = 0

    async def run(self, code: str, limits: Limits = LIMITS) -> Result:
        self._count += 1
        workspace = self._scratch / f"{self._sandbox.name}-{self._count}"
        workspace.mkdir()
        return await self._sandbox.run(Command(argv=(str(self._python), "-c", code), workspace=workspace), limits)

    async def outcome(self, around: Mapping[str, object]) -> dict[str, object]:
        codes = {name: attack(code.format(**around)) for name, code in REACHES_OUT.items()}
        codes |= {name: call(number, arguments) for name, (number, arguments, _) in CALLS.items()}
        codes |= {f"namespace {flag}": namespace(flag) for flag in NAMESPACES}
        codes |= {code: code for code in (*map(opens, PRIVATE), *map(raw_socket, FAMILIES), *map(attack, SETUID))}
        said = json.loads((await self.run(together(codes))).stdout)
        others = json.loads(
            (await self.run(together({n: attack(c.format(**around)) for n, c in OTHERS.items()}))).stdout
        )
        work = await self.run("open('made', 'w').write('x')\nprint(open('made').read())")
        return {
            "identity": self._sandbox.describe()["identity"],
            "said": said,
            "others": {name: text == "reached\n" for name, text in others.items()},
            "hits": {name: (await self.run(code, self.limits(name))).hit for name, code in EXHAUSTS.items()},
            "work": [work.exit_code, work.stdout.decode()],
        }

    def limits(self, name: str) -> Limits:
        return {"processor": replace(LIMITS, cpu_s=0.5), "sleep": replace(LIMITS, wall_s=0.3)}.get(name, LIMITS)


def main(python: Path, scratch: Path) -> None:
    outside = scratch / "outside"
    outside.mkdir()
    (outside / "id_ed25519").write_text("planted key")
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as by_path,
        socket.socket(socket.AF_UNIX) as by_name,
        subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, start_new_session=True) as other,
    ):
        by_path.bind(str(outside / "socket"))
        by_name.bind(f"\0{outside}")
        for server in (by_path, by_name):
            server.listen()
        stat = Path(f"/proc/{other.pid}/stat").read_text()
        around = {
            "outside": outside,
            "tcp": tcp.getsockname()[1],
            "abstract": outside,
            "pid": other.pid,
            "group": other.pid,
            "started": stat.rpartition(")")[2].split()[19],
        }
        json.dump({name: asyncio.run(one(name, python, scratch, around)) for name in NATIVE}, sys.stdout)


async def one(name: str, python: Path, scratch: Path, around: Mapping[str, object]) -> dict[str, object]:
    return await Round(await opened(name, python, scratch), python, scratch).outcome(around)


async def opened(name: str, python: Path, scratch: Path) -> Sandbox:
    return await open_sandbox(
        cache=scratch / "verdict",
        python=python,
        home=Path("/nonexistent"),
        search_path=os.environ["PATH"],
        clock=SystemClock(),
        entropy=SystemEntropy(),
        asked=name,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
