"""Several processes on one ledger: one chain, everybody hears of everything, nobody waits for ever."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from cavalcade.kernel.errors import Busy
from cavalcade.kernel.ids import StreamId
from cavalcade.ledger.sqlite import SqliteLedger
from cavalcade.testing.clock import FakeClock, SeededEntropy
from cavalcade.testing.events import Drafts

CHILD = Path(__file__).parent.parent / "faults" / "ledger_child.py"
PRODUCERS = 5
BATCH = 3
A = StreamId("run/parent")


def child(path: Path, seed: int, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, str(CHILD), "append", str(path), str(seed), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


async def test_processes_that_append_together_make_one_chain_and_a_follower_hears_all(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    count = 20
    total = 3 * PRODUCERS * count * BATCH
    # The file itself is begun by whichever process comes first.
    children = [child(path, seed, count) for seed in (1, 2, 3)]
    ledger = SqliteLedger(path, clock=FakeClock(), entropy=SeededEntropy(9))
    drafts = Drafts(FakeClock(tick_s=0.001), SeededEntropy(77))
    heard: list[str] = []
    versions: list[int] = []
    async for event in ledger.follow():
        heard.append(event.event.id)
        if len(heard) % 100 == 0:
            recorded = await ledger.append(A, [drafts.one()])
            versions.append(recorded[0].version)
        if len(heard) == total + len(versions):
            break
    acknowledged: list[str] = []
    for process in children:
        output, _ = process.communicate()
        acknowledged += output.split()
        assert process.returncode == 0
    everything = await ledger.read()
    assert heard == [event.event.id for event in everything]
    assert len(acknowledged) == total
    assert set(acknowledged) < set(heard)
    assert set(Counter(heard).values()) == {1}
    assert versions == list(range(1, len(versions) + 1))
    assert {event.origin for event in everything} == {ledger.origin}
    assert (await ledger.verify()).bad_position is None
    await ledger.aclose()


async def test_a_ledger_held_by_another_process_is_busy_after_a_bounded_wait_and_works_again_later(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ledger.db"
    ledger = SqliteLedger(path, clock=FakeClock(), entropy=SeededEntropy(9), busy_timeout_s=0.05)
    drafts = Drafts(FakeClock(tick_s=0.001), SeededEntropy(7))
    batch = drafts.many(2)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Busy, match="another process holds"):
        await ledger.append(A, batch)
    with pytest.raises(Busy):
        SqliteLedger(path, clock=FakeClock(), entropy=SeededEntropy(9), busy_timeout_s=0.05)
    assert await ledger.read() == []
    other.execute("ROLLBACK")
    other.close()
    recorded = await ledger.append(A, batch, expected_version=0)
    assert await ledger.read() == recorded
    await ledger.aclose()
