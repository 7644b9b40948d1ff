"""The bubblewrap sandbox: every namespace, read-only system, no network, a system call filter, kernel limits, a watcher.

For an ordinary user bubblewrap makes a user namespace. For root it makes the other namespaces with root's own power and drops
inside to a uid that nobody has: else the guest would be the machine's root to the kernel, which no process limit holds. That
uid owns the workspace from then on.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from cavalcade.kernel.clock import Clock
from cavalcade.kernel.errors import SandboxUnavailable, UsageError
from cavalcade.sandbox import seccomp
from cavalcade.sandbox.cgroups import Groups
from cavalcade.sandbox.guest import (
    HOME,
    SETTINGS,
    SYSTEM,
    Identity,
    environment,
    guest_identity,
    hand_over,
    inside,
    memory_file,
)
from cavalcade.sandbox.parts import parts
from cavalcade.sandbox.port import RESULTS, WORK, Command, Limits
from cavalcade.sandbox.usage import FolderUse
from cavalcade.sandbox.watch import Growth, Line, Outcome, Watch
from cavalcade.sandbox.watched import Watched

_OWN = 2
"""Processes of the sandbox itself: monitor and init."""
_TEMPORARY = ("/tmp", "/dev/shm", HOME)
_INIT = ("/bin/sh", "-c", '"$@"; exit $?', "init")
"""Process 1 inside: waits for the command, reaps orphans; when it exits the kernel kills all that is left, and only then does
its parent, the monitor, hear of it. bubblewrap's own init can outlive its monitor and stays a zombie in many containers.
For root it keeps root's uid, the monitor's: else the monitor's death could not be signalled to it, and the guest could reach it.
"""
_ENTER = ("/bin/sh", "-c", 'cd "$0" && unset OLDPWD && exec "$@"')
"""Goes to the working folder as the guest: it may be closed to root without its capabilities."""
_HOSTS = b"127.0.0.1 localhost sandbox\n::1 localhost\n"
_HINT = (
    "install it: apt install bubblewrap (Debian, Ubuntu), dnf install bubblewrap (Fedora), apk add bubblewrap (Alpine)"
)


@dataclass(frozen=True)
class Tools:
    """Absolute paths of the programs it takes, and bubblewrap's version."""

    bwrap: str
    prlimit: str
    setpriv: str
    version: str


def find_tools(search_path: str) -> Tools:
    """Raises SandboxUnavailable naming what to install. The version is read by `bubblewrap_version`."""
    found = {name: shutil.which(name, path=search_path) for name in ("bwrap", "prlimit", "setpriv")}
    if found["bwrap"] is None:
        raise SandboxUnavailable("bubblewrap is not installed: tests can't be run safely", hint=_HINT)
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise SandboxUnavailable(f"{' and '.join(missing)} not found", hint="install it: apt install util-linux")
    absolute = {name: os.path.abspath(str(path)) for name, path in found.items()}
    return Tools(absolute["bwrap"], absolute["prlimit"], absolute["setpriv"], version="")


class Bubblewrap(Watched):
    """A `Sandbox`. Make one with `open_sandbox`, which probes that it contains before anything is run in it."""

    name = "bubblewrap"

    def __init__(self, tools: Tools, clock: Clock, groups: Groups | None = None) -> None:
        self._tools, self._clock, self._groups = tools, clock, groups
        self._filter = seccomp.program(os.uname().machine)

    def describe(self) -> dict[str, str]:
        return {
            "tool": "bubblewrap",
            "version": self._tools.version,
            "kernel": os.uname().release,
            "identity": "unprivileged uid" if os.geteuid() == 0 else "user namespace",
            "limits": "kernel groups and a watcher" if self._groups else "a watcher",
            "contains": "files, network, processes, system calls, memory, CPU, disk, output, wall-clock time",
        }

    def _run(self, command: Command, limits: Limits, line: Line) -> Outcome:
        """In a thread of its own, from first to last."""
        identity = guest_identity()
        folders = (command.workspace, command.results) if command.results else (command.workspace,)
        base = sum((hand_over(folder, identity, limits.file_bytes) for folder in folders), FolderUse())
        with ExitStack() as stack:
            growth = Growth(folders, base, limits, self._clock)
            stack.callback(growth.close)
            status, status_end = os.pipe()
            stack.callback(os.close, status)
            data = {
                "filter": stack.enter_context(memory_file(self._filter)),
                "passwd": stack.enter_context(memory_file(_passwd(identity))),
                "group": stack.enter_context(memory_file(f"sandbox:x:{identity.gid}:\n".encode())),
                "hosts": stack.enter_context(memory_file(_HOSTS)),
            }
            options = [*self._options(command, limits, identity, data), "--json-status-fd", str(status_end)]
            arguments = stack.enter_context(memory_file(b"".join(os.fsencode(option) + b"\0" for option in options)))
            launcher = (*self._launcher(limits, identity), *_ENTER, str(WORK / inside(command.cwd)))
            argv = [self._tools.bwrap, "--args", str(arguments), "--", *launcher, *command.argv]
            stdin = stack.enter_context(memory_file(command.stdin))
            # A process fewer than the watcher kills at: so the kernel counts the attempt. Files in temporary folders are memory to it.
            memory_bytes, processes = limits.memory_bytes + sum(_temporary_sizes(limits)), limits.processes + _OWN - 1
            group = stack.enter_context(self._groups.group(memory_bytes, processes)) if self._groups else None
            watch = Watch(limits, growth, self._clock, line, _TEMPORARY, own=_OWN, group=group)
            return watch.run(argv, stdin, (*data.values(), arguments), status, status_end)

    def _options(self, command: Command, limits: Limits, identity: Identity, data: Mapping[str, int]) -> Iterator[str]:
        """bubblewrap's arguments, in the order in which it carries them out."""
        yield from (
            "--chdir",
            "/",
            "--die-with-parent",
            "--as-pid-1",
            "--new-session",
            "--clearenv",
            "--hostname",
            "sandbox",
        )
        yield from ("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try")
        yield from ("--cap-drop", "ALL")
        if identity.drop:
            for capability in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"):  # for setpriv, which gives them up
                yield from ("--cap-add", capability)
        else:
            yield from ("--unshare-user", "--disable-userns", "--uid", str(identity.uid), "--gid", str(identity.gid))
        for folder in ("/etc", "/home"):
            yield from ("--perms", "0755", "--dir", folder)
        yield from _system()
        yield from (
            "--ro-bind-data",
            str(data["passwd"]),
            "/etc/passwd",
            "--ro-bind-data",
            str(data["group"]),
            "/etc/group",
        )
        yield from ("--ro-bind-data", str(data["hosts"]), "/etc/hosts", "--proc", "/proc", "--dev", "/dev")
        for folder, size in zip(_TEMPORARY, _temporary_sizes(limits), strict=True):
            yield from ("--perms", "1777", "--size", str(size), "--tmpfs", folder)
        yield from _readable(command.readable)
        for part in parts(command):
            yield from (
                "--bind" if part.writable else "--ro-bind",
                str(command.workspace / part.path),
                str(WORK / part.path),
            )
        if command.results:
            yield from ("--bind", str(command.results), str(RESULTS))
        # Without these two the tmpfs that bubblewrap builds on is writable without limit.
        yield from ("--remount-ro", "/dev", "--remount-ro", "/", "--seccomp", str(data["filter"]))
        for name, value in (environment() | dict(command.env)).items():
            if name.startswith("LD_"):  # the launcher would load it before it drops root's uid
                raise UsageError(f"{name} can't be set for a sandbox", expected="no variable of the dynamic loader")
            yield from ("--setenv", name, value)

    def _launcher(self, limits: Limits, identity: Identity) -> list[str]:
        """Kernel limits are set inside: a process limit set outside counts the user's other processes and stops bubblewrap."""
        values = {
            "as": 4 * limits.memory_bytes,  # address space is reserved freely; this bounds shared mappings
            "data": limits.memory_bytes,
            "core": 0,
            "cpu": int(limits.cpu_s) + 2,  # behind the watcher, who counts all processes
            "fsize": limits.file_bytes,
            "nofile": limits.open_files,
            "nproc": limits.processes + (not identity.drop),  # in a user namespace init counts too
            "rtprio": 0,
        }
        argv = [*_INIT, self._tools.prlimit, *(f"--{name}={value}:{value}" for name, value in values.items())]
        if identity.drop:
            ids = ["--reuid", str(identity.uid), "--regid", str(identity.gid), "--clear-groups"]
            argv += [self._tools.setpriv, *ids, "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--"]
        return argv


def _temporary_sizes(limits: Limits) -> tuple[int, ...]:
    return tuple(max(size, 1 << 20) for size in (limits.disk_bytes, limits.memory_bytes // 4, 64 << 20))


def _system() -> Iterator[str]:
    for path in SYSTEM:
        if os.path.islink(path):
            yield from ("--symlink", os.readlink(path), path)
        else:
            yield from ("--ro-bind-try", path, path)
    for path in SETTINGS:
        yield from ("--ro-bind-try", path, path)


def _readable(paths: Sequence[Path]) -> Iterator[str]:
    """Folders on the way are made by name, passable to all: bubblewrap would make them for its own user only."""
    made = {Path(path) for path in (*SYSTEM, *_TEMPORARY, "/", "/etc", "/home")}
    for path in sorted(dict.fromkeys(paths)):
        for parent in reversed(path.parents):
            if parent not in made and not any(made_before in parent.parents for made_before in paths):
                made.add(parent)
                yield from ("--perms", "0755", "--dir", str(parent))
        if path.is_symlink():
            yield from ("--symlink", os.readlink(path), str(path))
        else:
            yield from ("--ro-bind", str(path), str(path))


def _passwd(identity: Identity) -> bytes:
    return f"sandbox:x:{identity.uid}:{identity.gid}:sandbox:{HOME}:/bin/sh\n".encode()
