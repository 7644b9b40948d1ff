"""Processes that use a ledger and meet their end, or the limits of their machine: `ledger_child.py WHAT PATH ARGUMENTS...`.

Prints the position of each acknowledged event, one a line, unbuffered, after it is acknowledged.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from pathlib import Path

from cavalcade.kernel.errors import LedgerUnwritable
from cavalcade.kernel.ids import EventId, StreamId
from cavalcade.ledger.port import Ledger
from cavalcade.ledger.sqlite import SqliteLedger
from cavalcade.ledger.sqlite_database import migrations, queries
from cavalcade.protocol.envelope import Draft, Recorded
from cavalcade.testing.clock import FakeClock, SeededEntropy
from cavalcade.testing.crashing import FuseAt
from cavalcade.testing.events import Drafts

PRODUCERS = 5
BATCH = 3
BATCHES = 5
NOBODY = 65534


def producer_drafts(seed: int, producer: int) -> Drafts:
    return Drafts(FakeClock(tick_s=0.001), SeededEntropy(seed * 1000 + producer))


def stream_of(producer: int) -> StreamId:
    return StreamId(f"run/{producer}")


def opened(path: Path, seed: int = 1) -> SqliteLedger:
    return SqliteLedger(path, clock=FakeClock(), entropy=SeededEntropy(seed))


def say(recorded: list[Recorded]) -> None:
    os.write(1, "".join(f"{event.event.id}\n" for event in recorded).encode())


async def produce(ledger: Ledger, seed: int, producer: int, count: int) -> None:
    drafts = producer_drafts(seed, producer)
    for _ in range(count):
        say(await ledger.append(stream_of(producer), drafts.many(BATCH)))


async def append(path: Path, seed: int, count: int) -> None:
    """Several producers at once; with a large count until somebody kills this process."""
    ledger = opened(path, seed)
    await asyncio.gather(*(produce(ledger, seed, producer, count) for producer in range(PRODUCERS)))
    await ledger.aclose()


async def crash(path: Path, step: str, count: int) -> None:
    """Dies when the `count`-th commit reaches `step`."""
    fuse = FuseAt(step, count)
    ledger = SqliteLedger(path, clock=FakeClock(), entropy=SeededEntropy(1), fault_point=fuse)
    await produce(ledger, 1, 0, BATCHES)
    await ledger.aclose()


async def outgrow(path: Path, limit_bytes: int) -> None:
    """Appends until files may not grow any more, then lifts the limit and goes on with the same ledger."""
    ledger = opened(path)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    refused = await append_until_refused(ledger)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    say(await ledger.append(stream_of(0), [refused]))
    await ledger.aclose()


async def append_until_refused(ledger: Ledger) -> Draft:
    """The draft that found no room."""
    drafts = producer_drafts(1, 0)
    while True:
        draft = drafts.one("x" * 5000)
        try:
            say(await ledger.append(stream_of(0), [draft]))
        except LedgerUnwritable as exc:
            sys.stderr.write(f"{exc.what}\n{exc.hint}\n")
            return draft


def read_only(path: Path) -> None:
    """Opens where nothing may be written, as somebody whom permissions bind."""
    # Loaded now: nobody may not read the program's own files everywhere.
    migrations()
    queries()
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    try:
        opened(path)
    except LedgerUnwritable as exc:
        sys.stdout.write(f"{exc.what}\n{exc.hint}\n")


def ids_of(seed: int, producer: int, count: int) -> list[EventId]:
    drafts = producer_drafts(seed, producer)
    return [draft.id for _ in range(count) for draft in drafts.many(BATCH)]


def main(what: str, path: Path, arguments: list[str]) -> None:
    match what:
        case "append":
            asyncio.run(append(path, int(arguments[0]), int(arguments[1])))
        case "crash":
            asyncio.run(crash(path, arguments[0], int(arguments[1])))
        case "outgrow":
            asyncio.run(outgrow(path, int(arguments[0])))
        case "read-only":
            read_only(path)
        case _:
            raise SystemExit(f"{what}?")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
