"""Appends per second of the SQLite ledger, against raw sqlite3 with the same rows and the same durability (WAL, synchronous=FULL).

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

import msgspec
from bench.table import Row

from cavalcade.kernel.ids import ProjectId, RunId, StreamId, TaskId, new_event_id
from cavalcade.ledger.sqlite import SqliteLedger
from cavalcade.protocol.envelope import Draft
from cavalcade.testing.clock import FakeClock, SeededEntropy

ROUNDS = 7
EVENTS = 12_800
SINGLES = 1_000
"""Events where each one is a commit of its own."""
BATCH = 100
PRODUCERS = 64
TARGET = 0.5


def run() -> list[Row]:
    """Medians of alternating runs; `ratio` is the median of the ratios of neighbouring runs."""
    drafts = _drafts(EVENTS)
    kept = asyncio.run(_kept(drafts))
    few = kept._replace(rows=kept.rows[:SINGLES])

    def in_batches(folder: Path) -> float:
        return _raw(folder, kept, BATCH)

    def one_by_one(folder: Path) -> float:
        return _raw(folder, few, 1)

    def bodies_alone(folder: Path) -> float:
        return _raw(folder, kept.bodies_alone(), BATCH)

    many = _ours(drafts, PRODUCERS, BATCH)
    single = _ours(drafts, PRODUCERS, 1)
    return [
        _row(f"append, {PRODUCERS} producers, {BATCH} events each time", many, in_batches),
        _row(
            f"append, {PRODUCERS} producers, {BATCH} each, against bodies without id, hash, index",
            many,
            bodies_alone,
            None,
        ),
        _row(f"append, {PRODUCERS} producers, 1 event each time, against batches of {BATCH}", single, in_batches, None),
        _row(
            "append, 1 producer, 1 event each time, against 1 per commit",
            _ours(drafts[:SINGLES], 1, 1),
            one_by_one,
            None,
        ),
        _row(f"append, {PRODUCERS} producers, 1 event each time, against 1 per commit", single, one_by_one),
    ]


def _drafts(count: int) -> list[Draft]:
    """Events like those of an edit: about 1 KiB of body."""
    clock, entropy = FakeClock(tick_s=0.001), SeededEntropy(7)
    drafts: list[Draft] = []
    for i in range(count):
        data = {
            "task": f"t{i % 9}", "number": i, "path": f"src/package/module_{i % 40}/file_{i % 7}.py",
            "before": entropy.bytes(20).hex(), "after": entropy.bytes(20).hex(), "commit": entropy.bytes(20).hex(),
            "tree": entropy.bytes(20).hex(), "places": [f"src/package/file_{j}.py:{i % 900 + j}" for j in range(8)],
        }  # fmt: skip
        drafts.append(
            Draft(
                id=new_event_id(clock, entropy), type="cavalcade.edit.applied.v1", time=clock.now(),
                data=msgspec.Raw(msgspec.json.encode(data)), subject=f"src/package/file_{i % 7}.py",
                project=ProjectId("p4e2a90b1"), run=RunId("r0hq8x1vz2m3k"), task=TaskId(f"t{i % 9}"), agent="coder-1",
                role="coder", traceid=entropy.bytes(16).hex(), spanid=entropy.bytes(8).hex(),
            )
        )  # fmt: skip
    return drafts


class _Kept(NamedTuple):
    """What the ledger stores: its table of events, and the rows in it."""

    schema: tuple[str, ...]
    rows: list[tuple[object, ...]]

    def bodies_alone(self) -> _Kept:
        return _Kept(
            ("CREATE TABLE events (position INTEGER PRIMARY KEY, body TEXT NOT NULL)",),
            [(row[0], row[-1]) for row in self.rows],
        )


async def _kept(drafts: Sequence[Draft]) -> _Kept:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "ledger.db"
        await _append_all(path, drafts, PRODUCERS, 1)
        with closing(sqlite3.connect(path)) as connection:
            found = connection.execute("SELECT sql FROM sqlite_master WHERE tbl_name = 'events' AND sql IS NOT NULL")
            schema = tuple(sql for (sql,) in found)
            columns = "position, stream, version, time_us, previous, id, hash, body"
            rows = connection.execute(f"SELECT {columns} FROM events ORDER BY position").fetchall()
    return _Kept(schema, rows)


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
    connection = sqlite3.connect(folder / "raw.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    for statement in kept.schema:
        connection.execute(statement)
    insert = f"INSERT INTO events VALUES ({', '.join('?' * len(kept.rows[0]))})"
    start = time.perf_counter()
    for first in range(0, len(kept.rows), batch):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(insert, kept.rows[first : first + batch])
        connection.execute("COMMIT")
    seconds = time.perf_counter() - start
    connection.close()
    return len(kept.rows) / seconds


def _row(name: str, ours: Callable[[Path], float], peer: Callable[[Path], float], target: float | None = TARGET) -> Row:
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
        peer=f"{statistics.median(peer_rates):,.0f}/s raw sqlite3",
        ratio=ratio,
        target="none" if target is None else f">= {target}",
        ok=target is None or ratio >= target,
    )


if __name__ == "__main__":
    for row in run():
        sys.stdout.write(f"{row}\n")
