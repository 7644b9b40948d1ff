"""The live probe: a sandbox is used only after attacks on it have failed here, on this machine, and harmless work has not.

A tool that is present may still contain nothing (or run nothing at all, which makes every attack "fail"): so the same attacks
must succeed outside, and inside a file must be written and an answer given.
"""

from __future__ import annotations

import inspect
import json
import os
import socket
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from cavalcade.kernel.canonical import digest, digest_of
from cavalcade.kernel.clock import Clock
from cavalcade.kernel.entropy import Entropy
from cavalcade.kernel.errors import SandboxUnavailable
from cavalcade.sandbox import canary_guest
from cavalcade.sandbox.bubblewrap import Bubblewrap, Tools, find_tools
from cavalcade.sandbox.cgroups import find_groups
from cavalcade.sandbox.interpreter import interpreter_roots
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
_HINT = (
    "bubblewrap needs user namespaces, or root with CAP_SYS_ADMIN. Enable them: sysctl -w kernel.unprivileged_userns_clone=1 "
    "(Debian), kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu 24.04), user.max_user_namespaces=10000; in a container: "
    "allow them in its seccomp profile"
)


async def open_sandbox(
    *, cache: Path, python: Path, home: Path, search_path: str, clock: Clock, entropy: Entropy
) -> Sandbox:
    """The sandbox of this machine, probed.

    `python` runs the probe; `home` is the person's, never shown inside; `search_path` is where bubblewrap is looked for; `cache`
    is a file that keeps a good verdict for this boot, kernel, bubblewrap and version of this room, so that the next start costs
    nothing. Raises SandboxUnavailable with what failed and what to install: there is no running without.
    """
    tools = find_tools(search_path)
    tools = replace(tools, version=_version(tools.bwrap))
    sandbox = Bubblewrap(tools, clock, find_groups())
    key = _key(tools, python)
    if _cached(cache) == key:
        return sandbox
    problems = await probe(sandbox, python, interpreter_roots(python, home=home), entropy)
    if problems:
        raise SandboxUnavailable("bubblewrap does not contain what it should here", hint=_HINT, places=tuple(problems))
    _remember(cache, key)
    return sandbox


async def probe(sandbox: Sandbox, python: Path, readable: tuple[Path, ...], entropy: Entropy) -> list[str]:
    """What is wrong with a sandbox; empty when all attacks fail inside, all succeed outside and the control works."""
    nonce = entropy.bytes(16).hex()
    with _scratch() as scratch, _listener() as port:
        workspace = scratch / "workspace"
        workspace.mkdir()
        target = _target(scratch, port, nonce)
        outside = canary_guest.attempt(target)
        problems = [f"the probe is broken: {name} fails outside too" for name, done in outside.items() if not done]
        argv = (str(python), "-I", "-S", "-c", inspect.getsource(canary_guest), json.dumps(target))
        try:
            result = await sandbox.run(Command(argv=argv, workspace=workspace, readable=readable), _LIMITS)
        except SandboxUnavailable as exc:
            return [*problems, exc.what]
        return problems + _judge(result, nonce, workspace / "canary")


def _judge(result: Result, nonce: str, written: Path) -> list[str]:
    report = _report(result.stdout)
    if report.get("nonce") != nonce:
        text = result.stderr.decode(errors="replace").strip()
        return [f"nothing ran inside: exit {result.exit_code}, {result.hit or 'no limit'} hit: {text[-500:]}"]
    problems = [f"{name} succeeds inside" for name, done in report["attacks"].items() if done]
    problems += [f"{name}: not in force inside" for name, up in report["guards"].items() if not up]
    if _read_plain(written) != nonce:
        problems.append("a file written inside is not there outside")
    return problems


def _target(scratch: Path, port: int, nonce: str) -> dict[str, str]:
    """What to attack, open to every user, so that only the sandbox can be in the way."""
    folder = scratch / "outside"
    folder.mkdir()
    folder.chmod(0o777)
    secret = folder / "secret"
    secret.write_text(nonce + "-secret", encoding="utf-8")
    secret.chmod(0o644)
    started = (
        Path(f"/proc/{os.getpid()}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    )
    return {
        "nonce": nonce,
        "secret": str(secret),
        "content": nonce + "-secret",
        "folder": str(folder),
        "port": str(port),
        "pid": str(os.getpid()),
        "started": started,
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


def _version(bwrap: str) -> str:
    try:
        done = subprocess.run([bwrap, "--version"], capture_output=True, timeout=10, check=True, env={})
    except (OSError, subprocess.SubprocessError) as exc:
        raise SandboxUnavailable(f"{bwrap} doesn't tell its version: {exc}", hint="reinstall bubblewrap") from exc
    return done.stdout.decode(errors="replace").split()[-1]


def _key(tools: Tools, python: Path) -> str:
    """Digest of all that a verdict depends on."""
    binary = os.stat(tools.bwrap)
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return digest_of(
        {
            "boot": Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip(),
            "kernel": list(os.uname()),
            "tool": [tools.bwrap, tools.prlimit, tools.setpriv, tools.version, binary.st_mtime_ns, binary.st_size],
            "code": [digest(source.read_bytes()) for source in sources],
            "uid": os.geteuid(),
            "python": str(python),
        }
    )


def _cached(cache: Path) -> str:
    """Empty when there is no verdict, or when somebody else could have written it."""
    try:
        info = cache.lstat()
    except OSError:
        return ""
    if info.st_uid != os.geteuid() or info.st_mode & 0o022:
        return ""
    return _read_plain(cache)


def _remember(cache: Path, key: str) -> None:
    """Where nothing can be kept, the next start probes again."""
    with suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=cache.parent, prefix=cache.name)
        try:
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(key)
            os.replace(name, cache)
        except OSError:
            os.unlink(name)


def _read_plain(path: Path) -> str:
    """Text of a small regular file; empty for anything else, links included."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ""
    with open(descriptor, "rb") as file:
        return file.read(4096).decode(errors="replace")
