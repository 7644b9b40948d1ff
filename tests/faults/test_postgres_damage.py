"""Bug class this catches: a PostgreSQL ledger that shortens, reorders or changes history and says nothing.

Each kind of damage is done with SQL. Opening refuses what a quick look can find, `verify` names the first bad position of the rest, reading
never returns a changed event and never passes over a missing one.
"""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from cavalcade.kernel.errors import LedgerDamaged, LedgerError
from cavalcade.kernel.ids import OriginId, StreamId
from cavalcade.ledger import chain
from cavalcade.ledger.postgres import PostgresLedger, verify_url
from cavalcade.ledger.postgres_database import Connection
from cavalcade.testing.clock import FakeClock, SeededEntropy
from cavalcade.testing.events import Drafts, seal
from cavalcade.testing.postgres_server import PostgresServer

pytestmark = pytest.mark.faults

EVENTS = 600
"""More than two segments of moments and the tail that is looked at when opening; an own chain and another one."""
MIDDLE = 120


def opened(url: str) -> PostgresLedger:
    return PostgresLedger(url, clock=FakeClock(), entropy=SeededEntropy(2))


@pytest.fixture(scope="module")
def original(postgres: PostgresServer) -> str:
    """A database that tests copy."""
    url = postgres.new_database()
    asyncio.run(fill(url))
    return url


async def fill(url: str) -> None:
    ledger = opened(url)
    drafts = Drafts(FakeClock(tick_s=0.001), SeededEntropy(5))
    for number in range(6):
        await ledger.append(StreamId(f"run/{number % 3}"), drafts.many(EVENTS // 6 - 2))
        await ledger.append(StreamId("run/x"), drafts.many(1))
    foreign = seal(OriginId("oforeign"), [(StreamId("run/y"), n, draft) for n, draft in enumerate(drafts.many(6), 1)])
    await ledger.ingest(OriginId("oforeign"), foreign)
    await ledger.aclose()


@pytest.fixture
def url(postgres: PostgresServer, original: str) -> str:
    return postgres.copy_database(original)


def run(url: str, statement: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(statement.encode())


def move(connection: Connection, source: int, target: int) -> None:
    connection.execute(
        "UPDATE cavalcade.events AS e SET (hash, prevhash, body) = "
        "(SELECT s.hash, s.prevhash, s.body FROM cavalcade.events AS s WHERE s.position = %s) WHERE e.position = %s",
        (source, target),
    )


def rewrite(connection: Connection, old: str, new: str) -> None:
    """The text of the middle event changes and its own hash is computed again."""
    row = connection.execute(
        "SELECT prevhash, convert_from(body, 'UTF8') FROM cavalcade.events WHERE position = %s", (MIDDLE,)
    ).fetchone()
    assert row is not None
    changed = row[1].replace(old, new, 1)
    assert changed != row[1]
    digest = chain.link(row[0].hex(), changed)
    connection.execute(
        "UPDATE cavalcade.events SET hash = %s, body = %s WHERE position = %s", (digest, changed.encode(), MIDDLE)
    )


EVENT = "UPDATE cavalcade.events SET {} WHERE position = " + str(MIDDLE)
ID = f"(SELECT id FROM cavalcade.ids WHERE position = {MIDDLE})"
MIDDLE_DAMAGE = {
    "altered body": EVENT.format("body = body || ' '"),
    "body that is no JSON": EVENT.format("body = '{'"),
    "altered hash": EVENT.format("hash = decode(repeat('00', 32), 'hex')"),
    "hash that is no digest": EVENT.format("hash = ''"),
    "other hash before": EVENT.format("prevhash = hash"),
    "other stream in the column": EVENT.format("stream = 1"),
    "other version in the column": EVENT.format("version = 9"),
    "other time in the column": EVENT.format("time_us = 9"),
    "other tenant in the column": EVENT.format("tenant = 'other'"),
    "missing": f"DELETE FROM cavalcade.events WHERE position = {MIDDLE}",
    "its id elsewhere": f"UPDATE cavalcade.ids SET position = 7 WHERE id = {ID}",
    "its id not found": f"DELETE FROM cavalcade.ids WHERE id = {ID}",
    "a span too many": f"INSERT INTO cavalcade.spans VALUES ({MIDDLE}, 1, {MIDDLE})",
}


@pytest.mark.parametrize("kind", MIDDLE_DAMAGE)
async def test_verify_names_the_first_bad_position(url: str, kind: str) -> None:
    run(url, MIDDLE_DAMAGE[kind])
    found = verify_url(url)
    assert found.bad_position == MIDDLE, found
    assert found.events == MIDDLE - 1
    assert found.problem
    ledger = opened(url)
    assert await ledger.verify() == found
    await ledger.aclose()


@pytest.mark.parametrize("kind", ["swapped", "doubled", "originseq", "version"])
def test_verify_names_events_that_stand_in_each_others_place(url: str, kind: str) -> None:
    with psycopg.connect(url) as connection:
        if kind == "swapped":
            for source, target in ((MIDDLE, 1000), (MIDDLE + 3, MIDDLE), (1000, MIDDLE + 3)):
                connection.execute(
                    "INSERT INTO cavalcade.events SELECT 1000, stream, version, time_us, tenant, prevhash, hash, body "
                    "FROM cavalcade.events WHERE position = %s AND NOT EXISTS "
                    "(SELECT 1 FROM cavalcade.events WHERE position = 1000)",
                    (MIDDLE,),
                )
                move(connection, source, target)
            connection.execute("DELETE FROM cavalcade.events WHERE position = 1000")
        elif kind == "doubled":
            move(connection, MIDDLE - 1, MIDDLE)
        elif kind == "originseq":
            rewrite(connection, f'"originseq":{MIDDLE}', f'"originseq":{MIDDLE + 1}')
        else:
            rewrite(connection, '"version":', '"version":1')
    assert verify_url(url).bad_position == MIDDLE


@pytest.mark.parametrize("kind", ["altered body", "altered hash", "hash that is no digest", "missing"])
async def test_reading_a_changed_or_missing_event_fails_and_names_it(url: str, kind: str) -> None:
    run(url, MIDDLE_DAMAGE[kind])
    ledger = opened(url)
    assert len(await ledger.read(limit=MIDDLE - 1)) == MIDDLE - 1
    with pytest.raises(LedgerDamaged, match=f"position {MIDDLE}"):
        await ledger.read()
    with pytest.raises(LedgerDamaged, match=f"position {MIDDLE}"):
        await anext(ledger.follow(after=MIDDLE - 5))
    await ledger.aclose()


REFUSED = {
    "the first event missing": (1, "DELETE FROM cavalcade.events WHERE position = 1"),
    "the last event missing": (EVENTS, f"DELETE FROM cavalcade.events WHERE position = {EVENTS}"),
    "one of the last missing": (EVENTS - 9, f"DELETE FROM cavalcade.events WHERE position = {EVENTS - 9}"),
    "many missing": (90, "DELETE FROM cavalcade.events WHERE position % 90 = 0"),
    "all missing": (1, "DELETE FROM cavalcade.events"),
    "the last event altered": (EVENTS, f"UPDATE cavalcade.events SET body = body || ' ' WHERE position = {EVENTS}"),
    "an event near the end altered": (
        EVENTS - 40,
        f"UPDATE cavalcade.events SET body = '{{}}' WHERE position = {EVENTS - 40}",
    ),
    "the own head altered": (EVENTS - 6, "UPDATE cavalcade.head SET own_hash = decode(repeat('00', 32), 'hex')"),
    "another origin's head altered": (EVENTS, "UPDATE cavalcade.origins SET seq = seq + 1 WHERE number = 2"),
    "the head behind": (EVENTS, "UPDATE cavalcade.head SET position = position - 1"),
    "the head ahead": (EVENTS + 1, "UPDATE cavalcade.head SET position = position + 1"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_damaged_ledger_does_not_open_and_names_the_position(url: str, kind: str) -> None:
    position, statement = REFUSED[kind]
    run(url, statement)
    with pytest.raises(LedgerDamaged) as caught:
        opened(url)
    assert caught.value.places == (f"position {position}",)
    assert "nothing was changed" in caught.value.hint
    assert verify_url(url).bad_position is not None


DERIVED = {
    "a wrong moment": (512, "UPDATE cavalcade.moments SET earliest_us = earliest_us + 1 WHERE segment = 2"),
    "a missing moment": (256, "DELETE FROM cavalcade.moments WHERE segment = 1"),
    "a moment too many": (0, "INSERT INTO cavalcade.moments VALUES (99, 1)"),
    "an id too many": (0, "INSERT INTO cavalcade.ids VALUES ('nobody', 5)"),
    "a stream too many": (0, "INSERT INTO cavalcade.streams VALUES (99, 'run/none')"),
    "a claim altered": (EVENTS + 1, "UPDATE cavalcade.claims SET version = version + 1"),
    "the open segment's earliest time": (EVENTS + 1, "UPDATE cavalcade.head SET earliest_us = earliest_us - 1"),
    "the number of streams": (0, "UPDATE cavalcade.head SET streams = streams + 1"),
}


@pytest.mark.parametrize("kind", DERIVED)
def test_a_wrong_derived_table_is_found_by_verify(url: str, kind: str) -> None:
    position, statement = DERIVED[kind]
    assert verify_url(url).bad_position is None
    run(url, statement)
    assert verify_url(url).bad_position == position


def test_another_programs_schema_is_refused_and_left_alone(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    run(url, "CREATE SCHEMA cavalcade; CREATE TABLE cavalcade.theirs (x integer)")
    with pytest.raises(LedgerDamaged, match="no ledger"):
        opened(url)
    with pytest.raises(LedgerError, match="no ledger"):
        verify_url(url)


def test_the_schema_of_a_newer_program_does_not_open(url: str) -> None:
    run(url, "INSERT INTO cavalcade.migrations VALUES (99, 0)")
    with pytest.raises(LedgerError, match="schema version 99"):
        opened(url)
