"""What other rooms may ask of a ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from cavalcade.kernel.ids import EventId, StreamId
from cavalcade.protocol.envelope import Draft, Recorded


class Verification(NamedTuple):
    """`bad_position` is None when the chain is whole; `problem` says what is wrong there."""

    events: int
    bad_position: int | None
    problem: str
    head: str


class Ledger(Protocol):
    async def append(
        self, stream: StreamId, events: Sequence[Draft], *, expected_version: int | None = None
    ) -> list[Recorded]:
        """All of them or none, durable when this returns.

        With `expected_version` the stream must be exactly there (0: empty). Events whose ids are already recorded in this stream
        are returned as they were recorded; a batch is either wholly new or wholly known. Raises VersionConflict,
        LedgerUnwritable, LedgerDamaged.
        """
        ...

    async def read(
        self, *, stream: StreamId | None = None, after: int = 0, limit: int | None = None
    ) -> list[Recorded]:
        """Events in order of position, `after` excluded."""
        ...

    async def version(self, stream: StreamId) -> int: ...

    async def find(self, event: EventId) -> Recorded | None: ...

    async def streams(self, prefix: str = "") -> list[StreamId]:
        """In order of their first event."""
        ...

    def follow(self, *, stream: StreamId | None = None, after: int = 0) -> AsyncIterator[Recorded]:
        """Every event after a position, then each new one as it becomes durable, none skipped; also those of other processes."""
        ...

    async def at(self, moment: datetime, *, stream: StreamId | None = None) -> int:
        """Position of the last event recorded at or before a moment; 0 when there is none. Raises ValueError without a zone."""
        ...

    async def verify(self) -> Verification:
        """Reads the whole chain and names the first bad position."""
        ...

    async def aclose(self) -> None: ...
