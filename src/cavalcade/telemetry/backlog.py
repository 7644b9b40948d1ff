"""The write-ahead file of the socket: lines that nobody has taken yet, shared by all commands that name the same socket.

A fixed header, then lines. Offsets count bytes from the first line ever written, so they never mean another line, whatever is removed
in front. Whoever is killed leaves whole lines, or a torn last one that nobody reads and the next append removes.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from cavalcade.telemetry.appending import Write, last_line_end, locked
from cavalcade.telemetry.channel import ChannelLost
from cavalcade.telemetry.lines import dropped_line

HEADER = 128
"""Bytes. Within one page and written at once, so nobody sees half of it."""
LEAST_LIMIT = 1 << 16


class Head(msgspec.Struct, frozen=True):
    """`base` is the offset of the first line here, `read` of the first that nobody has taken.

    Readers that are not beyond `cut` have missed lines: they go on at `base`, where a mark says so.
    """

    wal: int = 1
    base: int = 0
    cut: int = 0
    read: int = 0


class Backlog:
    """Safe with several processes at once: each step is taken under a lock. Raises OSError."""

    def __init__(self, path: Path, *, limit_bytes: int, write: Write = os.write) -> None:
        assert limit_bytes >= LEAST_LIMIT
        self._path = path
        self._limit_bytes = limit_bytes
        self._write = write
        self._fd = self._open()

    def append(self, line: bytes) -> None:
        """All of it or nothing. Gives up the oldest lines when there would be more than the limit."""
        with self._held() as (head, size):
            if size + len(line) > self._limit_bytes:
                self._give_up(head, size, line)
            else:
                self._append(size, line)

    def read(self, offset: int, size: int) -> tuple[int, bytes]:
        """Whole lines from an offset on, about `size` bytes, and the offset they begin at: a later one if lines were given up."""
        with self._held() as (head, end):
            start = head.base if offset < head.cut else offset
            data = os.pread(self._fd, min(size, end - self._at(head, start)), self._at(head, start))
        return start, data[: data.rfind(b"\n") + 1]

    def unread(self) -> tuple[int, int]:
        """Offset of the first line that nobody has taken, and of the end."""
        with self._held() as (head, size):
            return head.read, head.base + size - HEADER

    def taken(self, offset: int, *, needed: int) -> None:
        """Lines before `offset` were taken. Nobody connected needs those before `needed`: what is neither is removed once all is taken."""
        with self._held() as (head, size):
            end = head.base + size - HEADER
            if offset >= end and needed >= end:
                # Lines first: a header that is behind them says that nothing is unread.
                os.ftruncate(self._fd, HEADER)
                self._write_head(Head(base=end, cut=end, read=end))
            elif offset > head.read:
                self._write_head(Head(base=head.base, cut=head.cut, read=offset))

    def close(self) -> None:
        os.close(self._fd)

    def _open(self) -> int:
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with locked(fd):
            if os.fstat(fd).st_size < HEADER:
                os.pwrite(fd, _header(Head()), 0)
        return fd

    @contextmanager
    def _held(self) -> Generator[tuple[Head, int]]:
        """The header and the size of what is whole, while nobody else changes them."""
        while True:
            with locked(self._fd):
                if self._is_current():
                    size = max(last_line_end(self._fd, os.fstat(self._fd).st_size), HEADER)
                    yield self._head(size), size
                    return
            os.close(self._fd)
            self._fd = self._open()

    def _is_current(self) -> bool:
        """Whether the path still names this file: another process may have put a shorter one in its place."""
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(self._fd))

    def _head(self, size: int) -> Head:
        try:
            head = msgspec.json.decode(os.pread(self._fd, HEADER, 0), type=Head)
        except msgspec.DecodeError as exc:
            raise ChannelLost(f"{self._path} is no write-ahead file of Cavalcade's; move it away") from exc
        if head.read > head.base + size - HEADER:
            return Head(base=head.read, cut=head.read, read=head.read)
        return head

    def _write_head(self, head: Head) -> None:
        os.pwrite(self._fd, _header(head), 0)

    def _at(self, head: Head, offset: int) -> int:
        return HEADER + offset - head.base

    def _append(self, size: int, line: bytes) -> None:
        if os.fstat(self._fd).st_size > size:
            os.ftruncate(self._fd, size)
        os.lseek(self._fd, size, os.SEEK_SET)
        try:
            _write_all(self._fd, line, self._write)
        except OSError:
            os.ftruncate(self._fd, size)
            raise

    def _give_up(self, head: Head, size: int, line: bytes) -> None:
        """Puts a file in place that holds the newest half and `line`, behind a mark for what it leaves out.

        The old one stays locked till the caller is done; whoever waits for it then finds that it is no longer current.
        """
        data = os.pread(self._fd, size - HEADER, HEADER)
        kept_from = data.rfind(b"\n", 0, max(len(data) - self._limit_bytes // 2, 0)) + 1
        mark = dropped_line(data[:kept_from])
        cut = head.base + kept_from
        base = cut - len(mark)
        new = Head(base=base, cut=cut, read=head.read if head.read >= cut else base)
        shorter = self._path.with_name(self._path.name + ".new")
        fd = os.open(shorter, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write_all(fd, _header(new) + mark + data[kept_from:] + line, self._write)
        finally:
            os.close(fd)
        os.replace(shorter, self._path)


def _write_all(fd: int, data: bytes, write: Write) -> None:
    while data:
        data = data[write(fd, data) :]


def _header(head: Head) -> bytes:
    return msgspec.json.encode(head).ljust(HEADER - 1) + b"\n"
