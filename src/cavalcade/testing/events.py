"""Drafts for tests of stores: real envelopes whose data means nothing."""

from __future__ import annotations

from datetime import datetime

import msgspec

from cavalcade.kernel.clock import Clock
from cavalcade.kernel.entropy import Entropy
from cavalcade.kernel.ids import EventId, new_event_id
from cavalcade.protocol.envelope import Draft


class Drafts:
    """Makes drafts with ids and times from a clock and entropy: the same two, the same drafts."""

    def __init__(self, clock: Clock, entropy: Entropy) -> None:
        self._clock = clock
        self._entropy = entropy

    def one(self, note: str = "", *, id: EventId | None = None, time: datetime | None = None) -> Draft:
        return Draft(
            id=id or new_event_id(self._clock, self._entropy),
            type="cavalcade.note.taken.v1",
            time=time or self._clock.now(),
            data=msgspec.Raw(msgspec.json.encode({"note": note})),
        )

    def many(self, count: int) -> list[Draft]:
        return [self.one(str(number)) for number in range(count)]
