"""Appends to the PostgreSQL ledger, against a bare COPY group-committing writer with the same rows, tables and durability.

Both on one server of their own with what production has (`fsync`, `synchronous_commit=on`), each time in a fresh database.

Run alone: `python -m bench.postgres`.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Sequence

import psycopg
from bench._copy_writer import EVENT_COLUMNS, ReadyRow
from bench._copy_writer import rate as copy_writer_rate
from bench._drafts import edit_drafts
from bench.table import Row

from cavalcade.kernel.ids import StreamId
from cavalcade.ledger.postgres import PostgresLedger
from cavalcade.protocol.envelope import Draft
from cavalcade.testing.clock import FakeClock, SeededEntropy
from cavalcade.testing.postgres_server import PostgresServer, postgres_server

ROUNDS = 7
EVENTS = 25_600
PRODUCERS = 256
TENANTS = 8
SINGLES = 1_000
TARGET = 0.7


def run() -> list[Row]:
    """Medians of alternating runs; `ratio` is the median of the ratios of neighbouring runs."""
    drafts = edit_drafts(EVENTS, tenants=TENANTS)
    with postgres_server(durable=True) as server:
        rows = asyncio.run(_ready(server, drafts))
        return [
            _row(server, drafts, rows, PRODUCERS, TARGET),
            _row(server, drafts, rows, PRODUCERS // 4, None),
            _row(server, drafts[:SINGLES], rows[:SINGLES], 1, None),
        ]


async def _ready(server: PostgresServer, drafts: Sequence[Draft]) -> list[ReadyRow]:
    """What the ledger stores of these events."""
    url = server.new_database()
    await _append_all(url, drafts, PRODUCERS)
    with psycopg.connect(url) as connection:
        columns = ", ".join(f"e.{column}" for column in EVENT_COLUMNS)
        statement = f"SELECT i.id, {columns} FROM cavalcade.events AS e JOIN cavalcade.ids AS i USING (position) ORDER BY position"
        found = connection.execute(statement.encode()).fetchall()
    return [ReadyRow((id, event[0]), event) for id, *columns in found for event in [tuple(columns)]]


async def _append_all(url: str, drafts: Sequence[Draft], producers: int) -> float:
    """Events per second until all are acknowledged."""
    ledger = PostgresLedger(url, clock=FakeClock(), entropy=SeededEntropy(1))

    async def produce(number: int) -> None:
        # Ids begin with the time they are made at, which is just before they are recorded: producers take turns.
        for draft in drafts[number::producers]:
            await ledger.append(StreamId(f"run/r{number}"), [draft])

    start = time.perf_counter()
    await asyncio.gather(*(produce(number) for number in range(producers)))
    seconds = time.perf_counter() - start
    await ledger.aclose()
    return len(drafts) / seconds


async def _copy_all(url: str, rows: Sequence[ReadyRow], producers: int) -> float:
    await PostgresLedger(url, clock=FakeClock(), entropy=SeededEntropy(1)).aclose()  # makes the tables
    return await copy_writer_rate(url, rows, producers)


def _row(
    server: PostgresServer, drafts: Sequence[Draft], rows: Sequence[ReadyRow], producers: int, target: float | None
) -> Row:
    """Without a target the row only tells."""
    our_rates: list[float] = []
    peer_rates: list[float] = []
    for _ in range(ROUNDS):
        our_rates.append(asyncio.run(_append_all(server.new_database(), drafts, producers)))
        peer_rates.append(asyncio.run(_copy_all(server.new_database(), rows, producers)))
    ratio = statistics.median(our / their for our, their in zip(our_rates, peer_rates, strict=True))
    return Row(
        name=f"postgres: {producers} producer{'s' if producers > 1 else ''}, 1 event each time",
        ours=f"{statistics.median(our_rates):,.0f}/s",
        peer=f"{statistics.median(peer_rates):,.0f}/s bare COPY writer",
        ratio=ratio,
        target="none" if target is None else f">= {target}",
        ok=target is None or ratio >= target,
    )


if __name__ == "__main__":
    for row in run():
        sys.stdout.write(f"{row}\n")
