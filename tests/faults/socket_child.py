"""Sends one event to a socket's write-ahead file, says so, and serves the socket until it is killed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from cavalcade.kernel.ids import StreamId
from cavalcade.ledger.memory import MemoryLedger
from cavalcade.telemetry.sockets import SocketChannel
from cavalcade.testing.clock import FakeClock, SeededEntropy
from cavalcade.testing.events import Drafts


async def main(path: str, note: str) -> None:
    ledger = MemoryLedger(entropy=SeededEntropy(1))
    channel = SocketChannel(Path(path))
    await channel.open()
    for recorded in await ledger.append(StreamId("run/a"), [Drafts(FakeClock(), SeededEntropy(2)).one(note)]):
        await channel.send(recorded)
    print("in", flush=True)  # noqa: T201
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
