"""Processes that write to one ledger are killed at random, round after round: `ledger_soak.py [--minutes M] [--seed N]`.

In each round two processes append and one takes in another origin's chain. When a random number of acknowledgements was heard, all three
are killed. The next one to open the ledger finds every acknowledged event once, no half of a batch, and the whole of it right.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from cavalcade.kernel.ids import OriginId
from cavalcade.ledger.sqlite import SqliteLedger
from cavalcade.ledger.sqlite_check import verify_file
from cavalcade.protocol.envelope import Recorded
from cavalcade.testing.clock import FakeClock, SeededEntropy

CHILD = Path(__file__).with_name("ledger_child.py")
FOREIGN = OriginId("o-foreign")
BATCH = 3
WHOLE_EVERY = 10
"""Rounds from one verification of everything to the next."""
MOST_ACKNOWLEDGEMENTS = 400


class Heard(NamedTuple):
    """What processes said before they were killed."""

    ids: set[str]
    seq: int


class Soak:
    """`rounds` and `kills` count what was done, `events` what is on the record."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        self.seed = seed
        self.rounds = 0
        self.kills = 0
        self.events = 0
        self._chance = random.Random(seed)
        self._ids: Counter[str] = Counter()
        self._acknowledged: set[str] = set()
        self._seq = 0
        self._origins: set[str] = set()

    async def round(self) -> None:
        """Raises AssertionError, naming seed and round, when anything acknowledged is missing or doubled, or the ledger isn't whole."""
        heard = self._kill_some()
        self.rounds += 1
        self._acknowledged |= heard.ids
        self._seq = max(self._seq, heard.seq)
        where = f"seed {self.seed}, round {self.rounds}"
        ledger = SqliteLedger(self.path, clock=FakeClock(), entropy=SeededEntropy(9))
        try:
            new = await ledger.read(after=self.events)
            heads = await ledger.heads()
        finally:
            await ledger.aclose()
        self._check(new, where)
        halves = Counter((event.origin, event.stream if event.origin != FOREIGN else "") for event in new)
        assert all(number % BATCH == 0 for number in halves.values()), f"{where}: half of a batch"
        self._origins.add(ledger.origin)
        assert not self._seq or heads[FOREIGN].seq >= self._seq, f"{where}: {heads}, {self._seq} was acknowledged"
        assert len(self._origins) == 1, where
        if self.rounds % WHOLE_EVERY == 0:
            self.verify()

    def verify(self) -> None:
        """Reads all of it. Raises AssertionError as `round` does."""
        found = verify_file(self.path)
        whole = found.bad_position is None and found.events == self.events
        assert whole, f"seed {self.seed}, round {self.rounds}, {self.events} events: {found}"

    def _check(self, new: list[Recorded], where: str) -> None:
        assert [event.position for event in new] == list(range(self.events + 1, self.events + 1 + len(new))), where
        self.events += len(new)
        self._ids.update(event.event.id for event in new)
        assert set(self._ids.values()) <= {1}, f"{where}: doubled"
        assert self._acknowledged <= self._ids.keys(), f"{where}: {self._acknowledged - self._ids.keys()} lost"

    def _kill_some(self) -> Heard:
        first = self._chance.randrange(1 << 40)
        processes = [
            _child("append", self.path, first, 1_000_000),
            _child("append", self.path, first + 1, 1_000_000),
            _child("take-in", self.path, first + 2),
        ]
        told = self._chance.choice(processes)
        assert told.stdout is not None
        lines = [told.stdout.readline() for _ in range(self._chance.randrange(1, MOST_ACKNOWLEDGEMENTS))]
        self._chance.shuffle(processes)
        for process in processes:
            process.kill()
            self.kills += 1
        for process in processes:
            rest, _ = process.communicate()
            # A line cut in two was not said.
            lines += [line for line in rest.splitlines(keepends=True) if line.endswith("\n")]
            assert process.returncode == -9, process.returncode
        words = [line.split() for line in lines]
        return Heard(
            {word[0] for word in words if len(word) == 1}, max((int(w[1]) for w in words if len(w) == 2), default=0)
        )


def _child(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-u", str(CHILD), *map(str, arguments)], stdout=subprocess.PIPE, text=True)


async def soak(minutes: float, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Soak(Path(folder) / "ledger.db", seed)
        end = time.monotonic() + minutes * 60
        sys.stderr.write(f"seed {seed}, {minutes:g} minutes\n")
        while time.monotonic() < end:
            await work.round()
            if work.rounds % 50 == 0:
                sys.stderr.write(f"{work.rounds} rounds, {work.kills} kills, {work.events} events\n")
        sys.stdout.write(
            f"{work.rounds} rounds, {work.kills} kills, {work.events} events: none lost, none doubled, whole\n"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    arguments = parser.parse_args()
    asyncio.run(soak(arguments.minutes, arguments.seed))


if __name__ == "__main__":
    main()
