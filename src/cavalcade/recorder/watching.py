"""Which paths below a folder were touched, told by the kernel (inotify(7)).

inotify watches single folders: one that is new is watched before it is listed, so that nothing in it can be missed. What inotify can't
tell (a queue that overflowed, no watch left, changes through a memory map) ends in a full look, and full looks happen now and then anyway.
"""

from __future__ import annotations

import errno
import os
import select
import sys
from typing import Any, NamedTuple, Protocol

# Values of <sys/inotify.h>.
_MODIFY, _ATTRIB, _CLOSE_WRITE = 0x2, 0x4, 0x8
_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x40, 0x80, 0x100, 0x200
_OVERFLOW, _IGNORED = 0x4000, 0x8000
_ONLY_FOLDERS, _NO_LINKS, _NOT_UNLINKED = 0x1000000, 0x2000000, 0x4000000
_MASK = (
    _MODIFY | _ATTRIB | _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE
    | _ONLY_FOLDERS | _NO_LINKS | _NOT_UNLINKED
)  # fmt: skip


class Touched(NamedTuple):
    """`all` says that anything may have changed. Paths with `/`, relative to the folder that is watched."""

    paths: frozenset[str]
    all: bool = False

    def __bool__(self) -> bool:
        return self.all or bool(self.paths)

    def __or__(self, other: Touched) -> Touched:
        return Touched(self.paths | other.paths, self.all or other.all)


NOTHING = Touched(frozenset())
EVERYTHING = Touched(frozenset(), True)


class Watch(Protocol):
    complete: bool
    """Whether every folder is watched. Where not, only a full look finds what happened."""

    def add(self, folder: str) -> None:
        """From now on what happens to the names in this folder is told; the top is the empty name."""
        ...

    def wait(self, timeout_s: float) -> Touched:
        """What was touched; empty after the timeout or `wake`."""
        ...

    def wake(self) -> None:
        """Ends a `wait`, also the next one. May be called from any thread."""
        ...

    def close(self) -> None: ...


class _Waking:
    """A pipe that another thread writes to."""

    def __init__(self) -> None:
        self.reading, self._writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def wake(self) -> None:
        os.write(self._writing, b".")

    def close(self) -> None:
        os.close(self.reading)
        os.close(self._writing)


class InotifyWatch:
    """Raises OSError when the kernel gives no inotify instance."""

    def __init__(self, top: str) -> None:
        from inotify_simple import INotify  # no types are published for it

        self.complete = True
        self._top = os.fsencode(top)
        self._inotify: Any = INotify(nonblocking=True)
        self._folders: dict[int, str] = {}
        self._waking = _Waking()
        self._poll = select.poll()
        for handle in (self._inotify.fileno(), self._waking.reading):
            self._poll.register(handle, select.POLLIN)

    def add(self, folder: str) -> None:
        try:
            watch: int = self._inotify.add_watch(os.path.join(self._top, os.fsencode(folder)), _MASK)
        except OSError as exc:
            if exc.errno in (errno.ENOSPC, errno.ENOMEM, errno.EACCES):
                self.complete = False
            return  # gone meanwhile: its parent's events tell
        self._folders[watch] = folder

    def wait(self, timeout_s: float) -> Touched:
        ready = [handle for handle, _ in self._poll.poll(timeout_s * 1000)]
        if not ready or ready == [self._waking.reading]:
            return NOTHING
        paths: set[str] = set()
        everything = False
        for event in self._inotify.read(timeout=0):
            if event.mask & _OVERFLOW:
                everything = True
            elif event.mask & _IGNORED:
                self._folders.pop(event.wd, None)
            elif event.name and (folder := self._folders.get(event.wd)) is not None:
                paths.add(f"{folder}/{event.name}" if folder else event.name)
        return Touched(frozenset(paths), everything)

    def wake(self) -> None:
        self._waking.wake()

    def close(self) -> None:
        self._inotify.close()
        self._waking.close()


class NoWatch:
    """Tells nothing: where there is no inotify, every look is a full one."""

    def __init__(self) -> None:
        self.complete = False
        self._waking = _Waking()
        self._poll = select.poll()
        self._poll.register(self._waking.reading, select.POLLIN)

    def add(self, folder: str) -> None:
        del folder

    def wait(self, timeout_s: float) -> Touched:
        self._poll.poll(timeout_s * 1000)
        return NOTHING

    def wake(self) -> None:
        self._waking.wake()

    def close(self) -> None:
        self._waking.close()


def open_watch(top: str) -> Watch:
    if sys.platform == "linux":
        try:
            return InotifyWatch(top)
        except OSError:  # fs.inotify.max_user_instances are in use
            return NoWatch()
    return NoWatch()
