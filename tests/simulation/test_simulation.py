"""The whole system under one virtual clock: faults of every kind, in every phase, and nothing that must not happen happens.

Bug class this catches: what goes wrong only when two things happen at once, and neither is likely.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from cavalcade.testing.simulate.bugs import BUGS, found_after
from cavalcade.testing.simulate.report import failure_text, summary, tally, verdicts
from cavalcade.testing.simulate.simulation import simulate

SEEDS, PART = 2000, 500
FAULTS = (
    "append fails after it is durable",
    "append fails before it is durable",
    "bus restart",
    "clock jump",
    "content store is full",
    "crash at a content write",
    "crash of a person",
    "crash of a supervisor",
    "crash of a worker",
    "cut off from the bus",
    "cut off from the ledger",
    "delays",
    "job delivered again",
    "job delivered twice",
    "job out of order",
    "ledger is full",
    "ledger power loss",
    "outcome delivered twice",
    "outcome late",
    "pause",
    "resumption",
    "second supervisor",
    "supervisor silent for too long",
    "worker left alone",
)
PHASES = ("planning", "awaiting_human", "executing", "publishing", "halted")
ENDS = ("completed", "aborted", "stopped", "failed")


@pytest.mark.parametrize("first", range(1, SEEDS + 1, PART))
def test_no_seed_breaks_an_invariant_and_every_fault_is_met(first: int, capsys: pytest.CaptureFixture[str]) -> None:
    told = tally(verdicts(range(first, first + PART)))
    with capsys.disabled():
        sys.stdout.write(f"\n{summary(told)}\n")
    assert not told.failures, "\n\n".join(map(failure_text, told.failures[:3]))
    assert not [kind for kind in FAULTS if not told.covered[kind]]
    hit = {phase: sum(n for kind, n in told.covered.items() if kind.endswith(f" while {phase}")) for phase in PHASES}
    assert not [phase for phase, count in hit.items() if not count], hit
    assert not [end for end in ENDS if not told.ended[end]]


@pytest.mark.parametrize("name", sorted(BUGS))
def test_a_mistake_put_in_on_purpose_is_found(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = found_after(name, 1000)
    assert found, f"{name}: not found in 1,000 seeds"
    with capsys.disabled():
        sys.stdout.write(f"\n{name}: found after {found[0]} seeds: {found[1].violations[0]}\n")


def test_a_seed_is_one_history_bit_for_bit() -> None:
    """In this process a second time, and in another one whose hashes are drawn differently."""
    here = [simulate(seed).digest for seed in range(1, 31)]
    assert [simulate(seed).digest for seed in range(1, 31)] == here
    program = (
        "from cavalcade.testing.simulate.simulation import simulate\n"
        "print(*(simulate(seed).digest for seed in range(1, 31)))"
    )
    for hashes in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hashes},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == here


def test_a_failing_seed_comes_with_its_story_and_the_command_that_shows_it_again() -> None:
    command = [sys.executable, "-m", "cavalcade.testing.simulate", "--bug", "hasty-publication", "--seeds", "5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "published" in done.stderr
    assert "again, from its start: make simulate SEEDS=1 FIRST=" in done.stderr
    assert "5 seeds" in done.stdout
