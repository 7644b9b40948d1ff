"""Whole lines at the end of a file: none torn by a full disk, by another process or by the death of one that wrote."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager

from cavalcade.telemetry.channel import ChannelLost

Write = Callable[[int, bytes], int]
"""As `os.write`."""
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_BEGINNINGS = (b'{"specversion":', b'{"resourceSpans":')
_BETWEEN_TRIES_S = 0.25


@contextmanager
def locked(fd: int) -> Generator[None]:
    """No other process appends meanwhile; the kernel lets go of it when this one dies."""
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)


def append_line(fd: int, line: bytes, write: Write) -> None:
    """All of the line or nothing, behind the last whole one. `fd` is open for reading and appending and locked. Raises OSError."""
    size = _whole(fd, os.fstat(fd).st_size)
    if size and last_line_end(fd, size) != size:
        line = b"\n" + line
    written = 0
    try:
        while written < len(line):
            written += write(fd, line[written:])
    except OSError:
        os.ftruncate(fd, size)
        raise


def _whole(fd: int, size: int) -> int:
    """The size without the beginning of a line that somebody was killed at. Text that is not ours stays."""
    end = last_line_end(fd, size)
    torn = os.pread(fd, size - end, end)
    if not torn or not any(torn.startswith(own) or own.startswith(torn) for own in _BEGINNINGS):
        return size
    os.ftruncate(fd, end)
    return end


def last_line_end(fd: int, size: int) -> int:
    """Where the last whole line ends."""
    if size and os.pread(fd, 1, size - 1) == b"\n":
        return size
    step = 1 << 16
    while size > 0:
        start = max(size - step, 0)
        found = os.pread(fd, size - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        size = start
    return 0


class Room:
    """Tries again as long as the disk is full. `problem` says so meanwhile."""

    def __init__(self) -> None:
        self.problem = ""

    async def wait(self, append: Callable[[], None]) -> None:
        """Raises ChannelLost for anything but a full disk."""
        while True:
            try:
                append()
            except OSError as exc:
                self.problem = exc.strerror or str(exc)
                if exc.errno not in FULL:
                    raise ChannelLost(self.problem) from exc
                await asyncio.sleep(_BETWEEN_TRIES_S)
            else:
                self.problem = ""
                return
