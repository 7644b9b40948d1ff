"""Lines to a file descriptor that whoever started the command has handed over: `cavalcade run ... --events-fd 3 3> events.jsonl`."""

from __future__ import annotations

import asyncio
import fcntl
import os
import select

from cavalcade.kernel.errors import UsageError
from cavalcade.protocol.envelope import Recorded
from cavalcade.telemetry.channel import LINES_AGAIN, ChannelLost
from cavalcade.telemetry.lines import line_of

_FIRST = 3
"""0, 1 and 2 are the terminal's."""


def handed_over(number: int) -> int:
    """A copy of an open descriptor, for ourselves only. Raises UsageError unless it was given to this process to write to.

    A descriptor that came with the process stays open in programs it starts; one that anything in this process has opened does not
    (PEP 446). So a number that a database or a log has got meanwhile is never written to.
    """
    own = max(number, _FIRST)
    hint = f"open it where the command is started: cavalcade ... --events-fd {own} {own}> events.jsonl"
    if number < _FIRST:
        raise UsageError(
            f"events can't go to descriptor {number}: that is the terminal's", expected="3 or more", hint=hint
        )
    try:
        mode = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE
        given = os.get_inheritable(number)
    except OSError as exc:
        raise UsageError(f"descriptor {number} is not open", expected="one to write events to", hint=hint) from exc
    if not given or mode == os.O_RDONLY:
        why = "can only be read" if given else "was not handed to this process"
        raise UsageError(f"descriptor {number} {why}", expected="one to write events to", hint=hint)
    return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _FIRST)


class DescriptorChannel:
    """Writes as fast as the other end takes it, never more than fits at once, so that no write blocks. Ends when the reader goes."""

    def __init__(self, number: int) -> None:
        self.name = f"events-fd {number}"
        self.again = LINES_AGAIN
        self._fd = handed_over(number)

    async def open(self) -> None:
        return

    async def send(self, recorded: Recorded) -> None:
        rest = memoryview(line_of(recorded))
        try:
            while rest:
                await _writable(self._fd)
                # A pipe that can be written to takes this much without blocking (POSIX).
                with_room = rest[: select.PIPE_BUF]
                rest = rest[_write(self._fd, with_room) :]
        except BrokenPipeError as exc:
            raise ChannelLost("its reader has gone") from exc
        except OSError as exc:
            raise ChannelLost(exc.strerror or str(exc)) from exc

    async def flush(self) -> None:
        return

    def trouble(self) -> str:
        return ""

    def interrupt(self) -> None:
        return

    async def aclose(self) -> None:
        os.close(self._fd)


def _write(fd: int, data: memoryview) -> int:
    """Bytes written: 0 when somebody else has taken the room."""
    try:
        return os.write(fd, data)
    except BlockingIOError:
        return 0


async def _writable(fd: int) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    if poll.poll(0):
        return
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_writer(fd, lambda: ready.done() or ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_writer(fd)
