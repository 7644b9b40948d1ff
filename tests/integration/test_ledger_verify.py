"""Verification streams: what it holds at once doesn't grow with the number of events."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

from cavalcade.kernel.ids import StreamId
from cavalcade.ledger.signing import SigningKey, SigningLedger
from cavalcade.ledger.sqlite import SqliteLedger
from cavalcade.ledger.sqlite_check import verify_file
from cavalcade.testing.clock import FakeClock, SeededEntropy
from cavalcade.testing.events import Drafts

FEW, MANY = 3_000, 24_000


def peak_bytes(path: Path, events: int) -> int:
    tracemalloc.start()
    found = verify_file(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.bad_position is None
    assert found.events > events
    return peak


async def test_many_events_take_no_more_memory_than_few(tmp_path: Path) -> None:
    clock, entropy = FakeClock(tick_s=0.001), SeededEntropy(1)
    path = tmp_path / "ledger.db"
    drafts = Drafts(clock, entropy)
    peaks: list[int] = []
    recorded = 0
    for until in (FEW, MANY):
        key = SigningKey(b"1" * 32)
        ledger = SigningLedger(SqliteLedger(path, clock=clock, entropy=entropy), lambda key=key: key, clock, entropy)
        while recorded < until:
            await ledger.append(StreamId(f"run/{recorded % 7}"), drafts.many(500))
            recorded += 500
        await ledger.aclose()
        peak_bytes(path, until)  # what is loaded and cached once
        peaks.append(peak_bytes(path, until))
    assert peaks[1] < 1.1 * peaks[0] + 50_000, peaks
