"""Starts a program and passes everything through untouched: on a terminal it gets one of its own, else its output goes by pipes.

On a terminal: a pseudo-terminal of the same size and settings; ours is in raw mode, so that every key, Ctrl-C included, is the program's.
In a pipe: the program has our standard input itself and shares our process group, so the shell's Ctrl-C and job control reach it as ever.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import subprocess
import termios
import threading
import tty
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from cavalcade.recorder.backlog import Channel

_CHUNK = 64 << 10
_STOPPED, _ENDED = b"s", b"e"
_LAST_READS = 32
"""More than a pipe holds at most: who goes on writing is not waited for."""
_LAST_OUTPUT_MS = 100
"""The kernel may hand over the end of a terminal's output shortly after the program's end."""


class Streams(NamedTuple):
    """`stdin` is a descriptor, None for an empty input. `pass_on` writes what a channel carries to where it belongs.

    `terminal` is the descriptor of the terminal that the program gets a copy of; None where there is none.
    """

    stdin: int | None
    pass_on: Callable[[Channel, bytes], None]
    terminal: int | None = None


class Start(NamedTuple):
    command: Sequence[str]
    folder: Path
    environ: Mapping[str, str]


Heard = Callable[[Channel, bytes], None]
"""Is told what the program wrote after it was passed on. Must not block."""


class Running:
    """A started program. `run` blocks until it has ended; the rest may be called from other threads meanwhile."""

    def __init__(self, start: Start, streams: Streams, heard: Heard) -> None:
        """Raises OSError when the program can't be started."""
        self._streams = streams
        self._heard = heard
        self._typed = bytearray()
        self._ended, self._told = os.pipe2(os.O_CLOEXEC)
        self._sources: dict[int, Channel] = {}
        self._status = 0
        self._saved: list[int | list[bytes | int]] | None = None
        self._master: int | None = None
        self._process = self._on_terminal(start) if streams.terminal is not None else self._with_pipes(start)
        self._waiter = threading.Thread(target=self._wait, name="recorded-program", daemon=True)

    def _on_terminal(self, start: Start) -> subprocess.Popen[bytes]:
        terminal = self._streams.terminal
        assert terminal is not None
        master, slave = pty.openpty()
        termios.tcsetattr(slave, termios.TCSANOW, termios.tcgetattr(terminal))
        self._master = master
        self._sources[master] = "terminal"
        self.resize()

        def own_terminal() -> None:  # between fork and exec: one system call, no lock of ours is held
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

        try:
            process = subprocess.Popen(
                list(start.command),
                cwd=start.folder,
                env=dict(start.environ),
                stdin=slave,
                stdout=slave,
                stderr=slave,
                start_new_session=True,
                preexec_fn=own_terminal,
            )
        except BaseException:
            os.close(master)
            raise
        finally:
            os.close(slave)
        os.set_blocking(master, False)
        self._saved = termios.tcgetattr(terminal)
        tty.setraw(terminal)
        return process

    def _with_pipes(self, start: Start) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            list(start.command),
            cwd=start.folder,
            env=dict(start.environ),
            stdin=subprocess.DEVNULL if self._streams.stdin is None else self._streams.stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        assert process.stdout is not None  # both were asked for
        assert process.stderr is not None
        self._sources = {process.stdout.fileno(): "stdout", process.stderr.fileno(): "stderr"}
        for handle in self._sources:
            os.set_blocking(handle, False)
        return process

    @property
    def alone(self) -> bool:
        """Whether it has a terminal, and so a process group, of its own."""
        return self._master is not None

    @property
    def pid(self) -> int:
        return self._process.pid

    def run(self) -> int:
        """Exit status, negative for the signal that ended the program."""
        self._waiter.start()
        try:
            self._pass_through()
            self._drain()
        finally:
            self._restore()
            self._close()
        self._waiter.join()
        os.close(self._told)
        return self._status

    def signal(self, number: int) -> None:
        """To the program; on a terminal of its own to all in front of it."""
        with contextlib.suppress(ProcessLookupError, PermissionError, termios.error, OSError):
            if self._master is not None:
                os.killpg(os.tcgetpgrp(self._master) or self.pid, number)
            else:
                os.kill(self.pid, number)

    def resize(self) -> None:
        """Ours has got another size."""
        if self._master is not None and self._streams.terminal is not None:
            with contextlib.suppress(OSError):
                size = fcntl.ioctl(self._streams.terminal, termios.TIOCGWINSZ, b"\0" * 8)
                fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def _wait(self) -> None:
        """Reaps the program, and tells when it stops or ends."""
        options = os.WUNTRACED if self._master is not None else 0
        while True:
            _, status = os.waitpid(self.pid, options)
            if not os.WIFSTOPPED(status):
                break
            os.write(self._told, _STOPPED)
        self._status = os.waitstatus_to_exitcode(status)
        self._process.returncode = self._status
        os.write(self._told, _ENDED)

    def _stop(self) -> None:
        """As the program did, so that the shell we were started from takes over until `fg`."""
        self._drain()
        self._restore()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._raw()
        self.resize()
        self.signal(signal.SIGCONT)

    def _pass_through(self) -> None:
        poll = select.poll()
        poll.register(self._ended, select.POLLIN)
        for handle in self._sources:
            poll.register(handle, select.POLLIN)
        stdin = self._streams.stdin if self._master is not None else None
        while True:
            self._register_input(poll, stdin)
            for handle, events in poll.poll():
                if handle == self._ended:
                    if os.read(handle, 1) == _ENDED:
                        return
                    self._stop()
                    continue
                if stdin is not None and handle == stdin:
                    if not self._read_keys(stdin):
                        poll.unregister(stdin)
                        stdin = None
                elif events & ~select.POLLOUT and not self._read(handle):
                    poll.unregister(handle)
                    self._drop(handle)
                if events & select.POLLOUT:
                    self._type()

    def _register_input(self, poll: select.poll, stdin: int | None) -> None:
        """Keys wait while the program doesn't take those before them."""
        if self._master is None or self._master not in self._sources:
            return
        poll.register(self._master, select.POLLIN | (select.POLLOUT if self._typed else 0))
        if stdin is not None:
            poll.register(stdin, select.POLLIN if len(self._typed) < _CHUNK else 0)

    def _read_keys(self, stdin: int) -> bool:
        try:
            keys = os.read(stdin, _CHUNK)
        except OSError:
            keys = b""
        self._typed += keys
        return bool(keys)

    def _type(self) -> None:
        assert self._master is not None  # nothing is typed without
        with contextlib.suppress(BlockingIOError, OSError):
            done = os.write(self._master, self._typed)
            del self._typed[:done]

    def _read(self, handle: int) -> bool:
        """False when nothing more comes, or nobody wants it."""
        try:
            data = os.read(handle, _CHUNK)
        except BlockingIOError:
            return True
        except OSError:  # EIO: nobody has the terminal open any more
            return False
        if not data:
            return False
        channel = self._sources[handle]
        try:
            self._streams.pass_on(channel, data)
        except OSError:  # whoever read our output has gone; the program learns it as it would without us
            return False
        self._heard(channel, data)
        return True

    def _drop(self, handle: int) -> None:
        del self._sources[handle]
        if handle == self._master:
            return  # closed at the end: without it there is nobody to send signals to
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None and not stream.closed and stream.fileno() == handle:
                stream.close()

    def _drain(self) -> None:
        """What the program wrote before it ended; not what others go on writing to its output."""
        for handle in list(self._sources):
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            for _ in range(_LAST_READS):
                if not poll.poll(_LAST_OUTPUT_MS if handle == self._master else 0) or not self._read(handle):
                    break

    def _raw(self) -> None:
        if self._streams.terminal is not None:
            with contextlib.suppress(termios.error):
                tty.setraw(self._streams.terminal)

    def _restore(self) -> None:
        if self._streams.terminal is not None and self._saved is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._streams.terminal, termios.TCSADRAIN, self._saved)

    def _close(self) -> None:
        for handle in list(self._sources):
            self._drop(handle)
        if self._master is not None:
            os.close(self._master)
        os.close(self._ended)
