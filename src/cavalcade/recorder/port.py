"""What the recorder needs from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from cavalcade.domain.run import Command, RunState
from cavalcade.kernel.ids import EventId, RunId
from cavalcade.protocol.events import MessageRecorded, RecordingStarted, ToolAnswered, ToolCalled

Entry = MessageRecorded | ToolCalled | ToolAnswered
"""One thing said or done in a conversation with a program."""


class Journal(Protocol):
    """Where a recording's events go: one run's stream, by the rules of runs."""

    def new_event_id(self) -> EventId: ...

    async def record(self, run: RunId, recording: RecordingStarted) -> RunState:
        """The first event. Raises LedgerError."""
        ...

    async def load(self, run: RunId) -> RunState:
        """Raises NotRecorded."""
        ...

    async def execute(
        self, run: RunId, command: Command, *, event: EventId | None = None, at: datetime | None = None
    ) -> RunState:
        """Raises Refused, LedgerError. Asked again with the same `event` after LedgerUnwritable it records nothing twice."""
        ...


class Program(NamedTuple):
    """What a session reader is told: `top` is the folder that is recorded, `folder` where in it the program was started, `home` the
    person's own, `started` just before it was, `environ` what the program sees."""

    command: tuple[str, ...]
    top: Path
    folder: Path
    home: Path
    started: datetime
    environ: Mapping[str, str]


class Said(NamedTuple):
    at: datetime
    entry: Entry


class Session(Protocol):
    """Follows what one started program writes down of its conversations. Called by one thread at a time, not the event loop's."""

    @property
    def program(self) -> str:
        """Its name, for the record: `claude`, `codex` ..."""
        ...

    @property
    def left_out(self) -> int:
        """Records so far that were not understood."""
        ...

    def news(self) -> Sequence[Said]:
        """What was written since the last call, in order, each entry once. Never raises for what it can't read: that is left out."""
        ...


class Sessions(Protocol):
    """The programs whose session files are known."""

    def open(self, program: Program) -> Session | None:
        """None when it is none of them. Called before the program starts; its files need not be there yet."""
        ...


class NoSessions:
    """Knows no program."""

    def open(self, program: Program) -> Session | None:
        del program
