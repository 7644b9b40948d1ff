"""Control groups: the kernel itself holds a command's processes to a sum of memory and to a number, where it lets us ask for that.

A group is made for each command, in the group of this process (or, as version 2 demands, beside it), and removed when the command
has ended. Its name holds the process that made it, so that what a crash left behind is known, killed and removed by the next one.
Root may do this nearly everywhere; an ordinary user only where the groups were delegated. Source: kernel documentation,
admin-guide/cgroup-v1 and cgroup-v2.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import signal
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cavalcade.kernel.errors import SandboxUnavailable
from cavalcade.sandbox.port import Hit

ROOT = Path("/sys/fs/cgroup")
_PREFIX = "cavalcade-"
_DYING_S = 1.0
_count = itertools.count()


@dataclass(frozen=True)
class _Kind:
    """File names: the limit, and the counts of what it stopped."""

    limit: str
    events: str


_MEMORY = {1: _Kind("memory.limit_in_bytes", "memory.oom_control"), 2: _Kind("memory.max", "memory.events")}
_PROCESSES = _Kind("pids.max", "pids.events")


@dataclass(frozen=True)
class Groups:
    """Where groups for commands are made. `memory` and `pids` are the same folder in version 2."""

    version: int
    memory: Path
    pids: Path

    @contextmanager
    def group(self, memory_bytes: int, processes: int) -> Generator[Group]:
        """A group for one command. Raises SandboxUnavailable when the kernel refuses."""
        name = f"{_PREFIX}{os.getpid()}-{_started(os.getpid())}-{next(_count)}"
        folders = tuple(dict.fromkeys((self.memory / name, self.pids / name)))
        try:
            yield self._made(folders, memory_bytes, processes)
        finally:
            for folder in folders:
                _remove(folder)

    def _made(self, folders: tuple[Path, ...], memory_bytes: int, processes: int) -> Group:
        memory, pids, kind = folders[0], folders[-1], _MEMORY[self.version]
        try:
            for folder in folders:
                folder.mkdir()
            (memory / kind.limit).write_text(str(memory_bytes))
            (pids / _PROCESSES.limit).write_text(str(processes))
        except OSError as exc:
            raise SandboxUnavailable(f"no control group can be made in {memory.parent}: {exc.strerror}") from exc
        if self.version == 2:
            with contextlib.suppress(OSError):  # not there without swap
                (memory / "memory.swap.max").write_text("0")
        return Group(folders, memory / kind.events, pids / _PROCESSES.events)

    def sweep(self) -> None:
        """Ends and removes what processes that are gone have left behind."""
        for parent in {self.memory, self.pids}:
            for folder in parent.glob(f"{_PREFIX}*-*-*"):
                owner, _, rest = folder.name.removeprefix(_PREFIX).partition("-")
                if owner.isdigit() and _started(int(owner)) != rest.partition("-")[0]:
                    _remove(folder)


@dataclass(frozen=True)
class Group:
    """The folders of one command's group."""

    folders: tuple[Path, ...]
    memory_events: Path
    processes_events: Path

    def joining(self) -> tuple[str, ...]:
        """A command line that puts itself into the group and then becomes the command that follows."""
        tasks = [str(folder / "cgroup.procs") for folder in self.folders]
        code = 'for group in "$1" "$2"; do echo 0 > "$group" || exit 125; done; shift 2; exec "$@"'
        return ("/bin/sh", "-c", code, "join", tasks[0], tasks[-1])

    def hit(self) -> Hit:
        """What the kernel has stopped so far."""
        if _counted(self.memory_events, "oom_kill"):
            return "memory"
        return "processes" if _counted(self.processes_events, "max") else ""


def find_groups(root: Path = ROOT, own: Path = Path("/proc/self/cgroup")) -> Groups | None:
    """None where no group can be made: then the watcher alone holds these two limits. Sweeps what was left behind."""
    for groups in _candidates(root, own):
        try:
            groups.sweep()
            with groups.group(1 << 30, 1000):
                return groups
        except (OSError, SandboxUnavailable):
            continue
    return None


def _candidates(root: Path, own: Path) -> Iterator[Groups]:
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    paths = {name: path for _, names, path in (line.split(":", 2) for line in lines) for name in names.split(",")}
    if "" in paths:
        here = root / paths[""].lstrip("/")
        for folder in (here, here.parent):
            if folder.is_relative_to(root) and {"memory", "pids"} <= set(
                _text(folder / "cgroup.subtree_control").split()
            ):
                yield Groups(2, folder, folder)
    if "memory" in paths and "pids" in paths:
        yield Groups(1, *(root / name / paths[name].lstrip("/") for name in ("memory", "pids")))


def _remove(folder: Path) -> None:
    """Ends what is in the group. One that can't be removed then is by the next sweep."""
    for pid in _text(folder / "cgroup.procs").split():
        with contextlib.suppress(ProcessLookupError):
            process = os.pidfd_open(int(pid))
            try:
                signal.pidfd_send_signal(process, signal.SIGKILL)
                select.select([process], [], [], _DYING_S)
            finally:
                os.close(process)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _counted(events: Path, key: str) -> bool:
    fields = dict(line.split(" ", 1) for line in _text(events).splitlines() if " " in line)
    return int(fields.get(key, "0")) > 0


def _started(pid: int) -> str:
    """When a process began, in the kernel's ticks: with its number that names it for good. Empty: it is gone."""
    return _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()[19] if Path(f"/proc/{pid}").exists() else ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
