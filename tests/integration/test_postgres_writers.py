"""Several writers on one PostgreSQL ledger: positions become visible in order, so who follows skips nothing.

Bug class this catches: sequence numbers that are drawn in one order and committed in another, and a follower that
remembers the last it saw.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
from projects import wait_until

from cavalcade.kernel.errors import Busy, LedgerError, LedgerUnwritable
from cavalcade.kernel.ids import StreamId
from cavalcade.ledger.postgres import PostgresLedger
from cavalcade.protocol.envelope import Recorded
from cavalcade.testing.clock import FakeClock, SeededEntropy
from cavalcade.testing.events import Drafts
from cavalcade.testing.ledger_conformance import take
from cavalcade.testing.postgres_server import PostgresServer

CHILD = Path(__file__).parent.parent / "faults" / "postgres_child.py"
A, B = StreamId("run/a"), StreamId("run/b")


class Hold:
    """A fault point that stops the first commit which reaches its step, until it is let go."""

    def __init__(self, step: str) -> None:
        self.step = step
        self.reached = threading.Event()
        self.released = threading.Event()

    def __call__(self, step: str) -> None:
        if step == self.step and not self.reached.is_set():
            self.reached.set()
            assert self.released.wait(60)


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.new_database()


@pytest.fixture
async def ledger(url: str) -> AsyncIterator[PostgresLedger]:
    ledger = PostgresLedger(url, clock=FakeClock(), entropy=SeededEntropy(3))
    yield ledger
    await ledger.aclose()


@pytest.fixture
def drafts() -> Drafts:
    return Drafts(FakeClock(tick_s=0.001), SeededEntropy(11))


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, str(CHILD), *arguments], stdout=subprocess.PIPE, text=True)


def somebody_waits(url: str) -> bool:
    """For a lock that another transaction has."""
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone() is not None


def cut(url: str, where: str = "true") -> None:
    """Ends the server's side of connections to this database, as a broken network does."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            f"WHERE datname = current_database() AND pid <> pg_backend_pid() AND {where}".encode()
        )


@pytest.mark.parametrize("step", ["begun", "placed", "inserted"])
async def test_what_others_append_beside_an_open_transaction_is_neither_skipped_nor_out_of_order(
    url: str, ledger: PostgresLedger, drafts: Drafts, step: str
) -> None:
    """The first writer has drawn its positions and stands still before its commit."""
    hold = Hold(step)
    slow = PostgresLedger(url, clock=FakeClock(), entropy=SeededEntropy(4), fault_point=hold)
    events = ledger.follow()
    before = await ledger.append(A, drafts.many(3))
    assert await take(events, 3) == before
    held = asyncio.create_task(slow.append(A, drafts.many(2)))
    await asyncio.to_thread(hold.reached.wait)
    others = asyncio.gather(*(ledger.append(B, drafts.many(2)) for _ in range(5)))
    await asyncio.to_thread(wait_until, lambda: somebody_waits(url), "the others waiting for their turn")
    # Nobody sees a position above those that are still to come.
    assert await ledger.read() == await slow.read() == before
    hold.released.set()
    late, after = await held, await others
    heard = await take(events, 12)
    assert heard == [*late, *sorted((event for batch in after for event in batch), key=lambda event: event.position)]
    assert [event.position for event in before + heard] == list(range(1, 16))
    assert before + heard == await slow.read()
    assert (await ledger.verify()).bad_position is None
    await slow.aclose()


async def test_the_positions_of_a_transaction_that_was_cut_off_are_given_to_others(
    url: str, ledger: PostgresLedger, drafts: Drafts
) -> None:
    hold = Hold("inserted")
    cut_off = PostgresLedger(url, clock=FakeClock(), entropy=SeededEntropy(4), fault_point=hold)
    events = ledger.follow()
    lost = drafts.many(2)
    held = asyncio.create_task(cut_off.append(A, lost))
    await asyncio.to_thread(hold.reached.wait)
    other = asyncio.create_task(ledger.append(B, drafts.many(2)))
    await asyncio.to_thread(wait_until, lambda: somebody_waits(url), "the other waiting for its turn")
    cut(url, "state = 'idle in transaction'")
    recorded = await other
    hold.released.set()
    with pytest.raises(LedgerUnwritable, match="can't be reached"):
        await held
    again = await cut_off.append(A, lost)
    assert await take(events, 4) == recorded + again
    assert [event.position for event in recorded + again] == [1, 2, 3, 4]
    await cut_off.aclose()


async def test_a_writer_that_stands_still_loses_its_turn_and_records_once_when_it_goes_on(
    url: str, ledger: PostgresLedger, drafts: Drafts
) -> None:
    child = start("freeze", url)
    await asyncio.to_thread(os.waitpid, child.pid, os.WUNTRACED)
    events = ledger.follow()
    recorded = await ledger.append(A, drafts.many(3))
    child.send_signal(signal.SIGCONT)
    output, _ = await asyncio.to_thread(child.communicate)
    assert child.returncode == 0
    heard = await take(events, 6)
    assert heard[:3] == recorded
    assert [event.event.id for event in heard[3:]] == output.split()
    assert heard == await ledger.read()


async def test_processes_that_append_together_make_one_chain_and_a_follower_hears_all(url: str) -> None:
    count, batch, producers = 15, 3, 5
    total = 4 * count * batch * producers
    # The schema itself is begun by whichever process comes first.
    children = [start("append", url, str(seed), str(count)) for seed in (1, 2, 3, 4)]
    ledger = PostgresLedger(url, clock=FakeClock(), entropy=SeededEntropy(9))
    heard = await take(ledger.follow(), total)
    acknowledged: list[str] = []
    for child in children:
        output, _ = await asyncio.to_thread(child.communicate)
        acknowledged += output.split()
        assert child.returncode == 0
    assert [event.position for event in heard] == list(range(1, total + 1))
    assert Counter(event.event.id for event in heard) == Counter(acknowledged)
    assert {event.origin for event in heard} == {ledger.origin}
    versions: dict[StreamId, list[int]] = {}
    for event in heard:
        versions.setdefault(event.stream, []).append(event.version)
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in versions.values())
    assert (await ledger.verify()).bad_position is None
    await ledger.aclose()


async def test_who_waits_too_long_for_a_turn_is_told_and_can_try_again(url: str, drafts: Drafts) -> None:
    ledger = PostgresLedger(url, clock=FakeClock(), entropy=SeededEntropy(3), busy_timeout_s=0.2)
    batch = drafts.many(2)
    with psycopg.connect(url) as other:
        other.execute("SELECT FROM cavalcade.head FOR UPDATE")
        with pytest.raises(Busy, match="another process"):
            await ledger.append(A, batch)
    recorded = await ledger.append(A, batch)
    assert recorded == await ledger.read()
    await ledger.aclose()


async def test_an_id_is_taken_for_every_tenant_and_tenants_lie_in_partitions_of_their_own(
    url: str, ledger: PostgresLedger, drafts: Drafts
) -> None:
    recorded: list[Recorded] = []
    for number in range(40):
        draft = drafts.one(str(number), tenant=f"tenant-{number}")
        recorded += await ledger.append(StreamId(f"run/{number % 3}"), [draft])
    with pytest.raises(LedgerError, match="already recorded"):
        await ledger.append(A, [drafts.one("other", id=recorded[0].event.id, tenant="tenant-7")])
    assert await ledger.read() == recorded
    assert await ledger.find(recorded[5].event.id) == recorded[5]
    with psycopg.connect(url) as connection:
        partitions = "SELECT count(DISTINCT tableoid), count(DISTINCT tenant) FROM cavalcade.events"
        used, tenants = connection.execute(partitions).fetchone() or (0, 0)
    assert tenants == 40
    assert 8 < used <= 16
    assert (await ledger.verify()).bad_position is None
