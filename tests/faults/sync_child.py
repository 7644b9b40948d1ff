"""One side of a sync, to be killed: `sync_child.py serve PATH STEP COUNT` or `sync_child.py send PATH OUTBOX PORT EVENTS STEP COUNT`.

The serving side says its port and serves until its standard input ends. The sending side records what is missing of `EVENTS` events, a
few at a time, delivers each time, and says each step. Either dies when it reaches `STEP` for the `COUNT`-th time.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

from cavalcade.kernel.errors import ServerGone
from cavalcade.kernel.ids import StreamId
from cavalcade.ledger.outbox import Outbox
from cavalcade.ledger.sqlite import SqliteLedger
from cavalcade.ledger.sqlite_outbox import SqliteAcknowledgements
from cavalcade.protocol.envelope import Draft
from cavalcade.testing.clock import FakeClock, SeededEntropy
from cavalcade.testing.crashing import FuseAt
from cavalcade.testing.events import Drafts
from cavalcade.testing.sync_http import HttpReceiver, SyncServer

STREAM = StreamId("run/one")
PARCEL = 3
BATCH = 8
GONE = 75
"""Exit status of a sender whose receiver went away."""


def opened(path: Path, seed: int, fault_point: Callable[[str], None] = lambda _step: None) -> SqliteLedger:
    return SqliteLedger(path, clock=FakeClock(), entropy=SeededEntropy(seed), fault_point=fault_point)


def own_drafts(count: int) -> list[Draft]:
    """The same each time: whoever was killed goes on where it stood."""
    return Drafts(FakeClock(tick_s=0.001), SeededEntropy(7)).many(count)


async def serve(path: Path, step: str, count: int) -> None:
    ledger = opened(path, 2, FuseAt(step, count))
    with SyncServer(ledger, asyncio.get_running_loop()) as server:
        os.write(1, f"{server.port}\n".encode())
        await asyncio.to_thread(sys.stdin.read)
    await ledger.aclose()


async def send(path: Path, outbox_path: Path, port: int, events: int, step: str, count: int) -> None:
    fuse = FuseAt(step, count)

    def reached(name: str) -> None:
        os.write(1, f"{name}\n".encode())
        fuse(name)

    ledger = opened(path, 1)
    outbox = Outbox(ledger, SqliteAcknowledgements(outbox_path), FakeClock(), parcel_events=PARCEL, fault_point=reached)
    receiver = HttpReceiver(port, fault_point=reached)
    drafts = own_drafts(events)
    own = (await ledger.heads()).get(ledger.origin)
    for start in range(own.seq if own else 0, events + 1, BATCH):
        await ledger.append(STREAM, drafts[start : start + BATCH])
        await outbox.deliver("hub", receiver)
    await ledger.aclose()


def main(what: str, arguments: list[str]) -> None:
    match what, arguments:
        case "serve", [path, step, count]:
            asyncio.run(serve(Path(path), step, int(count)))
        case "send", [path, outbox, port, events, step, count]:
            try:
                asyncio.run(send(Path(path), Path(outbox), int(port), int(events), step, int(count)))
            except ServerGone:
                os._exit(GONE)
        case _:
            raise SystemExit(f"{what}?")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
