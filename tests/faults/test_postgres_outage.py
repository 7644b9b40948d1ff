"""The server goes away, at any moment and in any way: nothing acknowledged is lost, nothing is doubled, and the ledger goes on.

Bug class this catches: a commit whose answer was lost is taken for none, or for one; a follower that never hears again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator
from contextlib import suppress

import psycopg
import pytest

from cavalcade.kernel.errors import CavalcadeError, LedgerUnwritable, UsageError
from cavalcade.kernel.ids import StreamId
from cavalcade.ledger.postgres import PostgresLedger
from cavalcade.protocol.envelope import Recorded
from cavalcade.testing.clock import FakeClock, SeededEntropy
from cavalcade.testing.events import Drafts
from cavalcade.testing.ledger_conformance import take
from cavalcade.testing.postgres_server import PostgresServer, postgres_server

pytestmark = pytest.mark.faults

A, B = StreamId("run/a"), StreamId("run/b")


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.new_database()


@pytest.fixture
async def ledger(url: str) -> AsyncIterator[PostgresLedger]:
    ledger = opened(url)
    yield ledger
    await ledger.aclose()


@pytest.fixture
def drafts() -> Drafts:
    return Drafts(FakeClock(tick_s=0.001), SeededEntropy(11))


@pytest.fixture(scope="module")
def own_server() -> Generator[PostgresServer]:
    """One that may be killed, as durable as in production."""
    with postgres_server(durable=True) as server:
        yield server


def opened(url: str) -> PostgresLedger:
    return PostgresLedger(url, clock=FakeClock(), entropy=SeededEntropy(3))


def cut(url: str) -> None:
    """Every connection to the database ends, as when a network breaks."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


async def test_connections_lost_while_nobody_used_them_are_made_anew_unnoticed(
    url: str, ledger: PostgresLedger, drafts: Drafts
) -> None:
    first = await ledger.append(A, drafts.many(3))
    assert await ledger.read() == first
    for _ in range(3):
        await asyncio.to_thread(cut, url)
        assert await ledger.read() == first
        await asyncio.to_thread(cut, url)
        first += await ledger.append(A, drafts.many(1))
    assert await ledger.read() == first


@pytest.mark.parametrize("step", ["begun", "placed", "inserted"])
async def test_an_append_whose_connection_is_lost_says_so_and_is_safe_to_repeat(
    url: str, drafts: Drafts, step: str
) -> None:
    due = [step]

    def lose(reached: str) -> None:
        if due == [reached]:
            due.clear()
            cut(url)

    ledger = PostgresLedger(url, clock=FakeClock(), entropy=SeededEntropy(3), fault_point=lose)
    batch = drafts.many(3)
    with pytest.raises(LedgerUnwritable, match="can't be reached") as caught:
        await ledger.append(A, batch, expected_version=0)
    assert "was not is recorded once" in caught.value.hint
    assert await ledger.read() == []
    recorded = await ledger.append(A, batch, expected_version=0)
    assert await ledger.append(A, batch, expected_version=0) == recorded == await ledger.read()
    assert (await ledger.verify()).bad_position is None
    await ledger.aclose()


async def test_a_commit_whose_answer_is_lost_is_recorded_once_when_it_is_repeated(url: str, drafts: Drafts) -> None:
    """The server has committed, and nobody knows: the process dies before it hears."""
    batch = drafts.many(3)
    first = opened(url)
    recorded = await first.append(A, batch, expected_version=0)
    await first.aclose()
    second = opened(url)
    assert await second.append(A, batch, expected_version=0) == recorded
    assert await second.read() == recorded
    await second.aclose()


async def test_a_follower_whose_listener_is_cut_off_hears_all_the_same(
    url: str, ledger: PostgresLedger, drafts: Drafts
) -> None:
    other = opened(url)
    events = ledger.follow()
    heard: list[Recorded] = []
    for _ in range(5):
        waiting = asyncio.create_task(take(events, 2))
        await asyncio.sleep(0)
        await asyncio.to_thread(cut, url)
        await other.append(B, drafts.many(2))
        heard += await waiting
    assert heard == await other.read()
    await other.aclose()


async def test_a_killed_server_loses_nothing_that_was_acknowledged(own_server: PostgresServer) -> None:
    url = own_server.new_database()
    ledger = opened(url)
    acknowledged: list[Recorded] = []

    async def produce(producer: int, until: int) -> None:
        drafts = Drafts(FakeClock(tick_s=0.001), SeededEntropy(producer))
        with suppress(LedgerUnwritable):
            while True:
                acknowledged.extend(await ledger.append(StreamId(f"run/{producer}"), drafts.many(2)))
                if len(acknowledged) > until and producer % 100 == 3:
                    await asyncio.to_thread(own_server.kill)

    events = ledger.follow()
    following = asyncio.create_task(take(events, 1))
    for round_number in range(3):
        until = len(acknowledged) + 300 + round_number
        await asyncio.gather(*(produce(producer + 100 * round_number, until) for producer in range(7)))
        await asyncio.to_thread(own_server.start)
        there = {event.event.id: event for event in await ledger.read()}
        assert all(there[event.event.id] == event for event in acknowledged)
        assert (await ledger.verify()).bad_position is None
    last = await ledger.append(A, Drafts(FakeClock(), SeededEntropy(999)).many(1))
    everything = await ledger.read()
    assert everything[-1:] == last
    # The one who followed all the time has skipped nothing, and heard nothing twice.
    assert await following + await take(events, len(everything) - 1) == everything
    await ledger.aclose()


async def test_a_server_that_is_not_there_is_named_and_its_password_is_not(tmp_path: str) -> None:
    url = f"postgresql://ada:geheim%21@/books?host={tmp_path}"
    with pytest.raises(LedgerUnwritable, match="can't be reached") as caught:
        opened(url)
    assert str(tmp_path) in caught.value.what
    assert "ada@" in caught.value.what
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:ge@heim@localhost/books",
        "postgresql://ada:geheim@localhost:port/books",
        "postgresql://ada:geheim@localhost/books?nonsense=geheim",
        "postgresql://ada:geheim%zz@localhost/books",
        "mysql://ada:geheim@localhost/books",
        "geheim",
    ],
)
def test_an_address_that_is_none_is_refused_and_never_shown(url: str) -> None:
    with pytest.raises(CavalcadeError) as caught:
        opened(url)
    assert isinstance(caught.value, UsageError | LedgerUnwritable)
    assert "heim" not in str(caught.value)
    assert caught.value.hint


async def test_a_user_who_may_only_read_reads_and_is_told_when_appending(
    postgres: PostgresServer, url: str, drafts: Drafts
) -> None:
    ledger = opened(url)
    recorded = await ledger.append(A, drafts.many(2))
    await ledger.aclose()
    reader = opened(f"{url}&options=-c%20default_transaction_read_only%3Don")
    assert await reader.read() == recorded
    with pytest.raises(LedgerUnwritable, match="can't be written"):
        await reader.append(A, drafts.many(1))
    await reader.aclose()
