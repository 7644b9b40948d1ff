"""What leaves this ledger for another one. The ledger itself is the queue: an event is done when the receiver's ledger has committed it.

What the receiver says it holds decides at each connection, never what is remembered here: one that came back from a backup gets what it
lacks, one that is ahead of us or holds another history gets nothing. Doing a delivery twice, or two at once, changes nothing.

    heads ─► compare ─► [ sending ─► ingest ─► answered ─► mark ─► marked ] for each parcel
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from cavalcade.kernel.clock import Clock
from cavalcade.kernel.errors import ChainDiverged, LedgerError, SequenceGap
from cavalcade.kernel.ids import OriginId
from cavalcade.ledger.parcels import PARCEL_EVENTS, Parcel, parcels
from cavalcade.ledger.port import Ledger, OriginHead
from cavalcade.protocol.envelope import Sealed

OUTBOX_FAULT_POINTS = ("sending", "answered", "marked")
"""The steps of a parcel, in order. The outbox calls its `fault_point` argument with each name as it gets there."""
_CONNECTIONS = 3
"""How often one delivery asks anew where the receiver stands, when that lost what it had said it holds."""


class Receiver(Protocol):
    """The ledger that takes in, as seen from here. Every Ledger is one; transports bring others.

    Whatever a transport raises when it can't reach the other side, the same call may be made again.
    """

    async def heads(self) -> Mapping[OriginId, OriginHead]:
        """As `Ledger.heads`."""
        ...

    async def ingest(self, origin: OriginId, events: Sequence[Sealed]) -> OriginHead:
        """As `Ledger.ingest`: the answer says what is durable there."""
        ...


class Acknowledgement(NamedTuple):
    """How far one receiver holds one origin's chain, as it last said, at `time`."""

    receiver: str
    origin: OriginId
    head: OriginHead
    time: datetime


class Acknowledgements(Protocol):
    """Remembers what receivers said, for views; deliveries don't depend on it."""

    async def record(self, news: Sequence[Acknowledgement]) -> None:
        """Replaces what was known of the same receiver and origin."""
        ...

    async def all(self) -> list[Acknowledgement]:
        """By receiver, then origin."""
        ...


class Standing(NamedTuple):
    """`held` of an origin's events are here, `acknowledged` of them at the receiver."""

    receiver: str
    origin: OriginId
    held: int
    acknowledged: int
    time: datetime

    @property
    def waiting(self) -> int:
        return max(self.held - self.acknowledged, 0)


def _no_fault(_step: str) -> None:
    """Where tests put a crash, production does nothing."""


class Outbox:
    def __init__(
        self,
        ledger: Ledger,
        acknowledgements: Acknowledgements,
        clock: Clock,
        *,
        parcel_events: int = PARCEL_EVENTS,
        fault_point: Callable[[str], None] = _no_fault,
    ) -> None:
        """Sends at most `parcel_events` at once."""
        self._ledger = ledger
        self._acknowledgements = acknowledgements
        self._clock = clock
        self._parcel_events = parcel_events
        self._fault_point = fault_point

    async def deliver(self, name: str, receiver: Receiver) -> int:
        """Brings everything recorded here to the receiver called `name`; the number of events sent.

        Raises ChainDiverged, with nothing sent, when the receiver is ahead of us in our own chain or holds another history;
        LedgerError when it acknowledges what it wasn't given; whatever the receiver raises. What was acknowledged by then stays
        so; calling this again goes on.
        """
        sent = 0
        for connection in range(1, _CONNECTIONS + 1):
            held = await agree(self._ledger, receiver)
            await self._mark(name, {origin: head for origin, head in held.items() if head.seq})
            try:
                seqs = {origin: head.seq for origin, head in held.items()}
                async for parcel in parcels(self._ledger, seqs, size=self._parcel_events):
                    await self._send(name, receiver, parcel)
                    sent += len(parcel.events)
            except SequenceGap:
                if connection == _CONNECTIONS:
                    raise
            else:
                break
        return sent

    async def standing(self) -> list[Standing]:
        """For each receiver ever heard of and each origin held here: how much of it is acknowledged, as far as is known."""
        known = {(each.receiver, each.origin): each for each in await self._acknowledgements.all()}
        latest: dict[str, datetime] = {}
        for each in known.values():
            latest[each.receiver] = max(each.time, latest.get(each.receiver, each.time))
        heads = await self._ledger.heads()
        return [
            Standing(receiver, origin, head.seq, mine.head.seq if mine else 0, mine.time if mine else time)
            for receiver, time in latest.items()
            for origin, head in heads.items()
            for mine in (known.get((receiver, origin)),)
        ]

    async def _send(self, name: str, receiver: Receiver, parcel: Parcel) -> None:
        self._fault_point("sending")
        head = await receiver.ingest(parcel.origin, parcel.events)
        self._fault_point("answered")
        if head.seq < parcel.last:
            raise LedgerError(
                f"the receiver holds origin {parcel.origin} up to {head.seq}, after it was given up to {parcel.last}",
                expected="an answer that says what is durable there",
            )
        await check_same(self._ledger, parcel.origin, head)
        await self._mark(name, {parcel.origin: head})
        self._fault_point("marked")

    async def _mark(self, name: str, heads: Mapping[OriginId, OriginHead]) -> None:
        now = self._clock.now()
        await self._acknowledgements.record([Acknowledgement(name, *item, now) for item in heads.items()])


async def agree(ledger: Ledger, receiver: Receiver) -> Mapping[OriginId, OriginHead]:
    """Where the receiver stands in each chain that is held here (0 where it has none of it). Raises ChainDiverged.

    That it has more of somebody else's chain is no fault: it heard from them meanwhile.
    """
    theirs = await receiver.heads()
    # Asked second: ours only grow, so what the receiver has from us is in it.
    ours = await ledger.heads()
    for origin in (ledger.origin, *ours):
        if (head := theirs.get(origin)) is not None:
            await check_same(ledger, origin, head)
    return {origin: theirs.get(origin, OriginHead(0, "")) for origin in ours}


async def check_same(ledger: Ledger, origin: OriginId, head: OriginHead) -> None:
    """Raises ChainDiverged unless `head`, said by another ledger, lies on the chain that is held here."""
    if not head.seq:
        return
    here = await ledger.sealed(origin, after=head.seq - 1, limit=1)
    if not here:
        if origin != ledger.origin:
            return
        raise ChainDiverged(
            f"the other ledger holds {head.seq} events of this one, {origin}, which are not all here",
            expected="no more events than were ever recorded here",
            hint="this ledger was put back from an older copy: bring back the newer one; nothing was taken over",
        )
    if here[0].hash != head.hash:
        raise ChainDiverged(
            f"event {head.seq} of origin {origin} has hash {here[0].hash[:16]} here and {head.hash[:16]} in the other ledger",
            expected="one history of each origin",
            hint="one of the two was changed, or is a copy that went on by itself: `cavalcade verify` in both; nothing was taken over",
        )
