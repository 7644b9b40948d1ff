"""A million events verified: every hash, link, place and signature, in constant memory. Run alone: `python -m bench verify`.

The limit beside it is reading the same rows and hashing their bodies, and nothing else.
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path

import msgspec
from bench._drafts import edit_drafts
from bench.table import Row

from cavalcade.kernel.clock import SystemClock
from cavalcade.kernel.entropy import SystemEntropy
from cavalcade.kernel.ids import StreamId, new_event_id
from cavalcade.ledger.sqlite import SqliteLedger

EVENTS = 1_000_000
BATCH = 2000
MOST_MIB = 64
"""What verifying may add to the process."""


def run() -> list[Row]:
    """One measurement of each: a million events take their time to write."""
    with tempfile.TemporaryDirectory(prefix="cavalcade-bench-") as folder:
        path = Path(folder) / "ledger.db"
        asyncio.run(_fill(path))
        bare_s = _bare(path)
        with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
            ours_s, grown = fresh.submit(_verify_here, path).result()
    rate = EVENTS / ours_s
    ratio = bare_s / ours_s
    name = f"verify: {EVENTS:,} events"
    return [
        Row(name, f"{ours_s:.1f} s, {rate:,.0f}/s", f"read and hash {bare_s:.1f} s", ratio, "none", True),
        Row(
            f"{name}, memory", f"{grown:.0f} MiB", f"limit {MOST_MIB} MiB", grown / MOST_MIB, "<= 1", grown <= MOST_MIB
        ),
    ]


async def _fill(path: Path) -> None:
    """The same events again and again, each with an id of its own."""
    clock, entropy = SystemClock(), SystemEntropy()
    ledger = SqliteLedger(path, clock=clock, entropy=entropy)
    drafts = edit_drafts(BATCH)
    for number in range(EVENTS // BATCH):
        batch = [msgspec.structs.replace(draft, id=new_event_id(clock, entropy)) for draft in drafts]
        await ledger.append(StreamId(f"run/r{number % 50}"), batch)
    await ledger.aclose()


def _bare(path: Path) -> float:
    start = time.perf_counter()
    digest = b""
    with closing(sqlite3.connect(path)) as connection:
        for (body,) in connection.execute("SELECT CAST(body AS BLOB) FROM events ORDER BY position"):
            digest = hashlib.sha256(digest + body).digest()
    assert digest
    return time.perf_counter() - start


def _verify_here(path: Path) -> tuple[float, float]:
    """Seconds, and by how many MiB the process grew."""
    before = _peak_mib()
    seconds = asyncio.run(_verify(path))
    return seconds, _peak_mib() - before


async def _verify(path: Path) -> float:
    ledger = SqliteLedger(path, clock=SystemClock(), entropy=SystemEntropy())
    start = time.perf_counter()
    found = await ledger.verify()
    seconds = time.perf_counter() - start
    await ledger.aclose()
    assert (found.events, found.bad_position) == (EVENTS, None)
    return seconds


def _peak_mib() -> float:
    """Of this program alone: what `getrusage` says holds what its parent had."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1]) / 1024
