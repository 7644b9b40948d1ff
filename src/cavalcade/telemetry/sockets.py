"""Lines to whoever connects to a Unix socket, out of a write-ahead file that keeps what nobody has taken.

One command at a time serves the socket, the one that holds its lock; others only add to the file, and serve when the first has ended. A
reader begins at the first line that nobody has taken and gets every line from there on. A line counts as taken when the kernel says that
a reader has fetched it out of the socket: so a reader that goes away in the middle of a line costs none, and the next one may get again
what it had already fetched. Where the kernel doesn't tell (anywhere but on Linux), a line counts as taken when it is in the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import select
import socket
import stat
import struct
import sys
import termios
from collections.abc import Generator
from pathlib import Path

from cavalcade.kernel.errors import UsageError
from cavalcade.protocol.envelope import Recorded
from cavalcade.telemetry.appending import Room, Write
from cavalcade.telemetry.backlog import Backlog
from cavalcade.telemetry.channel import LINES_AGAIN, ChannelLost
from cavalcade.telemetry.lines import line_of

LIMIT_BYTES = 64 << 20
_LONGEST = 100
"""Bytes of a path: the kernel takes 107, and the socket is made beside it first."""
_CHUNK = 256 << 10
_TICK_S = 0.02
_READERS = 64


class _Reader:
    """`start` is the offset of `chunk`, of which `sent` bytes are in the socket."""

    def __init__(self, connection: socket.socket, start: int) -> None:
        self.connection = connection
        self.start = start
        self.chunk = b""
        self.sent = 0
        self.waits = False
        self.taken = start
        self.reset = False
        """It left without having fetched all: the kernel says so once only."""

    def note_taken(self) -> None:
        """All that was sent has been fetched: whole lines of it are taken."""
        self.taken = self.start + self.chunk.rfind(b"\n", 0, self.sent) + 1


class SocketChannel:
    """Raises UsageError when the path can't be used. Files: `PATH`, `PATH.wal`, `PATH.lock`."""

    def __init__(self, path: Path, *, limit_bytes: int = LIMIT_BYTES, write: Write = os.write) -> None:
        self.name = f"events-socket {path}"
        self.again = LINES_AGAIN
        self._path = path.absolute()
        _check(self._path)
        self._room = Room()
        with contextlib.ExitStack() as opened, _usable(path):
            self._lock = os.open(_beside(self._path, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            opened.callback(os.close, self._lock)
            self._backlog = Backlog(_beside(self._path, ".wal"), limit_bytes=limit_bytes, write=write)
            opened.callback(self._backlog.close)
            if self._is_mine() and _answers(self._path):
                raise _taken(self._path)
            opened.pop_all()
        self._listener: socket.socket | None = None
        self._readers: list[_Reader] = []
        self._ticking: asyncio.Task[None] | None = None
        self._lost = ""

    async def open(self) -> None:
        self._ticking = asyncio.create_task(self._tick())

    async def send(self, recorded: Recorded) -> None:
        """Returns when the line is in the write-ahead file."""
        line = line_of(recorded)
        await self._room.wait(lambda: self._backlog.append(line))
        self._serve_all()
        if self._lost:
            raise ChannelLost(self._lost)

    async def flush(self) -> None:
        """Returns at once when nobody reads here: what is unread lies in the write-ahead file."""
        if self._listener is None:
            self._listen_if_free()
        while self._readers:
            read, end = self._backlog.unread()
            if read >= end:
                return
            await asyncio.sleep(_TICK_S)

    def trouble(self) -> str:
        slow = f"a reader is slow; the rest waits in {_beside(self._path, '.wal')}" if self._readers else ""
        return self._room.problem or self._lost or slow

    def interrupt(self) -> None:
        return

    async def aclose(self) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.gather(self._ticking, return_exceptions=True)
        for reader in list(self._readers):
            self._let_go(reader)
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._path.unlink(missing_ok=True)
            self._listener.close()
        self._backlog.close()
        os.close(self._lock)

    async def _tick(self) -> None:
        """Also finds what other commands have added, who has left, and what was taken: nobody tells of these."""
        while True:
            try:
                if self._listener is None:
                    self._listen_if_free()
                self._serve_all()
            except (OSError, ChannelLost, UsageError) as exc:
                self._lost = str(exc)
                return
            await asyncio.sleep(_TICK_S)

    def _is_mine(self) -> bool:
        """Whether this command serves the socket: no other one does."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _listen_if_free(self) -> None:
        if not self._is_mine():
            return
        _check(self._path)
        self._listener = _listening(self._path)
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        assert self._listener is not None
        with contextlib.suppress(
            OSError, ChannelLost
        ):  # gone again, or no descriptors left: the next one may have more luck
            connection, _ = self._listener.accept()
            if len(self._readers) >= _READERS:
                connection.close()
                return
            connection.setblocking(False)
            self._readers.append(_Reader(connection, self._backlog.unread()[0]))
            self._serve_all()

    def _serve_all(self) -> None:
        for reader in list(self._readers):
            if _has_left(reader):
                self._let_go(reader)
            elif not reader.waits:
                self._serve(reader)
        if self._readers:
            needed = min(reader.taken for reader in self._readers)
            self._backlog.taken(max(reader.taken for reader in self._readers), needed=needed)

    def _serve(self, reader: _Reader) -> None:
        """Sends what there is until the socket is full."""
        while self._fill(reader):
            try:
                reader.sent += reader.connection.send(memoryview(reader.chunk)[reader.sent :])
            except BlockingIOError:
                reader.waits = True
                asyncio.get_running_loop().add_writer(reader.connection, self._go_on, reader)
                return
            except ConnectionResetError:
                reader.reset = True
                return
            except OSError:
                return  # has left: the next look finds that

    def _fill(self, reader: _Reader) -> bool:
        """Whether there is something to send."""
        if reader.sent == len(reader.chunk):
            start, chunk = self._backlog.read(reader.start + reader.sent, _CHUNK)
            if not chunk:
                return False
            if start > reader.start + reader.sent:
                reader.taken = max(reader.taken, start)
            reader.start, reader.chunk, reader.sent = start, chunk, 0
        return True

    def _go_on(self, reader: _Reader) -> None:
        self._stop_waiting(reader)
        self._serve(reader)

    def _stop_waiting(self, reader: _Reader) -> None:
        if reader.waits:
            reader.waits = False
            asyncio.get_running_loop().remove_writer(reader.connection)

    def _let_go(self, reader: _Reader) -> None:
        self._stop_waiting(reader)
        self._readers.remove(reader)
        reader.connection.close()
        if reader.taken > self._backlog.unread()[0]:
            self._backlog.taken(
                reader.taken, needed=min([other.taken for other in self._readers], default=reader.taken)
            )


def _has_left(reader: _Reader) -> bool:
    """Looks how much was fetched, too. A reader that only says nothing more itself, as `nc` does, is still there."""
    fetched = _all_fetched(reader.connection)
    poll = select.poll()
    poll.register(reader.connection, 0)
    ended = bool(poll.poll(0))
    if ended:
        # The kernel has thrown away what was not fetched, and says so.
        fetched = not reader.reset and reader.connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    if fetched:
        reader.note_taken()
    return ended


def _all_fetched(connection: socket.socket) -> bool:
    """Whether the other side has fetched all that is in the socket; where the kernel doesn't say, that it will."""
    if sys.platform != "linux":
        return True
    (waiting,) = struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))
    return waiting == 0


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


@contextlib.contextmanager
def _usable(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as exc:
        raise UsageError(
            f"there can be no socket at {path}: {exc.strerror}",
            expected="a path in a folder that is there and can be written to",
            hint="name another one: --events-socket PATH",
        ) from exc


def _check(path: Path) -> None:
    """Raises UsageError for a path that is too long or that somebody else uses."""
    hint = "name another one: --events-socket PATH"
    if len(os.fsencode(path)) > _LONGEST:
        what = f"{path} is too long for a socket"
        raise UsageError(
            what, expected=f"at most {_LONGEST} bytes", hint="name one in a folder such as /tmp or $XDG_RUNTIME_DIR"
        )
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as exc:
        raise UsageError(f"there can be no socket at {path}: {exc.strerror}", hint=hint) from exc
    if not stat.S_ISSOCK(mode):
        raise UsageError(f"{path} is no socket, and stays as it is", expected="a path that is free", hint=hint)


def _listening(path: Path) -> socket.socket:
    """Readable for this user only from its first moment; a socket file that nobody answers at is replaced. Raises UsageError, OSError."""
    if _answers(path):
        raise _taken(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    first = _beside(path, ".new")
    try:
        first.unlink(missing_ok=True)
        listener.bind(os.fspath(first))
        first.chmod(0o600)
        listener.listen(_READERS)
        listener.setblocking(False)
        first.replace(path)
    except OSError:
        listener.close()
        raise
    return listener


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        one.settimeout(1)
        try:
            one.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True


def _taken(path: Path) -> UsageError:
    return UsageError(f"another program listens at {path}", hint="name another one: --events-socket PATH")
