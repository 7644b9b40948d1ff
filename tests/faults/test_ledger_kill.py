"""Bug class this catches: an event acknowledged and lost, recorded twice, or half of a batch, when the process dies.

A child process appends and says what was acknowledged; it is killed at seeded points, or ends itself at each step of a commit.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from cavalcade.kernel.errors import LedgerDamaged
from cavalcade.kernel.ids import StreamId
from cavalcade.ledger.sqlite import FAULT_POINTS, SqliteLedger
from cavalcade.testing.clock import FakeClock, SeededEntropy
from cavalcade.testing.crashing import CRASHED
from cavalcade.testing.events import Drafts

pytestmark = pytest.mark.faults

CHILD = Path(__file__).with_name("ledger_child.py")
BATCH = 3
BATCHES = 5
KILLS = 25


def reopened(path: Path) -> SqliteLedger:
    return SqliteLedger(path, clock=FakeClock(), entropy=SeededEntropy(9))


def child(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-u", str(CHILD), *map(str, arguments)], stdout=subprocess.PIPE, text=True)


def killed_after(path: Path, seed: int, lines: int) -> list[str]:
    """What a child acknowledged that is killed once it has said `lines` of it."""
    with child("append", path, seed, 1_000_000) as process:
        assert process.stdout is not None
        acknowledged = [process.stdout.readline().strip() for _ in range(lines)]
        process.kill()
        # A line cut in two was not said.
        acknowledged += [line.strip() for line in process.stdout if line.endswith("\n")]
    assert process.returncode == -9
    return acknowledged


async def test_a_killed_process_loses_nothing_acknowledged_and_doubles_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    chance = random.Random(20240101)
    acknowledged: list[str] = []
    origins: set[str] = set()
    for seed in range(KILLS):
        acknowledged += killed_after(path, seed, chance.randrange(1, 120))
        ledger = reopened(path)
        recorded = await ledger.read()
        found = await ledger.verify()
        origins.add(ledger.origin)
        await ledger.aclose()
        counts = Counter(event.event.id for event in recorded)
        assert found.bad_position is None, f"seed {seed}: {found}"
        assert set(acknowledged) <= counts.keys(), f"seed {seed}"
        assert set(counts.values()) == {1}, f"seed {seed}"
        assert [event.position for event in recorded] == list(range(1, len(recorded) + 1))
        assert all(number % BATCH == 0 for number in Counter(event.stream for event in recorded).values())
    assert len(origins) == 1


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("step", FAULT_POINTS)
async def test_a_death_at_any_step_of_a_commit_leaves_it_whole_or_undone(tmp_path: Path, step: str, count: int) -> None:
    path = tmp_path / "ledger.db"
    with child("crash", path, step, count) as process:
        assert process.stdout is not None
        acknowledged = process.stdout.read().split()
    assert process.returncode == CRASHED
    ledger = reopened(path)
    recorded = [event.event for event in await ledger.read()]
    durable = FAULT_POINTS.index(step) >= FAULT_POINTS.index("committed")
    assert len(recorded) == BATCH * (count if durable else count - 1)
    assert [event.id for event in recorded][: len(acknowledged)] == acknowledged
    # Whoever did not hear the answer asks again, with the same ids.
    drafts = Drafts(FakeClock(tick_s=0.001), SeededEntropy(1000))
    batches = [drafts.many(BATCH) for _ in range(BATCHES)]
    for batch in batches:
        await ledger.append(StreamId("run/0"), batch)
    everything = await ledger.read()
    assert [event.event for event in everything] == [draft for batch in batches for draft in batch]
    assert (await ledger.verify()).bad_position is None
    await ledger.aclose()


async def test_a_log_removed_after_a_kill_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with child("crash", path, "answered", 4) as process:
        assert process.wait() == CRASHED
    remove_log(tmp_path)
    with pytest.raises(LedgerDamaged, match="12 events were recorded") as caught:
        reopened(path)
    assert caught.value.places == ("position 1",)


def remove_log(folder: Path) -> None:
    """As somebody does who takes it for a left-over."""
    (folder / "ledger.db-wal").unlink()
    (folder / "ledger.db-shm").unlink(missing_ok=True)
