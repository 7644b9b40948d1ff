"""Lines at the end of a file, one for each event, or OTLP JSON, one for each batch of spans."""

from __future__ import annotations

import os
import stat
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from cavalcade.kernel.errors import UsageError
from cavalcade.protocol.envelope import Recorded
from cavalcade.telemetry.appending import Room, Write, append_line, locked
from cavalcade.telemetry.channel import LINES_AGAIN, SPANS_AGAIN
from cavalcade.telemetry.lines import line_of

LinesOf = Callable[[Recorded], Awaitable[Sequence[bytes]]]
"""What is written for an event: whole lines."""


async def event_lines(recorded: Recorded) -> Sequence[bytes]:
    return [line_of(recorded)]


def open_to_append(path: Path, flag: str) -> int:
    """Made when it is not there, for this user only. Raises UsageError for what is no ordinary file or can't be written."""
    hint = f"name another one: {flag} PATH"
    try:
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            raise UsageError(f"{path} is no ordinary file", expected="a file that events are appended to", hint=hint)
        return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise UsageError(
            f"{path} can't be written: {exc.strerror}", expected="a file in a folder that is there", hint=hint
        ) from exc


class LineFile:
    """Appends what `lines_of` makes of an event. While the disk is full it waits for room."""

    def __init__(
        self,
        name: str,
        path: Path,
        lines_of: LinesOf = event_lines,
        *,
        write: Write = os.write,
    ) -> None:
        self.name = f"{name} {path}"
        self.again = LINES_AGAIN if lines_of is event_lines else SPANS_AGAIN
        self._fd = open_to_append(path, f"--{name}")
        self._lines_of = lines_of
        self._write = write
        self._room = Room()

    async def open(self) -> None:
        return

    async def send(self, recorded: Recorded) -> None:
        for line in await self._lines_of(recorded):
            await self._room.wait(lambda line=line: self._append(line))

    def _append(self, line: bytes) -> None:
        with locked(self._fd):
            append_line(self._fd, line, self._write)

    async def flush(self) -> None:
        return

    def trouble(self) -> str:
        return self._room.problem

    def interrupt(self) -> None:
        return

    async def aclose(self) -> None:
        os.close(self._fd)
