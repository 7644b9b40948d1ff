"""The live probe: a sandbox is used only after attacks on it have failed here, on this machine, and harmless work has not.

A tool that is present may still contain nothing (or run nothing at all, which makes every attack "fail"): so the same attacks
must succeed outside, and inside a file must be written and an answer given.
"""

from __future__ import annotations

import asyncio
import fcntl
import inspect
import json
import os
import socket
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from cavalcade.kernel.entropy import Entropy
from cavalcade.kernel.errors import SandboxUnavailable
from cavalcade.sandbox import canary_guest
from cavalcade.sandbox.port import Command, Limits, Result, Sandbox
from cavalcade.sandbox.scratch import discard

_LIMITS = Limits(
    wall_s=20,
    cpu_s=20,
    memory_bytes=1 << 30,
    processes=32,
    disk_bytes=64 << 20,
    file_bytes=16 << 20,
    output_bytes=1 << 20,
)
_NARROW = replace(_LIMITS, memory_bytes=128 << 20, processes=8)
_DEADLINES_S = (0.5, 8.0)
"""A slow machine may not have begun by the first."""
_OFTEN_FORBIDDEN_TO_ALL = {"trace_process"}
CONTROLS = (
    *(attack.__name__ for attack in canary_guest.ATTACKS),
    "fork_past_limit",
    "allocate_past_limit",
    "outlive_deadline",
)
"""What every sandbox is attacked with."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How the probe runs Python in a sandbox, and what is to be in force there.

    `guards`: whether the kernel's own are looked at; `capabilities`: those that are left on purpose, one bit each.
    """

    python: str
    readable: tuple[Path, ...] = ()
    guards: bool = True
    capabilities: int = 0


async def probe(sandbox: Sandbox, kind: Kind, entropy: Entropy) -> list[str]:
    """What is wrong with a sandbox; empty when all attacks fail inside, all succeed outside and the control works."""
    nonce = entropy.bytes(16).hex()
    with _scratch() as scratch:
        # All to their end, also when one fails: they work in one folder, which goes afterwards.
        found = await asyncio.gather(
            _reach(sandbox, kind, scratch, nonce),
            _exceed(sandbox, kind, scratch, nonce),
            _outlive(sandbox, kind, scratch),
            return_exceptions=True,
        )
    problems: dict[str, None] = {}
    for outcome in found:
        if isinstance(outcome, SandboxUnavailable):
            problems[outcome.what] = None
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            problems |= dict.fromkeys(outcome)
    return list(problems)


async def _reach(sandbox: Sandbox, kind: Kind, scratch: Path, nonce: str) -> list[str]:
    """Things outside: files, processes, the network."""
    with _listener() as port, _decoy(f"{nonce}-secret") as pid:
        target = _target(scratch, port, pid, nonce)
        outside = canary_guest.attempt(target | {"link": str(scratch / "link")})
        problems = [
            f"the probe is broken: {name} fails outside too"
            for name, done in outside.items()
            if not done and name not in _OFTEN_FORBIDDEN_TO_ALL
        ]
        told = {"task": "reach", "guards": "yes" if kind.guards else "", "capabilities": str(kind.capabilities)}
        workspace = scratch / "reach"
        result = await _run(sandbox, kind, workspace, target | told | {"link": "link"}, _LIMITS)
    return problems + _judge(result, nonce, workspace / "reach")


async def _exceed(sandbox: Sandbox, kind: Kind, scratch: Path, nonce: str) -> list[str]:
    limits = {"processes": str(_NARROW.processes), "memory": str(_NARROW.memory_bytes)}
    workspace = scratch / "exceed"
    result = await _run(sandbox, kind, workspace, {"task": "exceed", "nonce": nonce} | limits, _NARROW)
    if result.hit in ("processes", "memory") and _read_plain(workspace / "exceed") == nonce:
        return []
    return _judge(result, nonce, workspace / "exceed")


async def _outlive(sandbox: Sandbox, kind: Kind, scratch: Path) -> list[str]:
    """Nobody may hold the lock that a daemon took when the command is over."""
    for deadline_s in _DEADLINES_S:
        workspace = scratch / f"stay-{deadline_s}"
        result = await _run(sandbox, kind, workspace, {"task": "stay"}, replace(_LIMITS, wall_s=deadline_s))
        if _read_plain(workspace / "begun"):
            survived = result.hit != "wall" or _is_locked(workspace / "begun")
            return ["outlive_deadline succeeds inside"] if survived else []
    return ["nothing ran inside within the deadline"]


async def _run(sandbox: Sandbox, kind: Kind, workspace: Path, target: dict[str, str], limits: Limits) -> Result:
    await asyncio.to_thread(workspace.mkdir)
    argv = (kind.python, "-I", "-S", "-c", inspect.getsource(canary_guest), json.dumps(target))
    return await sandbox.run(Command(argv=argv, workspace=workspace, readable=kind.readable), limits)


def _judge(result: Result, nonce: str, written: Path) -> list[str]:
    report = _report(result.stdout)
    if report.get("nonce") != nonce:
        text = result.stderr.decode(errors="replace").strip()
        return [f"nothing ran inside: exit {result.exit_code}, {result.hit or 'no limit'} hit: {text[-500:]}"]
    problems = [f"{name} succeeds inside" for name, done in report["attacks"].items() if done]
    problems += [f"{name}: not in force inside" for name, up in report.get("guards", {}).items() if not up]
    if _read_plain(written) != nonce:
        problems.append("a file written inside is not there outside")
    if _read_plain(written.parent / "link"):
        problems.append("a link left inside is followed outside")
    return problems


def _target(scratch: Path, port: int, pid: int, nonce: str) -> dict[str, str]:
    """What to attack, open to every user, so that only the sandbox can be in the way."""
    folder = scratch / "outside"
    folder.mkdir()
    folder.chmod(0o777)
    secret = folder / "secret"
    secret.write_text(nonce + "-secret", encoding="utf-8")
    secret.chmod(0o644)
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return {
        "nonce": nonce,
        "secret": str(secret),
        "content": nonce + "-secret",
        "folder": str(folder),
        "port": str(port),
        "pid": str(pid),
        "started": stat.rpartition(")")[2].split()[19],
    }


def _report(output: bytes) -> dict[str, Any]:
    """What the guest says; empty when it is no JSON object."""
    try:
        report: object = json.loads(output)
    except ValueError:
        return {}
    return cast(dict[str, Any], report) if isinstance(report, dict) else {}


@contextmanager
def _scratch() -> Generator[Path]:
    path = Path(tempfile.mkdtemp(prefix="cavalcade-canary-"))
    try:
        path.chmod(0o711)
        yield path
    finally:
        discard(path)


@contextmanager
def _listener() -> Generator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@contextmanager
def _decoy(secret: str) -> Generator[int]:
    """A process of ours with a secret in its environment, in the place of the one that the guest would like to reach."""
    environment = {"SECRET": secret}
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment) as process:
        yield process.pid


def _is_locked(path: Path) -> bool:
    with open(os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _read_plain(path: Path) -> str:
    """Text of a small regular file; empty for anything else, links included."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ""
    with open(descriptor, "rb") as file:
        return file.read(4096).decode(errors="replace")
