"""The Landlock sandbox: for machines where namespaces are not allowed. Kernel and standard library only.

Landlock says what may be opened, the system call filter refuses what Landlock doesn't see (sockets, other processes' settings) and
answers calls that change a file's metadata without doing them; the watcher sums what no kernel limit sums. Partial: paths
outside can be asked about (`stat`, `readlink`), and the workspace has its own path inside, which takes the place of `/sandbox`
and `/results` where one of them begins a path in the command's arguments and environment.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from cavalcade.kernel.clock import Clock
from cavalcade.kernel.errors import SandboxUnavailable, UsageError
from cavalcade.sandbox import landlock_init, seccomp, seccomp_strict
from cavalcade.sandbox.cgroups import Groups
from cavalcade.sandbox.guest import (
    SETTINGS,
    SYSTEM,
    Identity,
    environment,
    guest_identity,
    hand_over,
    inside,
    memory_file,
)
from cavalcade.sandbox.port import RESULTS, WORK, Command, Limits
from cavalcade.sandbox.scratch import discard
from cavalcade.sandbox.usage import FolderUse, tasks_of
from cavalcade.sandbox.watch import Growth, Line, Outcome, Watch
from cavalcade.sandbox.watched import Watched

KEPT_CAPABILITIES = 1 << 2
"""CAP_DAC_READ_SEARCH, where root changes to another uid: the workspace may lie in a folder closed to it."""
LEAST_ABI = 6
"""The first that keeps signals and abstract sockets in."""
_EXECUTE, _WRITE, _READ, _LIST, _TRUNCATE = 1, 2, 4, 8, 1 << 14
_READABLE, _READABLE_FILE = _EXECUTE | _READ | _LIST, _EXECUTE | _READ
_WRITABLE = 0x7FFF & ~(1 << 6 | 1 << 9 | 1 << 11)  # all but devices and sockets
_WRITABLE_FILE = _READABLE_FILE | _WRITE | _TRUNCATE
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_HINT = "a kernel from 6.12 on with Landlock enabled (lsm=landlock,... on its command line)"


def find_landlock(least: int = LEAST_ABI) -> int:
    """Landlock's ABI version. Raises SandboxUnavailable where it is missing or lets signals out."""
    found = landlock_init.abi()
    if not found:
        raise SandboxUnavailable("this kernel has no Landlock, or doesn't allow it", hint=_HINT)
    if found < least:
        raise SandboxUnavailable(f"Landlock ABI {found} does not contain signals", expected=f"ABI {least}", hint=_HINT)
    return found


class Landlock(Watched):
    """A `Sandbox`. `python` runs its first process, outside the confinement."""

    name = "landlock"

    def __init__(self, abi: int, python: Path, clock: Clock, groups: Groups | None = None) -> None:
        self._abi, self._python, self._clock, self._groups = abi, python, clock, groups
        self._filter = seccomp.program(os.uname().machine, seccomp_strict.rules(os.uname().machine))

    def describe(self) -> dict[str, str]:
        return {
            "tool": "landlock",
            "version": f"ABI {self._abi}",
            "kernel": os.uname().release,
            "identity": "unprivileged uid" if os.geteuid() == 0 else "the caller's own uid",
            "limits": "kernel groups and a watcher" if self._groups else "a watcher",
            "contains": "files, network, signals, system calls, memory, CPU, disk, output, wall-clock time",
            "partial": "stat and readlink of outside paths; no loopback network, no /proc, no /dev/shm, chmod does nothing",
        }

    def _run(self, command: Command, limits: Limits, line: Line) -> Outcome:
        if command.network or command.read_only:
            raise SandboxUnavailable(
                "landlock can't open single hosts, nor close a part of a folder that may be written to",
                hint="install bubblewrap",
            )
        identity = guest_identity()
        with ExitStack() as stack:
            private = Path(tempfile.mkdtemp(prefix=".sandbox-", dir=command.workspace.parent))
            stack.callback(discard, private)
            for name in ("tmp", "home"):
                (private / name).mkdir()
            given = (command.workspace, command.results) if command.results else (command.workspace,)
            folders = (*given, private)
            base = sum((hand_over(folder, identity, limits.file_bytes) for folder in folders), FolderUse())
            growth = Growth(folders, base, limits, self._clock)
            stack.callback(growth.close)
            order = json.dumps(self._order(command, limits, identity, private)).encode()
            order_file = stack.enter_context(memory_file(order))
            status, status_end = os.pipe()
            stack.callback(os.close, status)
            source = landlock_init.__file__
            argv = [str(self._python), "-I", "-S", "-B", source, str(status_end), str(order_file)]
            stdin = stack.enter_context(memory_file(command.stdin))
            group = None
            if self._groups:
                group = stack.enter_context(self._groups.group(limits.memory_bytes, limits.processes))
            watch = Watch(limits, growth, self._clock, line, own=1, group=group)
            return watch.run(argv, stdin, (order_file,), status, status_end)

    def _order(self, command: Command, limits: Limits, identity: Identity, private: Path) -> dict[str, object]:
        cwd = command.workspace / inside(command.cwd)
        own = {"HOME": str(private / "home"), "TMPDIR": str(private / "tmp"), "PWD": str(cwd)}
        given = {name: _placed(value, command) for name, value in command.env.items()}
        return {
            "argv": [_placed(argument, command) for argument in command.argv],
            "env": environment() | own | given,
            "cwd": str(cwd),
            "rules": list(_rules(command, private)),
            "drop": identity.drop,
            "uid": identity.uid,
            "gid": identity.gid,
            "parent": os.getpid(),
            "filter": self._filter.hex(),
            "limits": {
                "as": 4 * limits.memory_bytes,
                "data": limits.memory_bytes,
                "core": 0,
                "cpu": int(limits.cpu_s) + 2,
                "fsize": limits.file_bytes,
                "nofile": limits.open_files,
                # Of the caller's own uid the kernel counts everything, and the watcher the guest's alone.
                "nproc": limits.processes + (0 if identity.drop else 1 + tasks_of(os.geteuid())),
                "rtprio": 0,
            },
        }


def _rules(command: Command, private: Path) -> Iterator[tuple[str, int]]:
    for path in (*SYSTEM, *SETTINGS, *map(str, command.readable)):
        yield path, _READABLE if os.path.isdir(path) else _READABLE_FILE
    for path in _DEVICES:
        yield path, _READ | _WRITE | _TRUNCATE
    yield str(command.workspace), _READABLE
    writable = [_beneath(command.workspace, part) for part in command.writable]
    for path in (*writable, command.results, private):
        if path:
            yield str(path), _WRITABLE if path.is_dir() else _WRITABLE_FILE


def _beneath(workspace: Path, part: str) -> Path:
    path = (workspace / part).resolve()
    if not path.is_relative_to(workspace.resolve()):
        raise UsageError(f"{part!r} is not below the workspace", expected="a relative path without '..' or a link out")
    return path


def _placed(text: str, command: Command) -> str:
    """The folders' own paths where the agreed ones begin a path: nothing can be mounted there."""
    for agreed, folder in ((WORK, command.workspace), (RESULTS, command.results)):
        if folder:
            text = re.sub(rf"(?<![\w./-]){agreed}(?=[/:]|$)", lambda _, path=str(folder): path, text)
    return text
