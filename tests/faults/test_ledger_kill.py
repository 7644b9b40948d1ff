"""Bug class this catches: an event acknowledged and lost, recorded twice, or half of a batch, when the process dies.

A child process appends and says what was acknowledged; it is killed at seeded points, or ends itself at each step of a commit.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from ledger_child import BATCH, append_and_take_in
from ledger_soak import Soak

from cavalcade.kernel.errors import LedgerDamaged
from cavalcade.ledger.sqlite import FAULT_POINTS, SqliteLedger
from cavalcade.testing.clock import FakeClock, SeededEntropy
from cavalcade.testing.crashing import CRASHED

pytestmark = pytest.mark.faults

CHILD = Path(__file__).with_name("ledger_child.py")
KILLS = 120


def reopened(path: Path) -> SqliteLedger:
    return SqliteLedger(path, clock=FakeClock(), entropy=SeededEntropy(9))


def child(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-u", str(CHILD), *map(str, arguments)], stdout=subprocess.PIPE, text=True)


async def test_processes_killed_at_random_lose_nothing_acknowledged_and_double_nothing(tmp_path: Path) -> None:
    work = Soak(tmp_path / "ledger.db", seed=20240101)
    print(f"seed {work.seed}; `make soak` goes on for ten minutes")  # noqa: T201
    while work.kills < KILLS:
        await work.round()
    work.verify()
    assert work.events > KILLS


@pytest.mark.parametrize("count", [1, 2, 5, 6])
@pytest.mark.parametrize("step", FAULT_POINTS)
async def test_a_death_at_any_step_of_an_append_or_ingest_leaves_it_whole_or_undone(
    tmp_path: Path, step: str, count: int
) -> None:
    """Odd commits are appends, even ones ingests. Afterwards the same work is done again, and the ledger is one nobody disturbed."""
    path = tmp_path / "ledger.db"
    with child("crash", path, step, count) as process:
        assert process.stdout is not None
        acknowledged = [line for line in process.stdout.read().splitlines() if " " not in line]
    assert process.returncode == CRASHED
    ledger = reopened(path)
    recorded = await ledger.read()
    durable = FAULT_POINTS.index(step) >= FAULT_POINTS.index("committed")
    assert len(recorded) == BATCH * (count if durable else count - 1)
    assert set(acknowledged) <= {event.event.id for event in recorded}
    # Whoever did not hear the answer asks again, with the same ids.
    await append_and_take_in(ledger)
    undisturbed = SqliteLedger(tmp_path / "undisturbed.db", clock=FakeClock(), entropy=SeededEntropy(1))
    await append_and_take_in(undisturbed)
    assert await ledger.read() == await undisturbed.read()
    assert await ledger.heads() == await undisturbed.heads()
    assert await ledger.verify() == await undisturbed.verify()
    await ledger.aclose()
    await undisturbed.aclose()


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
