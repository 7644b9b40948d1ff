"""Events for tests of stores: real envelopes whose data means nothing, and chains of origins that need no ledger."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec

from cavalcade.kernel.clock import Clock
from cavalcade.kernel.entropy import Entropy
from cavalcade.kernel.ids import EventId, OriginId, StreamId, new_event_id
from cavalcade.ledger.chain import body_text, json_text, link
from cavalcade.ledger.port import OriginHead
from cavalcade.ledger.sealing import NOTHING
from cavalcade.protocol.envelope import Draft, Sealed


class Drafts:
    """Makes drafts with ids and times from a clock and entropy: the same two, the same drafts."""

    def __init__(self, clock: Clock, entropy: Entropy) -> None:
        self._clock = clock
        self._entropy = entropy

    def one(
        self, note: str = "", *, id: EventId | None = None, time: datetime | None = None, tenant: str = ""
    ) -> Draft:
        return Draft(
            id=id or new_event_id(self._clock, self._entropy),
            type="cavalcade.note.taken.v1",
            time=time or self._clock.now(),
            data=msgspec.Raw(msgspec.json.encode({"note": note})),
            tenant=tenant,
        )

    def many(self, count: int) -> list[Draft]:
        return [self.one(str(number)) for number in range(count)]


def seal(
    origin: OriginId, events: Iterable[tuple[StreamId, int, Draft]], *, after: OriginHead = NOTHING
) -> list[Sealed]:
    """Events with their streams and versions as the chain of an origin, right by its hashes and by nothing else."""
    seq, prevhash = after
    sealed: list[Sealed] = []
    for stream, version, draft in events:
        seq += 1
        body = body_text(json_text(origin), seq, json_text(stream), version, msgspec.json.encode(draft).decode())
        prevhash = link(prevhash, body).hex()
        sealed.append(Sealed(hash=prevhash, body=body))
    return sealed
