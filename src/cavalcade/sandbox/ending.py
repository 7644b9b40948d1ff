"""Ends processes with everything they spawned, whoever they belong to by now: double forks, `setsid`, `nohup`, stopped ones.

Who belongs to it: the processes named, those that carry a mark in the environment they were started with, and all below these by
parent, session or process group. First all of them are frozen, until a look finds no new one, so that none spawns while it is looked
for; then they are killed. A number is never signalled by itself: a descriptor of the process is opened and its start time compared.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Collection
from typing import NamedTuple

from cavalcade.kernel.clock import Clock

_FREEZE_ROUNDS = 20
"""Who outruns so many looks is killed without having been frozen as a whole."""
_PAUSE_S = 0.002
_ZOMBIE = (b"Z", b"X")


class Process(NamedTuple):
    """`started` in clock ticks since the machine's start: with it a number is no other process's."""

    pid: int
    started: int


class _Seen(NamedTuple):
    process: Process
    parent: int
    group: int
    session: int


class Ended(NamedTuple):
    """`killed` counts processes; `left` are those that live on: others' processes, and those that the kernel does not let go."""

    killed: int
    left: tuple[int, ...]


def identify(pid: int) -> Process | None:
    """None when there is no such process, or only its exit status is left."""
    seen = _look(pid)
    return None if seen is None else seen.process


def signal_process(process: Process, number: int) -> bool:
    """Whether it was there and the signal was sent."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        if identify(process.pid) != process:
            return False
        signal.pidfd_send_signal(descriptor, number)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def family(roots: Collection[int], mark: str = "", *, besides: Collection[int] = ()) -> set[Process]:
    """The processes `roots`, those whose first environment holds `mark` (`NAME=value`), and all below them.

    A root's own group and session are others' as well: of these only its descendants count. `besides` are left out, and with them what is
    below them only.
    """
    seen = {found.process.pid: found for found in map(_look, _numbers()) if found is not None}
    marked = {pid for pid in seen if mark and pid not in roots and _is_marked(pid, mark)}
    children: dict[int, list[int]] = {}
    for pid, found in seen.items():
        led = {found.group, found.session}.difference(roots)
        for above in {found.parent, *led} - {pid}:
            children.setdefault(above, []).append(pid)
    waiting = [pid for pid in {*roots, *marked} if pid in seen and pid not in besides]
    members: set[int] = set(waiting)
    while waiting:
        below = [pid for pid in children.get(waiting.pop(), ()) if pid not in members and pid not in besides]
        members.update(below)
        waiting += below
    return {seen[pid].process for pid in members}


def end(find: Callable[[], set[Process]], clock: Clock, *, within_s: float, freeze: bool = True) -> Ended:
    """Kills all that `find` finds, and looks again until it finds nobody or the time is up. Blocks. `freeze` as said above."""
    deadline_s = clock.monotonic_s() + within_s
    doomed: set[Process] = set()
    for _ in range(_FREEZE_ROUNDS if freeze else 0):
        new = find() - doomed
        if not new:
            break
        for process in new:
            signal_process(process, signal.SIGSTOP)
        doomed |= new
    found = doomed | find()
    while found:
        for process in found:
            signal_process(process, signal.SIGKILL)
        doomed |= found
        if clock.monotonic_s() >= deadline_s:
            break
        time.sleep(_PAUSE_S)
        found = {process for process in doomed if identify(process.pid) == process} | find()
    left = sorted(process.pid for process in doomed if identify(process.pid) == process)
    return Ended(len(doomed) - len(left), tuple(left))


def _numbers() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _look(pid: int) -> _Seen | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except OSError:
        return None
    fields = text[text.rindex(b")") + 2 :].split()  # the name before it may hold anything
    if fields[0] in _ZOMBIE:
        return None
    return _Seen(Process(pid, int(fields[19])), int(fields[1]), int(fields[2]), int(fields[3]))


def _is_marked(pid: int, mark: str) -> bool:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
        return mark.encode() in file.read().split(b"\0")
    return False
