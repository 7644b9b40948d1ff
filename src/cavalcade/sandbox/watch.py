"""Watches one contained command: collects its output, measures what it uses, and kills it as a whole at a limit.

What no mechanism of an unprivileged sandbox stops (memory summed over processes, disk by many files, a flood of output,
wall-clock time) is stopped here, by looking every 50 ms. Runs in a thread of its own: a busy event loop must not weaken it, and
the kernel ties the life of a process started with `--die-with-parent` to the thread that started it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import selectors
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from cavalcade.kernel.clock import Clock
from cavalcade.kernel.errors import SandboxUnavailable
from cavalcade.sandbox.cgroups import Group
from cavalcade.sandbox.port import Channel, Hit, Limits, Met
from cavalcade.sandbox.usage import (
    FolderUse,
    descriptors,
    folder_use,
    parent_of,
    process_use,
    proportional_bytes,
    unlinked_bytes,
)

_POLL_S = 0.05
_SET_UP_S = 5.0
"""How long the sandbox may take to name its first process before it is killed without knowing it."""
_WALK_SHARE = 10
"""A walk over the workspace may take one part in this many of the watcher's time."""
_CHUNK = 65536


@dataclass(frozen=True)
class Line:
    """Between the watcher's thread and its caller: writing to `cancel` (an eventfd) ends the command early; `told` hears its output."""

    cancel: int
    told: Callable[[Channel, bytes], object] | None = None


@dataclass(frozen=True)
class Outcome:
    """`status` is what the sandbox's init reported (128 + n for signal n), None when the command was killed or never began."""

    status: int | None
    hit: Hit
    cancelled: bool
    stdout: bytes
    stderr: bytes
    duration_s: float
    peak_rss_bytes: int
    met: tuple[Met, ...] = ()


class Growth:
    """How much the writable folders have grown. Walks them often when they are small, and at once when their disk lost space."""

    def __init__(self, folders: Sequence[Path], base: FolderUse, limits: Limits, clock: Clock) -> None:
        """`folders` lie on one disk, the first one's; `base` is what they held together before."""
        self._folders, self._base, self._limits, self._clock = folders, base, limits, clock
        self._descriptor = os.open(folders[0], os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        self._device = os.fstat(self._descriptor).st_dev
        self._free_at_start = self._free_at_walk = self._free()
        self._nodes_at_start = self._free_nodes()
        self._grown = 0
        self._due_s = 0.0
        self.file_size_met = False
        """Whether a file as large as one may be was seen that was not there before."""

    def close(self) -> None:
        os.close(self._descriptor)

    def over(self, pids: tuple[int, ...]) -> Hit:
        free = self._free()
        headroom = self._limits.disk_bytes - self._grown
        if self._clock.monotonic_s() < self._due_s and self._free_at_walk - free <= headroom:
            return ""
        return self.measure(pids)

    def at_end(self) -> Hit:
        """Between the last look and the end: a walk only when the disk has lost enough for a limit to be passed."""
        lost, nodes = self._free_at_start - self._free(), self._nodes_at_start - self._free_nodes()
        least = min(self._limits.disk_bytes, self._limits.file_bytes - 1)
        return self.measure(()) if lost > least or nodes > self._limits.files else ""

    def measure(self, pids: tuple[int, ...]) -> Hit:
        begun_s, free = self._clock.monotonic_s(), self._free()
        use = sum((self._walk(folder) for folder in self._folders), FolderUse())
        self.file_size_met = self.file_size_met or use.large > self._base.large
        grown = use.size_bytes - self._base.size_bytes
        lost = self._free_at_start - free
        if lost > self._limits.disk_bytes:
            grown += unlinked_bytes(pids, self._device)
            if use.unreadable > self._base.unreadable:  # what is hidden counts as the guest's
                grown = max(grown, lost)
        self._grown, self._free_at_walk = grown, free
        now_s = self._clock.monotonic_s()
        self._due_s = now_s + max(_POLL_S, (now_s - begun_s) * _WALK_SHARE)
        if grown > self._limits.disk_bytes:
            return "disk"
        return "files" if use.files - self._base.files > self._limits.files else ""

    def _walk(self, folder: Path) -> FolderUse:
        try:
            return folder_use(folder, large_bytes=self._limits.file_bytes)
        except OSError:  # the guest may lock its own folder
            return FolderUse(unreadable=1)

    def _free_nodes(self) -> int:
        return os.fstatvfs(self._descriptor).f_ffree

    def _free(self) -> int:
        disk = os.fstatvfs(self._descriptor)
        return disk.f_bfree * disk.f_frsize


class Watch:
    """One command from start to end. `run` blocks."""

    def __init__(
        self,
        limits: Limits,
        growth: Growth,
        clock: Clock,
        line: Line,
        temporary: Sequence[str] = (),
        *,
        own: int,
        group: Group | None = None,
    ) -> None:
        """`temporary` are folders inside the sandbox, each a file system of its own, whose files count too.

        `own` is how many of the processes are the sandbox's: the one that is started, and what comes before the command.
        `group` holds them all.
        """
        self._own, self._group = own, group
        self._met: set[Met] = set()
        self._limits, self._growth, self._clock, self._cancel = limits, growth, clock, line.cancel
        self._temporary, self._told = temporary, line.told
        self._channels: dict[int, Channel] = {}
        self._output: dict[int, bytearray] = {}
        self._status = bytearray()
        self._init_fd: int | None = None
        self._met_init = False
        self._doomed: Hit | None = None  # "" when cancelled
        self._killed = False
        self._cancelled = False
        self._begun_s = clock.monotonic_s()
        self._peak = 0

    def run(self, argv: Sequence[str], stdin: int, pass_fds: Sequence[int], status: int, status_end: int) -> Outcome:
        """Starts the sandbox with `argv`. `status` and `status_end` are the pipe it reports on as bubblewrap does; the latter is closed."""
        joining = self._group.joining() if self._group else ()
        try:
            process = subprocess.Popen(
                (*joining, *argv),
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(*pass_fds, status_end),
                env={},
                cwd="/",
                start_new_session=True,
            )
        except OSError as exc:
            raise SandboxUnavailable(f"{argv[0]} can't be started: {exc.strerror}") from exc
        finally:
            os.close(status_end)
        with contextlib.ExitStack() as stack:
            stack.callback(self._end, process, status)
            out, err = (
                stack.enter_context(cast(IO[bytes], pipe)).fileno() for pipe in (process.stdout, process.stderr)
            )
            self._output, self._channels = {out: bytearray(), err: bytearray()}, {out: "stdout", err: "stderr"}
            for descriptor in (out, err, status):
                os.set_blocking(descriptor, False)
            self._follow(process, (out, err, status))
            self._end(process, status)
            for descriptor in (out, err, status):
                self._drain(descriptor)
            return self._outcome(out, err)

    def _follow(self, process: subprocess.Popen[bytes], streams: tuple[int, ...]) -> None:
        """Until the command has ended or been killed."""
        with contextlib.ExitStack() as stack:
            monitor = os.pidfd_open(process.pid)
            stack.callback(os.close, monitor)
            selector = stack.enter_context(selectors.DefaultSelector())
            for descriptor in (monitor, self._cancel, *streams):
                selector.register(descriptor, selectors.EVENT_READ)
            due_s = self._begun_s + _POLL_S
            ended = False
            while not ended:
                for key, _ in selector.select(max(0.0, due_s - self._clock.monotonic_s())):
                    ended = ended or key.fd == monitor
                    if key.fd == self._cancel:
                        self._cancelled = True
                        self._doomed = self._doomed or ""
                    if key.fd == self._cancel or (key.fd in streams and self._receive(key.fd) == b""):
                        selector.unregister(key.fd)
                self._meet_init(process)
                if self._clock.monotonic_s() >= due_s:
                    if self._doomed is None:
                        self._doomed = self._over(process.pid) or None
                    due_s = self._clock.monotonic_s() + _POLL_S
                self._kill_if_doomed(process)

    def _receive(self, descriptor: int) -> bytes | None:
        """What is there now, None for nothing yet, empty at the end. What goes beyond the limit is dropped and dooms the command."""
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return None
        if descriptor not in self._output:
            self._status += data
            return data
        room = self._limits.output_bytes - sum(len(held) for held in self._output.values())
        kept = data[:room]
        self._output[descriptor] += kept
        if kept and self._told:
            self._told(self._channels[descriptor], kept)
        if len(data) > room and self._doomed is None:
            self._doomed = "output"
        return data

    def _drain(self, descriptor: int) -> None:
        while self._receive(descriptor):
            pass

    def _meet_init(self, process: subprocess.Popen[bytes]) -> None:
        pid = self._report().get("child-pid")
        if self._met_init or not isinstance(pid, int):
            return
        self._met_init = True
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            if parent_of(pid) == process.pid:
                self._init_fd = descriptor
            else:  # it has ended, and its number may be another's already
                os.close(descriptor)

    def _report(self) -> dict[str, Any]:
        """bubblewrap writes one JSON object per line: at the start the child's pid, at the end the exit code."""
        merged: dict[str, Any] = {}
        for line in bytes(self._status).split(b"\n")[:-1]:
            merged |= json.loads(line)
        return merged

    def _over(self, root: int) -> Hit:
        limits = self._limits
        use = process_use(root)
        self._peak = max(self._peak, use.rss_bytes)
        if self._clock.monotonic_s() - self._begun_s > limits.wall_s:
            return "wall"
        if use.cpu_s > limits.cpu_s:
            return "cpu"
        if use.rss_bytes > limits.memory_bytes and proportional_bytes(use.pids) > limits.memory_bytes:
            return "memory"
        if use.tasks - self._own >= limits.processes:
            return "processes"
        if self._group and (stopped := self._group.hit()):
            return stopped
        if descriptors(use.pids[self._own :]) >= limits.open_files:
            self._met.add("open_files")
        if self._temporary_files(use.pids[self._own :]) > limits.files:
            return "files"
        return self._growth.over(use.pids)

    def _temporary_files(self, pids: Sequence[int]) -> int:
        """Seen through the first process that shows its root: the guest can't mount, so all have the same."""
        for pid in pids:
            with contextlib.suppress(OSError):
                disks = [os.statvfs(f"/proc/{pid}/root{folder}") for folder in self._temporary]
                return sum(disk.f_files - disk.f_ffree for disk in disks)
        return 0

    def _kill_if_doomed(self, process: subprocess.Popen[bytes]) -> None:
        late = self._clock.monotonic_s() > self._begun_s + _SET_UP_S
        if self._doomed is not None and not self._killed and (self._init_fd is not None or late):
            self._kill(process)

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        """The init of the process-id namespace: the kernel kills all the others with it, and bubblewrap's monitor reaps it."""
        self._killed = True
        if self._init_fd is None:
            process.kill()
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._init_fd, signal.SIGKILL)

    def _end(self, process: subprocess.Popen[bytes], status: int) -> None:
        """Nothing of the command lives when this returns. Doing it twice does nothing."""
        if process.returncode is None:
            self._drain(status)
            self._meet_init(process)
            if not self._killed and os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                self._kill(process)
            process.wait()
        if self._init_fd is None:
            return
        init, self._init_fd = self._init_fd, None
        # Init is gone before its monitor is, but where somebody else killed the monitor.
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(init, signal.SIGKILL)
        select.select([init], [], [])
        with contextlib.suppress(
            ChildProcessError
        ):  # ours to reap only where this process adopts orphans, as in a container
            os.waitid(os.P_PIDFD, init, os.WEXITED | os.WNOHANG)
        os.close(init)

    def _outcome(self, out: int, err: int) -> Outcome:
        code = self._report().get("exit-code")
        hit = self._doomed or ("" if self._cancelled else self._at_end())
        if self._growth.file_size_met:
            self._met.add("file_size")
        return Outcome(
            status=code if isinstance(code, int) and not self._killed else None,
            hit=hit,
            cancelled=self._cancelled,
            stdout=bytes(self._output[out]),
            stderr=bytes(self._output[err]),
            duration_s=self._clock.monotonic_s() - self._begun_s,
            peak_rss_bytes=self._peak,
            met=tuple(sorted(self._met)),
        )

    def _at_end(self) -> Hit:
        """What happened between the last look and the end."""
        return (self._group.hit() if self._group else "") or self._growth.at_end()
