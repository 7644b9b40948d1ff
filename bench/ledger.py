"""Appends per second of the SQLite ledger, against raw sqlite3 with the same bodies and the same durability (WAL, synchronous=FULL).

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
from pathlib import Path

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
    bodies = asyncio.run(_bodies(drafts))
    singles, single_bodies = drafts[:SINGLES], bodies[:SINGLES]

    def in_batches(folder: Path) -> float:
        return _raw(folder, bodies, BATCH)

    def one_by_one(folder: Path) -> float:
        return _raw(folder, single_bodies, 1)

    return [
        _row(f"append, {PRODUCERS} producers, {BATCH} events each time", _ours(drafts, PRODUCERS, BATCH), in_batches),
        _row(f"append, {PRODUCERS} producers, 1 event each time", _ours(drafts, PRODUCERS, 1), in_batches, None),
        _row(f"append, 1 producer, {BATCH} events each time", _ours(drafts, 1, BATCH), in_batches, None),
        _row("append, 1 producer, 1 event each time, against 1 per commit", _ours(singles, 1, 1), one_by_one),
        _row(f"append, {PRODUCERS} producers, 1 event each time, against 1 per commit", _ours(drafts, PRODUCERS, 1), one_by_one),
    ]  # fmt: skip


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


async def _bodies(drafts: Sequence[Draft]) -> list[str]:
    """What the ledger stores for them."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "ledger.db"
        await _append_all(path, drafts, PRODUCERS, 1)
        with sqlite3.connect(path) as connection:
            bodies = [body for (body,) in connection.execute("SELECT body FROM events ORDER BY position")]
        connection.close()
    return bodies


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


def _raw(folder: Path, bodies: Sequence[str], batch: int) -> float:
    connection = sqlite3.connect(folder / "raw.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE events (position INTEGER PRIMARY KEY, body TEXT NOT NULL)")
    start = time.perf_counter()
    for first in range(0, len(bodies), batch):
        connection.execute("BEGIN IMMEDIATE")
        rows = [(body,) for body in bodies[first : first + batch]]
        connection.executemany("INSERT INTO events (body) VALUES (?)", rows)
        connection.execute("COMMIT")
    seconds = time.perf_counter() - start
    connection.close()
    return len(bodies) / seconds


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
