"""Appends to the SQLite ledger, against raw sqlite3 and a bare group-committing writer with the same rows and the same durability.

All write ahead with `synchronous=FULL`. Two peers frame it: `executemany` of rows that are ready is what SQLite can do at best; the bare
group-committing writer is what any engine can reach whose producers wait for each event. `eventsourcing`'s recorder does the same job.

Run alone: `python -m bench.ledger`.
"""

from __future__ import annotations

import asyncio
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from bench._drafts import edit_drafts
from bench._group_writer import insert_into, kept_in, open_raw
from bench._group_writer import rate as group_writer_rate
from bench._peers import figure
from bench.table import Row

from cavalcade.kernel.ids import StreamId
from cavalcade.ledger.sqlite import SqliteLedger
from cavalcade.protocol.envelope import Draft
from cavalcade.testing.clock import FakeClock, SeededEntropy

ROUNDS = 7
EVENTS = 12_800
SINGLES = 1_000
"""Events where each one is a commit of its own."""
BATCH = 100
PRODUCERS = 64


def run() -> list[Row]:
    """Medians of alternating runs; `ratio` is the median of the ratios of neighbouring runs."""
    drafts = edit_drafts(EVENTS)
    kept = asyncio.run(_kept(drafts))
    few = kept._replace(rows=kept.rows[:SINGLES])
    many, single = _ours(drafts, PRODUCERS, BATCH), _ours(drafts, PRODUCERS, 1)
    alone = _ours(drafts[:SINGLES], 1, 1)

    def in_batches(folder: Path) -> float:
        return _raw(folder, kept, BATCH)

    def in_groups(folder: Path) -> float:
        return asyncio.run(group_writer_rate(folder / "group.db", kept.schema, kept.rows, PRODUCERS, 1))

    return [
        _row(f"{PRODUCERS} producers, {BATCH} events each time", many, "executemany", in_batches, 0.5),
        _row(f"{PRODUCERS} producers, 1 event each time", single, "bare group writer", in_groups, 0.7),
        _row(f"{PRODUCERS} producers, 1 event each time", single, f"executemany, {BATCH}", in_batches, 0.4),
        _row("1 producer, 1 event each time", alone, "1 per commit", lambda folder: _raw(folder, few, 1), None),
        _latency(drafts[:SINGLES]),
        _row(
            "1 producer, 1 event each time",
            alone,
            "eventsourcing",
            lambda folder: _eventsourcing(folder, few),
            None,
        ),
        _size(drafts),
    ]


class _Kept(NamedTuple):
    """What the ledger stores: its table of events, and the rows in it."""

    schema: tuple[str, ...]
    rows: list[tuple[object, ...]]


async def _kept(drafts: Sequence[Draft]) -> _Kept:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "ledger.db"
        await _append_all(path, drafts, PRODUCERS, 1)
        return _Kept(*kept_in(path))


async def _append_all(path: Path, drafts: Sequence[Draft], producers: int, batch: int) -> float:
    """Seconds until all are acknowledged."""
    ledger = SqliteLedger(path, clock=FakeClock(), entropy=SeededEntropy(1))

    async def produce(number: int) -> None:
        # Ids begin with the time they are made at, which is just before they are recorded: producers take turns.
        mine = drafts[number::producers]
        for start in range(0, len(mine), batch):
            await ledger.append(StreamId(f"run/r{number}"), mine[start : start + batch])

    start = time.perf_counter()
    await asyncio.gather(*(produce(number) for number in range(producers)))
    seconds = time.perf_counter() - start
    await ledger.aclose()
    return seconds


def _ours(drafts: Sequence[Draft], producers: int, batch: int) -> Callable[[Path], float]:
    def rate(folder: Path) -> float:
        return len(drafts) / asyncio.run(_append_all(folder / "ledger.db", drafts, producers, batch))

    return rate


def _raw(folder: Path, kept: _Kept, batch: int) -> float:
    """The same rows into the same table, by `executemany` and nothing else."""
    connection = open_raw(folder / "raw.db", kept.schema)
    insert = insert_into(kept.rows)
    start = time.perf_counter()
    for first in range(0, len(kept.rows), batch):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(insert, kept.rows[first : first + batch])
        connection.execute("COMMIT")
    seconds = time.perf_counter() - start
    connection.close()
    return len(kept.rows) / seconds


def _eventsourcing(folder: Path, kept: _Kept) -> float:
    bodies = folder / "bodies"
    bodies.write_text("".join(f"{row[-1]}\n" for row in kept.rows))
    return figure("eventsourcing_appends.py", folder, bodies)


Measure = Callable[[Path], float]


def _row(name: str, ours: Measure, peer_name: str, peer: Measure, target: float | None) -> Row:
    """Without a target the row only tells."""
    our_rates: list[float] = []
    peer_rates: list[float] = []
    for _ in range(ROUNDS):
        for rates, measure in ((our_rates, ours), (peer_rates, peer)):
            with tempfile.TemporaryDirectory() as folder:
                rates.append(measure(Path(folder)))
    ratio = statistics.median(our / their for our, their in zip(our_rates, peer_rates, strict=True))
    return Row(
        name=f"ledger: {name}",
        ours=f"{statistics.median(our_rates):,.0f}/s",
        peer=f"{peer_name} {statistics.median(peer_rates):,.0f}/s",
        ratio=ratio,
        target="none" if target is None else f">= {target}",
        ok=target is None or ratio >= target,
    )


def _latency(drafts: Sequence[Draft]) -> Row:
    """From asking to acknowledged, one event at a time."""

    async def measure(path: Path) -> list[float]:
        ledger = SqliteLedger(path, clock=FakeClock(), entropy=SeededEntropy(1))
        seconds: list[float] = []
        for draft in drafts:
            start = time.perf_counter()
            await ledger.append(StreamId("run/r0"), [draft])
            seconds.append(time.perf_counter() - start)
        await ledger.aclose()
        return seconds

    with tempfile.TemporaryDirectory() as folder:
        spans = statistics.quantiles(asyncio.run(measure(Path(folder) / "ledger.db")), n=100)
    p50_ms, p99_ms = spans[49] * 1000, spans[98] * 1000
    name = f"ledger: one durable event, p50 (p99 {p99_ms:.1f} ms)"
    return Row(name, f"{p50_ms:.2f} ms", "limit 1 ms", p50_ms, "<= 1", p50_ms <= 1)


def _size(drafts: Sequence[Draft]) -> Row:
    """What an event takes on disk, all indexes included, over its own bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        asyncio.run(_append_all(path, drafts, PRODUCERS, BATCH))
        with closing(sqlite3.connect(path)) as connection:
            (bodies,) = connection.execute("SELECT sum(length(CAST(body AS BLOB))) FROM events").fetchone()
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        stored = path.stat().st_size
    each, body = stored / len(drafts), bodies / len(drafts)
    return Row(
        "ledger: bytes per event on disk", f"{each:,.0f} B", f"its body {body:,.0f} B", each / body, "none", True
    )


if __name__ == "__main__":
    for row in run():
        sys.stdout.write(f"{row}\n")
