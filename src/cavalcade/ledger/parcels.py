"""A ledger's events on their way to another one: which are still to go, in which order, in what portions.

Events travel in the order of our positions, over all origins: two installations may have written to one stream, and the next one has to
see their events in the order that we saw. A parcel holds consecutive events of one origin, so that it can be taken in whole or not at all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import NamedTuple

from cavalcade.kernel.errors import LedgerDamaged
from cavalcade.kernel.ids import OriginId
from cavalcade.ledger import chain
from cavalcade.ledger.port import Ledger
from cavalcade.protocol.envelope import Recorded, Sealed

PARCEL_EVENTS = 256
PARCEL_BYTES = 1 << 20
"""A parcel is closed at this size; one event has at most 1 MiB."""


class Parcel(NamedTuple):
    """Consecutive events of one origin; `first` is the sequence number of the first, `position` ours of the last."""

    origin: OriginId
    first: int
    events: list[Sealed]
    position: int

    @property
    def last(self) -> int:
        return self.first + len(self.events) - 1


async def parcels(
    ledger: Ledger, held: Mapping[OriginId, int], *, upto: int | None = None, size: int = PARCEL_EVENTS
) -> AsyncIterator[Parcel]:
    """Every event whose sequence number is beyond what is `held` of its origin, up to position `upto`; also those recorded meanwhile.

    At most `size` events in each, and only as many in memory, however long the ledger is. Raises what reading a ledger raises.
    """
    position = await _first_missing(ledger, held)
    while page := await ledger.read(after=position, limit=size):
        position = page[-1].position
        wanted = [event for event in page if event.originseq > held.get(event.origin, 0)]
        texts = await _sealed(ledger, wanted)
        for parcel in _grouped([event for event in wanted if upto is None or event.position <= upto], texts):
            yield parcel
        if upto is not None and position >= upto:
            return


async def _first_missing(ledger: Ledger, held: Mapping[OriginId, int]) -> int:
    """The position before the first event that isn't held."""
    first: list[int] = []
    for origin, head in (await ledger.heads()).items():
        if (after := held.get(origin, 0)) < head.seq:
            (next_one,) = await ledger.sealed(origin, after=after, limit=1)
            recorded = await ledger.find(chain.parse_body(next_one.body.encode()).event.id)
            if recorded is None:
                raise LedgerDamaged(f"event {after + 1} of origin {origin} is not where its id says")
            first.append(recorded.position)
    # Of an origin that comes to us only now nothing is held, and it stands behind all others.
    return min(first, default=1) - 1


async def _sealed(ledger: Ledger, wanted: Sequence[Recorded]) -> dict[str, Sealed]:
    """By hash. The events of one origin on a page follow one another in its chain."""
    firsts: dict[OriginId, Recorded] = {}
    lasts: dict[OriginId, Recorded] = {}
    for event in wanted:
        firsts.setdefault(event.origin, event)
        lasts[event.origin] = event
    found: dict[str, Sealed] = {}
    for origin, first in firsts.items():
        count = lasts[origin].originseq - first.originseq + 1
        for sealed in await ledger.sealed(origin, after=first.originseq - 1, limit=count):
            found[sealed.hash] = sealed
    return found


def _grouped(events: Sequence[Recorded], texts: Mapping[str, Sealed]) -> Iterator[Parcel]:
    group: list[Sealed] = []
    size = 0
    for index, event in enumerate(events):
        sealed = texts[event.hash]
        group.append(sealed)
        size += len(sealed.body)
        after = events[index + 1] if index + 1 < len(events) else None
        if after is None or after.origin != event.origin or size >= PARCEL_BYTES:
            yield Parcel(event.origin, event.originseq - len(group) + 1, group, event.position)
            group, size = [], 0
