"""Processes that use a ledger and meet their end, or the limits of their machine: `ledger_child.py WHAT PATH ARGUMENTS...`.

Prints the id of each acknowledged event, one a line, unbuffered, after it is acknowledged.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from pathlib import Path

from cavalcade.kernel.errors import LedgerUnwritable
from cavalcade.kernel.ids import EventId, OriginId, StreamId
from cavalcade.ledger.port import Ledger, OriginHead
from cavalcade.ledger.sealing import NOTHING
from cavalcade.ledger.sqlite import SqliteLedger
from cavalcade.ledger.sqlite_database import migrations, queries
from cavalcade.protocol.envelope import Draft, Recorded, Sealed
from cavalcade.testing.clock import FakeClock, SeededEntropy
from cavalcade.testing.crashing import FuseAt
from cavalcade.testing.events import Drafts, seal

PRODUCERS = 5
BATCH = 3
BATCHES = 5
NOBODY = 65534
FOREIGN = OriginId("o-foreign")
"""Another installation, whose chain is the same in every process."""


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
    """Dies when the `count`-th commit reaches `step`: that of an append, or, each second one, of an ingest."""
    fuse = FuseAt(step, count)
    ledger = SqliteLedger(path, clock=FakeClock(), entropy=SeededEntropy(1), fault_point=fuse)
    await append_and_take_in(ledger)
    await ledger.aclose()


async def append_and_take_in(ledger: Ledger) -> None:
    """The same work whoever does it, however much of it is done: `BATCHES` appends, and an ingest after each."""
    drafts = producer_drafts(1, 0)
    for number in range(BATCHES):
        say(await ledger.append(stream_of(0), drafts.many(BATCH)))
        head = await ledger.ingest(FOREIGN, foreign_chain(number * BATCH, BATCH, NOTHING))
        os.write(1, f"{FOREIGN} {head.seq}\n".encode())


async def take_in(path: Path, seed: int) -> None:
    """Goes on with the other origin's chain where the ledger stands, each time with some that is known, until somebody kills it."""
    ledger = opened(path, seed)
    while True:
        head = (await ledger.heads()).get(FOREIGN, NOTHING)
        known = await ledger.sealed(FOREIGN, after=max(head.seq - BATCH, 0), limit=BATCH)
        head = await ledger.ingest(FOREIGN, known + foreign_chain(head.seq, BATCH, head))
        os.write(1, f"{FOREIGN} {head.seq}\n".encode())


def foreign_chain(after: int, count: int, head: OriginHead) -> list[Sealed]:
    """The part after a sequence number, with its head when that is known: else made from the beginning and cut."""
    first = after if head.seq else 0
    events = [(stream_of(number % 2), number + 1, foreign_draft(number)) for number in range(first, after + count)]
    return seal(FOREIGN, events, after=head)[after - first :]


def foreign_draft(number: int) -> Draft:
    return Drafts(FakeClock(), SeededEntropy(10_000_000 + number)).one(str(number))


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
        case "take-in":
            asyncio.run(take_in(path, int(arguments[0])))
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
