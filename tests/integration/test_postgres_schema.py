"""The database of a PostgreSQL ledger is what its numbered migrations add up to, and look-ups go along its indexes."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg

from cavalcade.kernel.ids import StreamId
from cavalcade.ledger.postgres import PostgresLedger
from cavalcade.ledger.postgres_database import Connection, Migration, Server, migrations, prepare, queries, schema
from cavalcade.ledger.postgres_rows import SEGMENT
from cavalcade.testing.clock import FakeClock, SeededEntropy
from cavalcade.testing.events import Drafts
from cavalcade.testing.postgres_server import PostgresServer

_COLUMNS = """
SELECT table_name, column_name, ordinal_position, data_type, is_nullable, column_default
FROM information_schema.columns WHERE table_schema = 'made' ORDER BY 1, 3
"""
_INDEXES = "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'made' ORDER BY 1, 2"
_CONSTRAINTS = """
SELECT c.conrelid::regclass::text, c.conname, pg_get_constraintdef(c.oid), coalesce(pg_get_expr(t.relpartbound, t.oid), '')
FROM pg_constraint AS c JOIN pg_class AS t ON t.oid = c.conrelid
WHERE c.connamespace = 'made'::regnamespace ORDER BY 1, 2
"""
_VIEWS = "SELECT viewname, definition FROM pg_views WHERE schemaname = 'made' ORDER BY 1"
_OPTIONS = "SELECT relname, reloptions::text FROM pg_class WHERE relnamespace = 'made'::regnamespace ORDER BY 1"


def shape(url: str, scripts: list[str]) -> list[list[tuple[Any, ...]]]:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE SCHEMA made; SET search_path TO made")
        for script in scripts:
            connection.execute(script.encode())
        looks = (_COLUMNS, _INDEXES, _CONSTRAINTS, _VIEWS, _OPTIONS)
        return [connection.execute(look.encode()).fetchall() for look in looks]


def test_the_schema_is_the_sum_of_the_migrations(postgres: PostgresServer) -> None:
    summed = shape(postgres.new_database(), [migration.script for migration in migrations()])
    assert summed == shape(postgres.new_database(), [schema()])
    assert all(summed)


def test_migrations_are_numbered_from_one_without_gaps() -> None:
    assert [migration.number for migration in migrations()] == list(range(1, len(migrations()) + 1))


def test_an_older_database_is_brought_forward_and_keeps_its_origin(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    server = Server(url, busy_timeout_s=1)
    newer = (*migrations(), Migration(len(migrations()) + 1, "CREATE TABLE added (x integer)"))
    origins: list[bytes] = []
    for steps in (migrations(), newer, newer):
        with server.connect() as connection:
            prepare(connection, server, FakeClock(), SeededEntropy(len(origins)), steps)
            (version,) = connection.execute("SELECT max(number) FROM migrations").fetchone() or (0,)
            assert version == len(steps)
            origins += connection.execute(queries()["own_origin"]).fetchone() or ()
    assert len(set(origins)) == 1


async def test_many_who_open_an_empty_database_at_once_begin_one_ledger(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    ledgers = await asyncio.gather(
        *(PostgresLedger.open(url, clock=FakeClock(), entropy=SeededEntropy(seed)) for seed in range(6))
    )
    assert len({ledger.origin for ledger in ledgers}) == 1
    for ledger in ledgers:
        await ledger.aclose()


def plan(connection: Connection, name: str, *parameters: object) -> str:
    return "\n".join(row[0] for row in connection.execute(b"EXPLAIN " + queries()[name].encode(), parameters))


async def test_lookups_go_along_indexes_however_many_events_there_are(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    ledger = PostgresLedger(url, clock=FakeClock(), entropy=SeededEntropy(1))
    await ledger.append(StreamId("run/a"), Drafts(FakeClock(tick_s=0.001), SeededEntropy(1)).many(SEGMENT))
    await ledger.aclose()
    assert str(SEGMENT) in schema()
    with Server(url, busy_timeout_s=1).connect() as connection:
        for name, parameters in {
            "page": (0, 10),
            "stream_page": (b"run/a", 0, 10),
            "version_of_name": (b"run/a",),
            "stream_position_at": (b"run/a", 5),
            "position_at": (0, 9, 5),
            "events_by_id": ([b"id"],),
            "span_page": (1, 9, 5),
            "verify_page": (0, 10),
        }.items():
            found = plan(connection, name, *parameters)
            assert "Seq Scan on events" not in found, found
            assert "Index Scan" in found or "Index Only Scan" in found, found
