"""What other rooms may ask of a ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from cavalcade.kernel.ids import EventId, OriginId, StreamId
from cavalcade.protocol.envelope import Draft, Recorded, Sealed


class SignedHead(NamedTuple):
    """What an origin has signed: its public key in hexadecimal, the number of its signatures, and of the last one the sequence number
    signed and the position it stands at."""

    origin: OriginId
    key: str
    signatures: int
    seq: int
    position: int


class Verification(NamedTuple):
    """What a walk over the whole chain found.

    `bad_position` is None when it is whole, else the first bad position, and `problem` says what is wrong there (position 0: what is
    wrong has no position, such as a damaged index). `events` is the number of good events before it, `head` the hash of the last
    of them (64 zeros: none), `signed` the signed heads among them by origin.
    """

    events: int
    bad_position: int | None
    problem: str
    head: str
    signed: tuple[SignedHead, ...] = ()


class OriginHead(NamedTuple):
    """How far one origin's chain is held: sequence number and hash of its last event."""

    seq: int
    hash: str


class Ledger(Protocol):
    @property
    def origin(self) -> OriginId:
        """Who writes here: the owner of the chain that appended events continue."""
        ...

    async def append(
        self, stream: StreamId, events: Sequence[Draft], *, expected_version: int | None = None
    ) -> list[Recorded]:
        """All of them or none, durable when this returns.

        With `expected_version` the stream must be exactly there (0: empty). Events whose ids are already recorded in this stream
        are returned as they were recorded, whatever `expected_version` says; a batch is either wholly new or wholly known.

        Raises VersionConflict (also for a batch known in part); LedgerError for an event that can't be recorded (over 1 MiB, no zone,
        data no JSON object), for an id given twice or already taken by another event; LedgerUnwritable when nothing was recorded for
        want of room or rights; LedgerDamaged; Busy when another process holds the ledger. After LedgerUnwritable, Busy or a
        cancellation, appending the same events again is safe.
        """
        ...

    async def read(self, *, stream: StreamId | None = None, after: int = 0, limit: int | None = None) -> list[Recorded]:
        """Events in order of position, `after` excluded. Raises LedgerDamaged at one whose hash is wrong."""
        ...

    async def version(self, stream: StreamId) -> int:
        """Number of events in a stream, 0 when there is none by that name."""
        ...

    async def find(self, event: EventId) -> Recorded | None: ...

    async def streams(self, prefix: str = "") -> list[StreamId]:
        """In order of their first event."""
        ...

    def follow(self, *, stream: StreamId | None = None, after: int = 0) -> AsyncIterator[Recorded]:
        """Every event after a position, then each new one as it becomes durable, none skipped; also those of other processes.

        Ends when the ledger is closed.
        """
        ...

    async def at(self, moment: datetime, *, stream: StreamId | None = None) -> int:
        """The greatest position whose event's time is at or before a moment; 0 when there is none.

        Times come from the clocks of those who made the events and may go back. Then an event with a later time may stand before the
        answer, but none at or before the moment stands after it. Raises ValueError for a moment without a zone.
        """
        ...

    async def heads(self) -> Mapping[OriginId, OriginHead]:
        """Every origin with at least one event here, in the order of their first."""
        ...

    async def sealed(self, origin: OriginId, *, after: int = 0, limit: int) -> list[Sealed]:
        """One origin's chain beyond sequence number `after`, in order: what another ledger takes in."""
        ...

    async def ingest(self, origin: OriginId, events: Sequence[Sealed]) -> OriginHead:
        """Takes in the next part of another origin's chain: all of it or nothing, durable when this returns; where the chain stands then.

        Idempotent: events already held are compared and passed over. `version` in their bodies is their place in the stream at the
        origin; here they get the next place of the stream, so that versions stay dense.

        Raises SequenceGap naming the first sequence number that is missing; ChainDiverged for another event at a place that is taken,
        a wrong hash, an event id that another event has, a wrong signed head or one by another key than before, and for events that claim
        to continue this ledger's own chain;
        what `append` raises for a store that can't be written.
        """
        ...

    async def verify(self, *, keys: Collection[str] = ()) -> Verification:
        """Reads the whole chain and names the first bad position, also that of a wrong signature.

        Without `keys` each origin's first key is trusted and may not change. With `keys`, public ones in hexadecimal, every signed head
        must be by one of them, and there must be one of this ledger's origin.
        """
        ...

    async def aclose(self) -> None:
        """What was submitted is recorded, followers end. Afterwards every other call raises LedgerError."""
        ...
