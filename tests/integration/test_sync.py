"""Two ledgers over loopback HTTP: what one has recorded arrives in the other, and what can't be right is refused with its reason."""

from __future__ import annotations

import asyncio
import http.client
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from cavalcade.kernel.errors import ChainDiverged, LedgerDamaged, LedgerError, SequenceGap, ServerGone
from cavalcade.kernel.ids import OriginId, StreamId
from cavalcade.ledger.memory import MemoryLedger
from cavalcade.ledger.outbox import Outbox
from cavalcade.ledger.parcels import PARCEL_BYTES, parcels
from cavalcade.ledger.port import Ledger, OriginHead
from cavalcade.ledger.sqlite import SqliteLedger
from cavalcade.ledger.sqlite_outbox import SqliteAcknowledgements
from cavalcade.protocol.envelope import Sealed
from cavalcade.testing.clock import FakeClock, SeededEntropy
from cavalcade.testing.events import Drafts
from cavalcade.testing.sync_http import HttpReceiver, SyncServer

ONE, TWO = StreamId("run/one"), StreamId("run/two")


def opened(path: Path, seed: int) -> SqliteLedger:
    return SqliteLedger(path, clock=FakeClock(), entropy=SeededEntropy(seed))


def an_outbox(ledger: Ledger, folder: Path) -> Outbox:
    return Outbox(ledger, SqliteAcknowledgements(folder / "outbox.sqlite3"), FakeClock(tick_s=1), parcel_events=4)


def drafts(seed: int = 7) -> Drafts:
    return Drafts(FakeClock(tick_s=0.001), SeededEntropy(seed))


class Counted:
    """A receiver that counts what it is asked."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.taken: list[tuple[OriginId, int]] = []

    async def heads(self) -> Mapping[OriginId, OriginHead]:
        return await self._ledger.heads()

    async def ingest(self, origin: OriginId, events: Sequence[Sealed]) -> OriginHead:
        self.taken.append((origin, len(events)))
        return await self._ledger.ingest(origin, events)


async def test_what_is_recorded_here_arrives_there_in_order_and_nothing_is_sent_twice(tmp_path: Path) -> None:
    here, there = opened(tmp_path / "here.db", 1), opened(tmp_path / "there.db", 2)
    outbox, make = an_outbox(here, tmp_path), drafts()
    with SyncServer(there, asyncio.get_running_loop()) as server:
        receiver = HttpReceiver(server.port)
        await here.append(ONE, make.many(9))
        assert await outbox.deliver("hub", receiver) == 9
        assert await outbox.deliver("hub", receiver) == 0
        await here.append(TWO, make.many(1))
        assert [each.waiting for each in await outbox.standing()] == [1]
        assert await outbox.deliver("hub", receiver) == 1
    assert [event.event for event in await there.read()] == [event.event for event in await here.read()]
    assert await there.heads() == await here.heads()
    assert (await there.verify()).bad_position is None
    (standing,) = await outbox.standing()
    assert (standing.receiver, standing.held, standing.acknowledged) == ("hub", 10, 10)
    await here.aclose()
    await there.aclose()


async def test_a_stream_that_two_wrote_to_arrives_in_the_order_in_which_it_was_seen(tmp_path: Path) -> None:
    here, other = MemoryLedger(entropy=SeededEntropy(1)), MemoryLedger(entropy=SeededEntropy(2))
    make = drafts()
    await here.append(ONE, make.many(2))
    await other.ingest(here.origin, await here.sealed(here.origin, limit=9))
    await other.append(ONE, make.many(2))
    await here.ingest(other.origin, await other.sealed(other.origin, limit=9))
    await here.append(ONE, make.many(1))
    third = MemoryLedger(entropy=SeededEntropy(3))
    counted = Counted(third)
    await an_outbox(here, tmp_path).deliver("third", counted)
    assert [event.event for event in await third.read(stream=ONE)] == [e.event for e in await here.read(stream=ONE)]
    assert counted.taken == [(here.origin, 2), (other.origin, 2), (here.origin, 1)]


async def test_a_receiver_put_back_from_a_backup_gets_what_it_lacks(tmp_path: Path) -> None:
    here, there = opened(tmp_path / "here.db", 1), opened(tmp_path / "there.db", 2)
    outbox, make = an_outbox(here, tmp_path), drafts()
    await here.append(ONE, make.many(3))
    await outbox.deliver("hub", there)
    await there.aclose()
    shutil.copytree(tmp_path, tmp_path / "backup")
    again = opened(tmp_path / "backup" / "there.db", 2)
    there = opened(tmp_path / "there.db", 2)
    await here.append(ONE, make.many(4))
    await outbox.deliver("hub", there)
    assert await outbox.deliver("hub", again) == 4
    assert await again.heads() == await there.heads() == await here.heads()
    for ledger in (here, there, again):
        await ledger.aclose()


async def test_a_receiver_ahead_of_us_gets_nothing(tmp_path: Path) -> None:
    newer = MemoryLedger(entropy=SeededEntropy(1))
    older = MemoryLedger(entropy=SeededEntropy(1))  # the same installation, put back from a backup
    make = drafts().many(3)
    await newer.append(ONE, make)
    await older.append(ONE, make[:2])
    hub = MemoryLedger(entropy=SeededEntropy(2))
    await an_outbox(newer, tmp_path).deliver("hub", hub)
    counted = Counted(hub)
    with pytest.raises(ChainDiverged, match="holds 3 events of this one"):
        await an_outbox(older, tmp_path).deliver("hub", counted)
    assert counted.taken == []


async def test_a_receiver_with_another_history_gets_nothing(tmp_path: Path) -> None:
    here, copy = MemoryLedger(entropy=SeededEntropy(1)), MemoryLedger(entropy=SeededEntropy(1))
    hub = MemoryLedger(entropy=SeededEntropy(2))
    await copy.append(ONE, drafts(8).many(2))
    await an_outbox(copy, tmp_path).deliver("hub", hub)
    await here.append(ONE, drafts(9).many(3))
    counted = Counted(hub)
    with pytest.raises(ChainDiverged, match="event 2 of origin") as caught:
        await an_outbox(here, tmp_path).deliver("hub", counted)
    assert "nothing was taken over" in caught.value.hint
    assert counted.taken == []


async def test_a_receiver_that_heard_more_of_somebody_else_is_no_trouble(tmp_path: Path) -> None:
    here, other, hub = (MemoryLedger(entropy=SeededEntropy(seed)) for seed in (1, 2, 3))
    await other.append(TWO, drafts(1).many(3))
    await here.ingest(other.origin, await other.sealed(other.origin, limit=1))
    await hub.ingest(other.origin, await other.sealed(other.origin, limit=9))
    await here.append(ONE, drafts(2).many(2))
    assert await an_outbox(here, tmp_path).deliver("hub", hub) == 2


async def test_a_receiver_that_claims_more_or_less_than_it_was_given_is_not_believed(tmp_path: Path) -> None:
    class Liar(Counted):
        async def ingest(self, origin: OriginId, events: Sequence[Sealed]) -> OriginHead:
            return OriginHead(len(events) - 1, "0" * 64)

    here = MemoryLedger(entropy=SeededEntropy(1))
    await here.append(ONE, drafts().many(3))
    outbox = an_outbox(here, tmp_path)
    with pytest.raises(LedgerError, match="up to 2, after it was given up to 3"):
        await outbox.deliver("hub", Liar(MemoryLedger(entropy=SeededEntropy(2))))
    assert await outbox.standing() == []


async def test_errors_cross_the_wire_as_problem_details_with_what_is_needed_to_go_on(tmp_path: Path) -> None:
    here, there = MemoryLedger(entropy=SeededEntropy(1)), MemoryLedger(entropy=SeededEntropy(2))
    await here.append(ONE, drafts().many(5))
    chain = await here.sealed(here.origin, limit=9)
    with SyncServer(there, asyncio.get_running_loop()) as server:
        receiver = HttpReceiver(server.port)
        assert await receiver.ingest(here.origin, chain[:2]) == OriginHead(2, chain[1].hash)
        with pytest.raises(SequenceGap) as gap:
            await receiver.ingest(here.origin, chain[3:])
        assert gap.value.next_seq == 3
        with pytest.raises(ChainDiverged) as diverged:
            await receiver.ingest(there.origin, chain[2:3])
        assert diverged.value.hint
        for method, path in (("POST", f"/origins/{here.origin}"), ("POST", "/origins"), ("GET", "/nowhere")):
            status, kind, problem = await asyncio.to_thread(answer, server.port, method, path)
            assert (status, kind, problem["code"]) == (400, "application/problem+json", "usage")
    assert len(await there.read()) == 2


def answer(port: int, method: str, path: str) -> tuple[int, str | None, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request(method, path, b'{"hash": 1}\n')
    response = connection.getresponse()
    found = response.status, response.getheader("Content-Type"), json.loads(response.read())
    connection.close()
    return found


async def test_a_receiver_that_is_away_changes_nothing(tmp_path: Path) -> None:
    here = MemoryLedger(entropy=SeededEntropy(1))
    await here.append(ONE, drafts().many(2))
    with SyncServer(here, asyncio.get_running_loop()) as server:
        port = server.port
    outbox = an_outbox(here, tmp_path)
    with pytest.raises(ServerGone):
        await outbox.deliver("hub", HttpReceiver(port))
    assert await outbox.standing() == []


async def test_what_was_acknowledged_is_known_again_when_its_file_was_damaged_and_removed(tmp_path: Path) -> None:
    here, hub = MemoryLedger(entropy=SeededEntropy(1)), MemoryLedger(entropy=SeededEntropy(2))
    await here.append(ONE, drafts().many(5))
    await an_outbox(here, tmp_path).deliver("hub", hub)
    file = tmp_path / "outbox.sqlite3"
    file.write_bytes(b"garbage " * 1000)
    with pytest.raises(LedgerDamaged, match="damaged") as caught:
        await an_outbox(here, tmp_path).deliver("hub", hub)
    assert f"remove {file}" in caught.value.hint
    file.unlink()
    assert await an_outbox(here, tmp_path).deliver("hub", hub) == 0
    assert [(each.held, each.waiting) for each in await an_outbox(here, tmp_path).standing()] == [(5, 0)]


async def test_parcels_are_bounded_in_events_and_in_bytes() -> None:
    here = MemoryLedger(entropy=SeededEntropy(1))
    make = drafts()
    for _ in range(5):
        await here.append(ONE, [make.one("x" * 15_000) for _ in range(50)])
    found = [parcel async for parcel in parcels(here, {})]
    assert [event.hash for parcel in found for event in parcel.events] == [event.hash for event in await here.read()]
    assert all(sum(len(event.body) for event in parcel.events) <= PARCEL_BYTES + 16_384 for parcel in found)
    assert [parcel.first for parcel in found] == [1, *(parcel.last + 1 for parcel in found[:-1])]
