"""Processes that write to a PostgreSQL ledger: `postgres_child.py append URL SEED COUNT` or `postgres_child.py freeze URL`.

Prints the id of each acknowledged event, one a line, unbuffered, after it is acknowledged.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading

from cavalcade.kernel.errors import LedgerUnwritable
from cavalcade.kernel.ids import StreamId
from cavalcade.ledger.postgres import PostgresLedger
from cavalcade.protocol.envelope import Recorded
from cavalcade.testing.clock import FakeClock, SeededEntropy
from cavalcade.testing.crashing import FuseAt
from cavalcade.testing.events import Drafts

PRODUCERS = 5
BATCH = 3


def say(recorded: list[Recorded]) -> None:
    os.write(1, "".join(f"{event.event.id}\n" for event in recorded).encode())


async def append(url: str, seed: int, count: int) -> None:
    """Several producers at once, each with streams that every process writes to."""
    ledger = PostgresLedger(url, clock=FakeClock(), entropy=SeededEntropy(seed))

    async def produce(producer: int) -> None:
        drafts = Drafts(FakeClock(tick_s=0.001), SeededEntropy(seed * 1000 + producer))
        for _ in range(count):
            say(await ledger.append(StreamId(f"run/{producer}"), drafts.many(BATCH)))

    await asyncio.gather(*(produce(producer) for producer in range(PRODUCERS)))
    await ledger.aclose()


def stand_still() -> None:
    # To this very thread: another one could be stopped first, and this one commit.
    signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)


async def freeze(url: str) -> None:
    """Is stopped when its rows are in and not committed. Somebody lets it go on later: then it appends the same again."""
    fuse = FuseAt("inserted", end=stand_still)
    ledger = PostgresLedger(url, clock=FakeClock(), entropy=SeededEntropy(1), busy_timeout_s=1.0, fault_point=fuse)
    batch = Drafts(FakeClock(tick_s=0.001), SeededEntropy(99)).many(BATCH)
    try:
        await ledger.append(StreamId("run/frozen"), batch)
    except LedgerUnwritable:
        say(await ledger.append(StreamId("run/frozen"), batch))
    await ledger.aclose()


if __name__ == "__main__":
    what, url, *rest = sys.argv[1:]
    asyncio.run(append(url, *map(int, rest)) if what == "append" else freeze(url))
