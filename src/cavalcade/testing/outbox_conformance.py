"""Every ledger can send and receive, as one suite; a part of `ledger_conformance.LedgerConformance`."""

from __future__ import annotations

from pathlib import Path

import pytest

from cavalcade.kernel.errors import ChainDiverged
from cavalcade.kernel.ids import StreamId
from cavalcade.ledger.memory import MemoryLedger
from cavalcade.ledger.outbox import Outbox
from cavalcade.ledger.port import Ledger
from cavalcade.ledger.sqlite_outbox import SqliteAcknowledgements
from cavalcade.testing.clock import FakeClock, SeededEntropy
from cavalcade.testing.events import Drafts

ONE, TWO = StreamId("run/one"), StreamId("run/two")


async def order_of(ledger: Ledger) -> list[tuple[str, str, int, str]]:
    return [(event.event.id, event.stream, event.version, event.hash) for event in await ledger.read()]


class OutboxConformance:
    """Subclasses give an empty, open ledger by a fixture named `ledger`, and `drafts`."""

    async def test_its_events_and_those_it_took_in_arrive_elsewhere_in_its_order_and_once(
        self, ledger: Ledger, drafts: Drafts, tmp_path: Path
    ) -> None:
        outbox = Outbox(ledger, SqliteAcknowledgements(tmp_path / "outbox.db"), FakeClock(), parcel_events=3)
        other, hub = MemoryLedger(entropy=SeededEntropy(77)), MemoryLedger(entropy=SeededEntropy(78))
        for count in (2, 5, 4):
            await ledger.append(ONE, drafts.many(count))
            taken = (await ledger.heads()).get(other.origin)
            await other.append(ONE if count == 5 else TWO, drafts.many(3))
            await ledger.ingest(
                other.origin, await other.sealed(other.origin, after=taken.seq if taken else 0, limit=9)
            )
            assert await outbox.deliver("hub", hub) == count + 3
            assert await order_of(hub) == await order_of(ledger)
        assert await outbox.deliver("hub", hub) == 0
        assert [(each.held, each.waiting) for each in await outbox.standing()] == [(11, 0), (9, 0)]

    async def test_it_takes_in_what_an_outbox_sends_and_refuses_another_history(
        self, ledger: Ledger, drafts: Drafts, tmp_path: Path
    ) -> None:
        here, copy = MemoryLedger(entropy=SeededEntropy(77)), MemoryLedger(entropy=SeededEntropy(77))
        first = drafts.many(300)
        for sender in (here, copy):
            await sender.append(ONE, first)
        marks = SqliteAcknowledgements(tmp_path / "outbox.db")
        assert await Outbox(here, marks, FakeClock()).deliver("store", ledger) == 300
        await here.append(ONE, drafts.many(2))
        await copy.append(ONE, drafts.many(3))
        assert await Outbox(here, marks, FakeClock()).deliver("store", ledger) == 2
        with pytest.raises(ChainDiverged):
            await Outbox(copy, marks, FakeClock()).deliver("store", ledger)
        assert await order_of(ledger) == await order_of(here)
        assert (await ledger.verify()).bad_position is None
