"""A bad line between two ledgers: requests that are lost, doubled, late or out of order, answers that never come or are old.

Bug classes this catches: an event lost, taken in twice or out of order; a receiver that is believed to hold what it doesn't.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from cavalcade.kernel.errors import LedgerError, ServerGone
from cavalcade.kernel.ids import OriginId, StreamId
from cavalcade.ledger.memory import MemoryLedger
from cavalcade.ledger.outbox import Outbox
from cavalcade.ledger.port import Ledger, OriginHead
from cavalcade.ledger.sqlite_outbox import SqliteAcknowledgements
from cavalcade.protocol.envelope import Sealed
from cavalcade.testing.clock import FakeClock, SeededEntropy
from cavalcade.testing.events import Drafts

FATES = ("arrives", "lost", "unanswered", "doubled", "late", "after the late ones")
STREAMS = (StreamId("run/one"), StreamId("run/two"))
Step = tuple[str, int]


class BadLine:
    """A receiver reached over a line that does with each request what its script says, and behaves when that is used up."""

    def __init__(self, ledger: Ledger, script: Sequence[str]) -> None:
        self._ledger = ledger
        self._script = list(reversed(script))
        self._late: list[tuple[OriginId, Sequence[Sealed]]] = []
        self._old: Mapping[OriginId, OriginHead] = {}

    @property
    def behaves(self) -> bool:
        return not self._script

    async def heads(self) -> Mapping[OriginId, OriginHead]:
        fate = self._next()
        if fate == "lost":
            raise ServerGone("nobody answers")
        now = await self._ledger.heads()
        answer = self._old if fate == "late" else now
        self._old = now
        return answer

    async def ingest(self, origin: OriginId, events: Sequence[Sealed]) -> OriginHead:
        match self._next():
            case "lost":
                raise ServerGone("nobody answers")
            case "late":
                self._late.append((origin, events))
                raise ServerGone("nobody answers")
            case "unanswered":
                await self._ledger.ingest(origin, events)
                raise ServerGone("nobody answers")
            case "doubled":
                await self._ledger.ingest(origin, events)
            case "after the late ones":
                await self.deliver_late()
            case _:
                pass
        return await self._ledger.ingest(origin, events)

    async def deliver_late(self) -> None:
        """The last one first."""
        while self._late:
            try:
                await self._ledger.ingest(*self._late.pop())
            except LedgerError:
                continue  # a gap: refused, as it should be

    def _next(self) -> str:
        return self._script.pop() if self._script else "arrives"


async def order_of(ledger: Ledger) -> list[tuple[str, str, int]]:
    return [(event.event.id, event.stream, event.version) for event in await ledger.read()]


async def two_origins(steps: Sequence[Step]) -> tuple[MemoryLedger, MemoryLedger]:
    """The sender, and another installation whose events it takes in between its own; both write to the same streams."""
    here, there = MemoryLedger(entropy=SeededEntropy(1)), MemoryLedger(entropy=SeededEntropy(2))
    drafts = Drafts(FakeClock(tick_s=0.001), SeededEntropy(3))
    for who, count in steps:
        await (here if who == "here" else there).append(STREAMS[count % 2], drafts.many(count))
        if who == "there":
            held = (await here.heads()).get(there.origin, OriginHead(0, "")).seq
            await here.ingest(there.origin, await there.sealed(there.origin, after=held, limit=100))
    return here, there


@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(st.tuples(st.sampled_from(("here", "there")), st.integers(1, 4)), min_size=1, max_size=6),
    later=st.lists(st.integers(1, 3), max_size=2),
    script=st.lists(st.sampled_from(FATES), max_size=12),
    size=st.integers(1, 5),
)
def test_however_bad_the_line_is_the_receiver_ends_with_the_same_events_in_the_same_order(
    steps: list[Step], later: list[int], script: list[str], size: int
) -> None:
    asyncio.run(deliver_over(steps, later, script, size))


async def deliver_over(steps: list[Step], later: list[int], script: list[str], size: int) -> None:
    here, _ = await two_origins(steps)
    receiver = MemoryLedger(entropy=SeededEntropy(4))
    line = BadLine(receiver, script)
    more = Drafts(FakeClock(tick_s=0.001), SeededEntropy(5))
    with TemporaryDirectory() as folder:
        marks = SqliteAcknowledgements(Path(folder, "outbox.sqlite3"))
        outbox = Outbox(here, marks, FakeClock(tick_s=1), parcel_events=size)
        for _ in range(2 * len(script) + len(later) + 1):
            try:
                await outbox.deliver("hub", line)
            except ServerGone:
                continue
            if later:
                await here.append(STREAMS[0], more.many(later.pop()))
            elif line.behaves:
                break
        await line.deliver_late()
        assert await order_of(receiver) == await order_of(here)
        assert (await receiver.verify()).bad_position is None
        assert dict(await receiver.heads()) == dict(await here.heads())
        assert [each.waiting for each in await outbox.standing()] == [0] * len(await here.heads())
